// SPDX-License-Identifier: GPL-2.0-or-later

//! Control groups, modules and settings of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::state::checkup::{Cgroup, Module, Seen};

/// What containers on a bridge need of the kernel, by the names of its modules.
const MODULES: [&str; 7] =
    ["br_netfilter", "bridge", "nf_conntrack", "nf_nat", "nf_tables", "overlay", "veth"];

/// Source: `ip-sysctl.rst` of the kernel.
const SYSCTLS: [(&str, &str); 3] = [
    ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
    ("net.bridge.bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    ("net.bridge.bridge-nf-call-ip6tables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
];

/// Where systemd and everybody else have the control groups.
const CGROUP: &str = "/sys/fs/cgroup";

/// The control groups of this machine.
pub(super) fn cgroup() -> Seen<Cgroup> {
    let unified = Path::new(CGROUP).join("cgroup.controllers");
    if let Ok(text) = fs::read_to_string(unified) {
        let controllers = text.split_whitespace().map(str::to_owned).collect();
        return Ok(Cgroup { version: 2, controllers });
    }
    let mounts = read(Path::new("/proc/self/mounts"))?;
    let controllers = controllers_of_mounts(&mounts);
    if controllers.is_empty() {
        return Err(format!("no control groups are mounted below {CGROUP}"));
    }
    Ok(Cgroup { version: 1, controllers })
}

/// The controllers of version 1 that are mounted: `cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0`.
fn controllers_of_mounts(mounts: &str) -> BTreeSet<String> {
    let options = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words.get(2) == Some(&"cgroup")).then(|| words.get(3).copied())?
    });
    let is_option = |word: &str| word.contains('=') || ["rw", "ro", "none"].contains(&word);
    let is_of_mount = |word: &str| ["no", "rel"].iter().any(|begin| word.starts_with(begin));
    options
        .flat_map(|options| options.split(','))
        .filter(|word| !is_option(word) && !is_of_mount(word))
        .map(str::to_owned)
        .collect()
}

/// What is known of the modules.
pub(super) fn modules() -> BTreeMap<&'static str, Seen<Module>> {
    let release = read(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let of_kernel = PathBuf::from("/lib/modules").join(release.trim());
    let lists = ["modules.builtin", "modules.dep"].map(|file| read(&of_kernel.join(file)));
    let systems = read(Path::new("/proc/filesystems")).unwrap_or_default();
    let find = |name: &'static str| {
        let is_here =
            Path::new("/sys/module").join(name).is_dir() || has_file_system(&systems, name);
        (name, module(name, is_here, &lists))
    };
    MODULES.into_iter().map(find).collect()
}

/// `nodev\toverlay`.
fn has_file_system(systems: &str, name: &str) -> bool {
    systems.lines().any(|line| line.split_whitespace().next_back() == Some(name))
}

/// A module that `is_here`, or that a list of the kernel's release names: what is built in, and what can
/// be loaded.
fn module(name: &str, is_here: bool, lists: &[Seen<String>; 2]) -> Seen<Module> {
    let [built_in, loadable] = lists;
    if is_here || built_in.as_ref().is_ok_and(|list| lists_module(list, name)) {
        return Ok(Module::Present);
    }
    let is_loadable = loadable.as_ref().map_err(Clone::clone)?;
    let is_loadable = lists_module(is_loadable, name);
    Ok(if is_loadable { Module::Loadable } else { Module::Absent })
}

/// `kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz`; a `-` is as good as a `_`.
fn lists_module(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name)
    })
}

/// What the kernel is set to.
pub(super) fn sysctls() -> BTreeMap<&'static str, Seen<Option<String>>> {
    let value = |path: &str| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{path}: {error}")),
    };
    SYSCTLS.into_iter().map(|(name, path)| (name, value(path))).collect()
}

/// The text of `path`, or why there is none.
pub(super) fn read(path: &Path) -> Seen<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_told_from_the_options_of_their_mounts() {
        let mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,nodev,noexec,relatime,memory 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n\
            tmpfs /sys/fs/cgroup tmpfs ro,memory 0 0\n";
        let found: Vec<String> = controllers_of_mounts(mounts).into_iter().collect();
        assert_eq!(found, ["cpu", "cpuacct", "memory", "xattr"]);
    }

    #[test]
    fn a_module_is_here_built_in_loadable_absent_or_not_known() {
        let built_in = Ok("kernel/net/netfilter/nf_tables.ko\n".to_owned());
        let loadable =
            Ok("kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n".to_owned());
        let lists = [built_in, loadable];
        assert_eq!(module("veth", true, &lists), Ok(Module::Present));
        assert_eq!(module("nf_tables", false, &lists), Ok(Module::Present));
        assert_eq!(module("br_netfilter", false, &lists), Ok(Module::Loadable));
        // Only what another one needs: it has no line of its own.
        assert_eq!(module("bridge", false, &lists), Ok(Module::Absent));
        let none = [Err("no list".to_owned()), Err("no list".to_owned())];
        assert_eq!(module("veth", false, &none), Err("no list".to_owned()));
        assert!(has_file_system("nodev\toverlay\n\text4\n", "overlay"));
    }
}
