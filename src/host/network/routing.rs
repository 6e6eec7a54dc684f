// SPDX-License-Identifier: GPL-2.0-or-later

//! Who else on this host wants packets forwarded, and what `SuSEfirewall2` is told of its interfaces.
//!
//! Read from what admins and other programs have written down; what the kernel does now says nothing about
//! who wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::settings::{Root, variables};

/// Settings of `SuSEfirewall2` (openSUSE up to Leap 42.3).
const SUSE: &str = "/etc/sysconfig/SuSEfirewall2";

/// Where `sysctl.d(5)` looks, the first one that has a file of a name counts.
const SYSCTL: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// Where firewalld keeps what an admin has changed.
const FIREWALLD: [&str; 2] = ["/etc/firewalld/zones", "/etc/firewalld/policies"];

/// Bridges of other engines and of virtual machines. `docker0` is not among them: an engine has it whether
/// it is used or not.
const BRIDGES: [&str; 7] = ["br-", "virbr", "lxcbr", "lxdbr", "incusbr", "podman", "cni"];

/// What `SuSEfirewall2` is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Suse {
    /// Interfaces to networks that are trusted (`FW_DEV_INT`).
    pub(super) internal: BTreeSet<String>,
    /// Interfaces to the Internet (`FW_DEV_EXT`).
    external: BTreeSet<String>,
    /// `FW_ROUTE`: forwarding is wanted. `FW_MASQUERADE` works only with it, so it says nothing more.
    routes: bool,
}

impl Suse {
    /// What is told below `root`; nothing where the file is not.
    pub(super) fn read(root: &Root) -> Self {
        fs::read_to_string(root.at(SUSE)).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut suse = Self::default();
        let list = |value: &str| value.split_whitespace().map(str::to_owned).collect();
        for (name, value) in variables(text) {
            match name.as_str() {
                "FW_DEV_INT" => suse.internal = list(&value),
                "FW_DEV_EXT" => suse.external = list(&value),
                "FW_ROUTE" => suse.routes = value == "yes",
                _ => {}
            }
        }
        suse
    }

    /// Whether this interface leads to a local network; `None` when nothing is told of it.
    pub(super) fn is_local(&self, interface: &str) -> Option<bool> {
        if self.internal.is_empty() {
            // `any` is everything that has no zone of its own: no interface is named by it.
            return self.external.contains(interface).then_some(false);
        }
        Some(self.internal.contains(interface))
    }
}

/// Whether `SuSEfirewall2` takes files with the ports of services.
pub(super) fn takes_services(root: &Root) -> bool {
    root.at(format!("{SUSE}.d/services")).is_dir()
}

/// Whoever else has said that this host is a router, as a person would say it.
pub(super) fn forwarders(root: &Root, suse: &Suse) -> Vec<String> {
    let mut found = Vec::new();
    if suse.routes {
        found.push(format!("FW_ROUTE=\"yes\" in {SUSE}"));
    }
    found.extend(sysctl_says(root).map(|path| format!("net.ipv4.ip_forward = 1 in {path}")));
    for directory in FIREWALLD {
        for (name, path) in files(&root.at(directory), ".xml") {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.contains("<masquerade") || text.contains("to-addr=") {
                found.push(format!(
                    "firewalld, which masquerades or forwards in {directory}/{name}"
                ));
            }
        }
    }
    found
}

/// The file whose word on forwarding is the last one, when that is yes.
fn sysctl_says(root: &Root) -> Option<String> {
    let mut by_name: BTreeMap<String, (String, PathBuf)> = BTreeMap::new();
    for directory in SYSCTL {
        for (name, path) in files(&root.at(directory), ".conf") {
            by_name.entry(name.clone()).or_insert((format!("{directory}/{name}"), path));
        }
    }
    let last = ("/etc/sysctl.conf".to_owned(), root.at("/etc/sysctl.conf"));
    let mut said = None;
    for (shown, path) in by_name.into_values().chain([last]) {
        match fs::read_to_string(path).ok().as_deref().and_then(forwards) {
            Some(true) => said = Some(shown),
            Some(false) => said = None,
            None => {}
        }
    }
    said
}

/// What a file of `sysctl.d(5)` says of forwarding, if anything.
fn forwards(text: &str) -> Option<bool> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches('-'));
    let assignments =
        lines.filter(|line| !line.starts_with(['#', ';'])).filter_map(|line| line.split_once('='));
    assignments
        .map(|(name, value)| (name.trim().replace('/', "."), value.trim()))
        .filter(|(name, _)| {
            matches!(name.as_str(), "net.ipv4.ip_forward" | "net.ipv4.conf.all.forwarding")
        })
        .map(|(_, value)| value != "0")
        .next_back()
}

/// The files of `directory` whose name ends in `end`, by name.
fn files(directory: &Path, end: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| name.ends_with(end))
        .collect()
}

/// Zones of firewalld whose interfaces lead inside.
const INNER_ZONES: [&str; 3] = ["trusted", "internal", "home"];

/// The interfaces of which files say that they lead inside: `FW_DEV_INT`, and firewalld's zones.
pub(super) fn internal(root: &Root, suse: &Suse) -> BTreeSet<String> {
    let zones = files(&root.at(FIREWALLD[0]), ".xml");
    let inner = INNER_ZONES.iter().filter_map(|zone| zones.get(&format!("{zone}.xml")));
    let texts = inner.filter_map(|path| fs::read_to_string(path).ok());
    let mut found: BTreeSet<String> = texts.flat_map(|text| interfaces(&text)).collect();
    found.extend(suse.internal.iter().cloned());
    found.retain(|name| !suse.external.contains(name));
    found
}

/// The interfaces of a zone: `<interface name="lan0"/>`.
fn interfaces(zone: &str) -> Vec<String> {
    let tags = zone.split("<interface").skip(1).filter_map(|rest| rest.split('>').next());
    tags.filter_map(|tag| {
        let value = tag.split("name=").nth(1)?;
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        Some(value.get(1..)?.split(quote).next()?.to_owned())
    })
    .collect()
}

/// The interfaces of the default routes among `routes`.
pub(super) fn defaults(routes: &BTreeMap<IpNet, String>) -> BTreeSet<String> {
    let is_default = |(route, _): &(&IpNet, &String)| route.prefix_len() == 0;
    routes.iter().filter(is_default).map(|(_, interface)| interface.clone()).collect()
}

/// The interfaces of the default routes of IPv6; none where the kernel has no IPv6.
pub(super) fn defaults6() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let default = format!("{} 00 ", "0".repeat(32));
    let lines = table.lines().filter(|line| line.starts_with(&default));
    let names = lines.filter_map(|line| line.split_whitespace().next_back());
    names.filter(|name| *name != "lo").map(str::to_owned).collect()
}

/// Bridges of others among the names of interfaces.
pub(super) fn bridges<'a>(names: impl Iterator<Item = &'a str>, ours: &str) -> BTreeSet<String> {
    names
        .filter(|name| *name != ours && BRIDGES.iter().any(|prefix| name.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::file;

    #[test]
    fn a_sysctl_file_counts_by_its_last_line_and_in_either_spelling() {
        assert_eq!(forwards("# net.ipv4.ip_forward=1\n"), None);
        assert_eq!(forwards("net.ipv4.ip_forward = 1\n"), Some(true));
        assert_eq!(
            forwards("-net/ipv4/ip_forward=1\nnet.ipv4.conf.all.forwarding=0\n"),
            Some(false)
        );
        assert_eq!(forwards("net.ipv6.conf.all.forwarding=1\n"), None);
    }

    #[test]
    fn a_later_file_and_an_earlier_directory_win() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let write = |path: &str, value: &str| {
            let line = format!("net.ipv4.ip_forward={value}\n");
            file::replace(&root.at(path), line.as_bytes(), 0o644).unwrap();
        };
        write("/usr/lib/sysctl.d/50-router.conf", "1");
        assert_eq!(sysctl_says(&root).unwrap(), "/usr/lib/sysctl.d/50-router.conf");
        write("/etc/sysctl.d/50-router.conf", "0");
        assert_eq!(sysctl_says(&root), None);
        write("/etc/sysctl.conf", "1");
        assert_eq!(sysctl_says(&root).unwrap(), "/etc/sysctl.conf");
    }

    #[test]
    fn zones_of_firewalld_name_the_inner_interfaces() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let write = |zone: &str, text: &str| {
            let file = root.at(format!("/etc/firewalld/zones/{zone}.xml"));
            file::replace(&file, text.as_bytes(), 0o644).unwrap();
        };
        write(
            "internal",
            "<zone>\n  <interface name=\"lan0\"/>\n  <interface name='lan1'/>\n</zone>\n",
        );
        write("public", "<zone><interface name=\"wan0\"/></zone>");
        write("home", "<zone><short>Home</short></zone>");
        let suse = Suse::parse("FW_DEV_INT='eth1'\nFW_DEV_EXT='lan1'\n");
        let names: Vec<String> = internal(&root, &suse).into_iter().collect();
        assert_eq!(names, ["eth1", "lan0"]);
    }

    #[test]
    fn susefirewall_names_interfaces_as_words() {
        let text = "FW_DEV_EXT=\"any eth0\"\nFW_DEV_INT=\"eth1  eth2\"\nFW_ROUTE=\"yes\"\n";
        let suse = Suse::parse(text);
        assert!(suse.routes);
        assert_eq!(suse.is_local("eth2"), Some(true));
        assert_eq!(suse.is_local("eth3"), Some(false));
        let only_outside = Suse::parse("FW_DEV_EXT='eth0'\nFW_DEV_INT=''\nFW_ROUTE='no'\n");
        assert!(!only_outside.routes);
        assert_eq!(only_outside.is_local("eth0"), Some(false));
        assert_eq!(only_outside.is_local("eth3"), None);
    }
}
