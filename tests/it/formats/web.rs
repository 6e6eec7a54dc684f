// SPDX-License-Identifier: GPL-2.0-or-later

//! Directives of Apache, listed by Apache, and of nginx, asked back through a socket of its own.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;

/// Apache's program and the directory of its modules.
fn apache() -> Option<(&'static str, &'static str)> {
    let program = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/sbin/httpd2"];
    let modules = [
        "/usr/lib/apache2/modules",
        "/usr/lib64/httpd/modules",
        "/usr/lib64/apache2-prefork",
        "/usr/lib64/apache2",
    ];
    let found = program
        .into_iter()
        .find(|file| Path::new(file).exists())
        .zip(modules.into_iter().find(|directory| Path::new(directory).is_dir()));
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    assert!(
        found.is_some() || !required,
        "WHARF_REQUIRE_ENGINE is set, but no apache is installed"
    );
    if found.is_none() {
        drop(writeln!(std::io::stderr(), "skipped: no apache is installed"));
    }
    found
}

#[test]
fn apache_lists_every_value_and_no_other_definition() {
    let Some((program, modules)) = apache() else { return };
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().display().to_string();
    let mut head = String::new();
    for module in ["mpm_event", "authz_core", "unixd"] {
        let file = format!("{modules}/mod_{module}.so");
        if Path::new(&file).exists() {
            let _ = writeln!(head, "LoadModule {module}_module {file}");
        }
    }
    let _ = write!(
        head,
        "ServerRoot {dir}\nPidFile {dir}/pid\nErrorLog {dir}/log\nServerName x\nListen 81\n"
    );
    for (name, line) in [
        ("bare", "Define V№ ¤\n# ¤\n"),
        ("double", "<Location \"/¤\">\n</Location>\nDefine V№ \"x¤y\"\n"),
        ("single", "Define V№ 'x¤y'\n"),
        ("inside", "Define V№ x¤y\n"),
    ] {
        let sheet = Sheet::new(Format::Apache, &head, line, &values());
        let file = sheet.write(directory.path(), &format!("apache-{name}.conf"));
        let listed = output(program, &["-t", "-D", "DUMP_RUN_CFG", "-f", file.to_str().unwrap()]);
        let listed = String::from_utf8(listed).unwrap();
        let defined: Vec<&str> =
            listed.split('\n').filter_map(|line| line.strip_prefix("Define: ")).collect();
        let found: Vec<String> = defined
            .iter()
            .filter_map(|line| line.strip_prefix('V'))
            // Without an equals sign it is empty.
            .map(|line| line.split_once('=').unwrap_or_default().1.to_owned())
            .collect();
        // What asked for the list is defined too.
        assert_eq!(defined.len(), found.len() + 1, "{defined:?}");
        sheet.assert_read(&found, |value| {
            if name == "bare" { value.to_owned() } else { format!("x{value}y") }
        });
    }
}

/// What the server at `socket` answers for `path`.
fn fetch(socket: &Path, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Some(body.to_owned())
}

/// What a configuration of nginx begins with that keeps to the directory `dir`.
fn nginx_head(dir: &str) -> String {
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\nevents {{ }}\n\
         http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b;\n\
         fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;\n"
    )
}

#[test]
fn nginx_answers_with_every_value() {
    if !can_run(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().display().to_string();
    let head = nginx_head(&dir);
    for (name, line) in [
        ("bare", "location = /№ { return 200 ¤; } # ¤\n"),
        ("double", "location = /№ { return 200 \"x¤y\" ; }\n"),
        ("single", "location = /№ { return 200 'x¤y'; }\n"),
        ("inside", "location = /№ { return 200 x¤y; }\n"),
    ] {
        let socket = directory.path().join(format!("{name}.sock"));
        let head = format!("{head}server {{ listen unix:{};\n", socket.display());
        let mut sheet = Sheet::new(Format::Nginx, &head, line, &values());
        sheet.text += "} }\n";
        let file = sheet.write(directory.path(), &format!("nginx-{name}.conf"));
        let mut command = process::command("nginx");
        command.args(["-p", &dir, "-e", "stderr", "-c", file.to_str().unwrap()]);
        let mut server = process::Daemon::spawn(&mut command, directory.path().join("log"));
        server
            .wait_for(Duration::from_secs(20), "nginx answers", |_| fetch(&socket, "/0").is_some());
        let found: Vec<String> = (0..sheet.held.len())
            .map(|number| fetch(&socket, &format!("/{number}")).unwrap())
            .collect();
        drop(server);
        sheet.assert_read(&found, |value| {
            if name == "bare" { value.to_owned() } else { format!("x{value}y") }
        });
    }
}

#[test]
fn a_location_from_a_value_is_a_path_and_a_part_of_a_pattern_is_a_text() {
    if !can_run(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().display().to_string();
    let socket = directory.path().join("sock");
    let server = format!("server {{ listen unix:{};\n", socket.display());
    let answers = |locations: &str, paths: [&str; 3]| {
        let file = directory.path().join("conf");
        let text = format!(
            "{}{server}{locations} location / {{ return 200 miss; }} }} }}\n",
            nginx_head(&dir)
        );
        fs::write(&file, text).unwrap();
        let mut command = process::command("nginx");
        command.args(["-p", &dir, "-e", "stderr", "-c", file.to_str().unwrap()]);
        let mut server = process::Daemon::spawn(&mut command, directory.path().join("log"));
        server
            .wait_for(Duration::from_secs(20), "nginx answers", |_| fetch(&socket, "/").is_some());
        let found = paths.map(|path| fetch(&socket, path).unwrap());
        drop(server);
        fs::remove_file(&socket).unwrap_or_default();
        found
    };
    // So it would be with the values as they are.
    let paths = ["/other", "/a.b", "/aXb"];
    assert_eq!(answers("location \"~.\" { return 200 hit; }", paths), ["hit"; 3]);
    assert_eq!(answers("location ~ ^/a.b$ { return 200 hit; }", paths), ["miss", "hit", "hit"]);

    let values =
        ["~.", "~ .", "=/other", "^~/o", "*", "/a.b", "", "@x", "~*other"].map(str::to_owned);
    let sheet = Sheet::taken(Format::Nginx, "", "location ¤ { return 200 hit; }\n", &values);
    assert_eq!(sheet.held, ["/a.b"]);
    assert_eq!(answers(&sheet.text, paths), ["miss", "hit", "miss"]);
    let values = ["a.b", ".*", "a|other", "[a-z]*", "\\w+"].map(str::to_owned);
    let sheet = Sheet::taken(Format::Nginx, "", "location ~ ^/¤$ { return 200 hit; }\n", &values);
    assert_eq!(sheet.held, ["a.b"]);
    assert_eq!(answers(&sheet.text, paths), ["miss", "hit", "miss"]);
}
