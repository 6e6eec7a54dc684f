// SPDX-License-Identifier: GPL-2.0-or-later

//! The files that are rendered for others, shown to those others.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{SOON, apply, closed, set, street, until_page};
use crate::lab::{HOST_LAN, HOST_WAN, Lab, WEB_TEXT, wait_until};

#[test]
fn apache_leads_an_alias_to_its_container() {
    let Some(lab) = Lab::new() else { return };
    let Some(apache) = Apache::find() else {
        assert!(std::env::var_os("WHARF_REQUIRE_ENGINE").is_none(), "no apache is installed");
        eprintln!("skipped: no apache is installed");
        return;
    };
    street(&lab);
    apply(&lab);

    let file = alias_file(&lab);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("ProxyPass") && text.contains("/blog"), "{text}");
    assert!(text.contains(&lab.address("wordpress")), "{text}");

    let config = apache.config(&lab, &file);
    let config = config.to_str().unwrap();
    let checked = lab.host(&[&apache.program, "-t", "-f", config]);
    assert_eq!(checked.code, 0, "{}\n{text}", checked.stderr);

    let mut server = lab.spawn(&[&apache.program, "-X", "-f", config]);
    let url = |host: &str| format!("http://{host}/blog/");
    server.wait_for(SOON, "it answers", |_| lab.host_get(&url("127.0.0.1")).is_ok());
    until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN)));
    // The web server is open to everybody, the route only as far as its record says.
    let outside = lab.wan_get(&url(HOST_WAN)).unwrap();
    assert_eq!(outside.status, 403, "{outside:?}");
}

#[test]
fn without_an_alias_a_web_port_needs_no_publishing_and_with_one_it_has_none() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "plain service status enabled Image demo-web TCPPort 80");
    apply(&lab);
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}/")));

    set(&lab, "plain service status enabled Image demo-web TCPPort 80 WebAlias plain");
    apply(&lab);
    until_page(WEB_TEXT, || lab.host_get(&format!("http://{}/", lab.address("plain"))));
    assert!(closed(&lab.lan_get(&format!("http://{HOST_LAN}/"))));
}

#[test]
fn the_guard_file_for_the_next_boot_is_what_the_kernel_holds() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    let loaded = lab.nft(&["list", "table", "inet", "wharf"]);

    lab.nft(&["delete", "table", "inet", "wharf"]);
    for file in ["guard.nft", "guard-marks.nft"] {
        let file = lab.root().join("var/lib/wharf").join(file);
        lab.nft(&["-f", file.to_str().unwrap()]);
    }

    assert_eq!(lab.nft(&["list", "table", "inet", "wharf"]), loaded);
    lab.wharf(&["plan"]).succeeded();
}

/// The one file below etc that has an alias of the web server.
fn alias_file(lab: &Lab) -> PathBuf {
    let mut found = Vec::new();
    let mut directories = vec![lab.root().join("etc")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("ProxyPass")) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The Apache of this distribution.
struct Apache {
    program: String,
    modules: PathBuf,
}

impl Apache {
    fn find() -> Option<Self> {
        let program = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/sbin/httpd2"];
        let modules = [
            "/usr/lib/apache2/modules",
            "/usr/lib64/httpd/modules",
            "/usr/lib64/apache2-prefork",
            "/usr/lib64/apache2",
        ];
        Some(Self {
            program: (*program.iter().find(|file| Path::new(file).exists())?).to_owned(),
            modules: PathBuf::from(modules.iter().find(|dir| Path::new(dir).is_dir())?),
        })
    }

    /// Writes the least configuration that includes `aliases`.
    fn config(&self, lab: &Lab, aliases: &Path) -> PathBuf {
        let directory = lab.scratch("apache");
        fs::create_dir(&directory).unwrap();
        let mut text = String::new();
        // What is built in on one distribution is a module on the next.
        for module in [
            "mpm_event",
            "unixd",
            "authz_core",
            "authz_host",
            "alias",
            "headers",
            "rewrite",
            "proxy",
            "proxy_http",
        ] {
            let file = self.modules.join(format!("mod_{module}.so"));
            if file.exists() {
                let _ = writeln!(text, "LoadModule {module}_module {}", file.display());
            }
        }
        let group = lab.host(&["id", "-gn", "nobody"]).succeeded().stdout;
        let dir = directory.display();
        let _ = write!(
            text,
            "ServerRoot {dir}\nDefaultRuntimeDir {dir}\nPidFile {dir}/pid\nErrorLog {dir}/error.log\n\
             ServerName localhost\nListen 80\nUser nobody\nGroup {group}\nInclude {}\n",
            aliases.display()
        );
        let file = directory.join("apache.conf");
        fs::write(&file, text).unwrap();
        file
    }
}

/// What `name` stands for, asked from the LAN.
fn address_of(lab: &Lab, name: &str) -> String {
    let namespace =
        format!("--net=/run/netns/{}-lan", lab.host(&["ip", "netns", "identify"]).stdout.trim());
    let busybox = lab.busybox();
    let asked = ["nsenter", &namespace, &busybox, "nslookup", "-type=a", name, HOST_LAN];
    let told = lab.host(&asked).stdout;
    // The first address is the server's.
    let last = told.lines().filter_map(|line| line.split("Address:").nth(1)).nth(1);
    last.map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[test]
fn the_lan_finds_a_container_by_its_name_at_the_hosts_address() {
    let Some(lab) = Lab::new() else { return };
    lab.db(&["configuration", "set", "DomainName", "example.org"]);
    lab.db(&["configuration", "set", "docker", "service", "NameService", "dnsmasq"]);
    set(&lab, &format!("{} access private", super::web("shop", 8080)));
    set(&lab, "mysql service status enabled Image demo-db TCPPort 3306 PortMapping none");
    apply(&lab);
    let file = lab.root().join("etc/dnsmasq.d/wharf.conf");
    let server = || {
        let listen = format!("--listen-address={HOST_LAN}");
        let conf = format!("--conf-file={}", file.display());
        lab.spawn(&[
            "dnsmasq",
            "-k",
            &conf,
            &listen,
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--pid-file=",
        ])
    };
    let first = server();
    wait_until(SOON, "it answers", || address_of(&lab, "shop.example.org") == HOST_LAN);
    assert_eq!(address_of(&lab, "mysql.example.org"), lab.address("mysql"));
    assert_eq!(address_of(&lab, "stranger.example.org"), "");
    until_page(WEB_TEXT, || {
        lab.lan_get(&format!("http://{}:8080/", address_of(&lab, "shop.example.org")))
    });
    drop(first);

    lab.db(&["configuration", "setprop", "docker", "NameService", "none"]);
    apply(&lab);
    let _second = server();
    assert!(!fs::read_to_string(&file).unwrap().contains("host-record"));
    lab.wharf(&["plan"]).succeeded();
}
