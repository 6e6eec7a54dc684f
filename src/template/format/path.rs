// SPDX-License-Identifier: GPL-2.0-or-later

//! What a file is, by its path.

use std::path::Path;

use super::Format;

/// Ends of units below a directory of systemd.
const UNITS: [&str; 18] = [
    "service",
    "socket",
    "timer",
    "mount",
    "path",
    "target",
    "slice",
    "network",
    "netdev",
    "link",
    "automount",
    "swap",
    "scope",
    "container",
    "volume",
    "kube",
    "pod",
    "conf",
];

/// Files that a shell reads when it starts, in any home.
const DOTS: [&str; 16] = [
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".kshrc",
    ".profile",
    ".xinitrc",
    ".xprofile",
    ".xsession",
    ".xsessionrc",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
];

/// Directories that hold scripts, or directories of them that end in `.d`, and how their names begin.
const HOOKS: [(&str, &str); 3] =
    [("etc/network/", "if-"), ("etc/kernel/", ""), ("etc/ppp/", "ip-")];

/// Directories and their formats, the first that fits.
const BELOW: [(&str, Format); 29] = [
    ("etc/zsh/", Format::Shell),
    ("etc/update-motd.d/", Format::Shell),
    ("etc/NetworkManager/dispatcher.d/", Format::Shell),
    ("etc/dhcp/dhclient-enter-hooks", Format::Shell),
    ("etc/dhcp/dhclient-exit-hooks", Format::Shell),
    ("etc/sysconfig/network-scripts/ifup", Format::Shell),
    ("etc/sysconfig/network-scripts/ifdown", Format::Shell),
    ("etc/X11/xinit/", Format::Shell),
    ("etc/conf.d/", Format::Sysconfig),
    ("etc/rc.conf.d/", Format::Sysconfig),
    ("etc/rc.d/", Format::Shell),
    ("etc/init.d/", Format::Shell),
    ("etc/cron.daily/", Format::Shell),
    ("etc/cron.hourly/", Format::Shell),
    ("etc/cron.weekly/", Format::Shell),
    ("etc/cron.monthly/", Format::Shell),
    ("etc/e-smith/events/", Format::Shell),
    ("etc/profile.d/", Format::Shell),
    ("etc/bash_completion.d/", Format::Shell),
    ("etc/NetworkManager/dnsmasq", Format::Dnsmasq),
    ("var/spool/cron/", Format::Crontab),
    ("etc/crontabs/", Format::Crontab),
    ("etc/sysconfig/", Format::Sysconfig),
    ("etc/default/", Format::Sysconfig),
    ("etc/httpd/", Format::Apache),
    ("etc/apache2/", Format::Apache),
    ("etc/nginx/", Format::Nginx),
    ("etc/dnsmasq", Format::Dnsmasq),
    ("etc/cron.d/", Format::Cron),
];

impl Format {
    /// What a file of this name is, where nothing says so.
    pub fn of_path(target: &Path) -> Self {
        let path = target.to_string_lossy();
        let path = path.trim_start_matches('/');
        let part = |part: Option<&std::ffi::OsStr>| {
            part.and_then(std::ffi::OsStr::to_str).unwrap_or_default().to_owned()
        };
        let (name, end) = (part(target.file_name()), part(target.extension()));
        match (path, end.as_str()) {
            (_, "nft") | ("etc/nftables.conf", _) => Self::Nftables,
            (_, "json") => Self::Json,
            (_, "yaml" | "yml") => Self::Yaml,
            (_, "sh") => Self::Shell,
            (_, end) if UNITS.contains(&end) && path.contains("systemd/") => Self::Systemd,
            (_, "image" | "build") if path.contains("containers/systemd/") => Self::Systemd,
            ("etc/crontab", _) => Self::Cron,
            ("etc/anacrontab", _) => Self::Anacrontab,
            ("etc/hosts", _) => Self::Hosts,
            (
                "etc/profile"
                | "etc/profile.local"
                | "etc/bashrc"
                | "etc/bash.bashrc"
                | "etc/bash.bashrc.local"
                | "etc/rc.local"
                | "etc/bash.bash_logout"
                | "etc/zshrc"
                | "etc/zshenv"
                | "etc/zprofile"
                | "etc/zlogin"
                | "etc/zlogout"
                | "etc/kshrc"
                | "etc/ksh.kshrc"
                | "etc/apache2/envvars",
                _,
            ) => Self::Shell,
            ("etc/rc.conf" | "etc/os-release" | "usr/lib/os-release", _) => Self::Sysconfig,
            ("etc/fcrontab", _) => Self::Crontab,
            _ if path.contains("bash-completion/completions/") => Self::Shell,
            _ if HOOKS.iter().any(|(above, begin)| is_hook(path, above, begin)) => Self::Shell,
            _ if DOTS.contains(&name.as_str()) => Self::Shell,
            _ => BELOW
                .iter()
                .find(|(directory, _)| path.starts_with(directory))
                .map_or(Self::Plain, |(_, format)| *format),
        }
    }
}

/// Whether `path` is a script: in a directory `NAME.d` of `above`, or in `above` itself where the name has
/// to begin with something.
fn is_hook(path: &str, above: &str, begin: &str) -> bool {
    let Some(rest) = path.strip_prefix(above).filter(|rest| rest.starts_with(begin)) else {
        return false;
    };
    match rest.rsplit_once('/') {
        Some((directory, _)) => directory.strip_suffix(".d").is_some(),
        None => !begin.is_empty() && rest.strip_suffix(".d").is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_the_path() {
        for (path, format) in [
            ("etc/sysconfig/x", Format::Sysconfig),
            ("/etc/httpd/conf/httpd.conf", Format::Apache),
            ("etc/systemd/system/a.service", Format::Systemd),
            ("etc/containers/systemd/a.container", Format::Systemd),
            ("etc/containers/systemd/a.build", Format::Systemd),
            ("srv/a.build", Format::Plain),
            ("etc/dnsmasq.d/x", Format::Dnsmasq),
            ("etc/motd", Format::Plain),
            ("etc/conf.d/net", Format::Sysconfig),
            ("etc/rc.conf", Format::Sysconfig),
            ("etc/os-release", Format::Sysconfig),
            ("etc/sysconfig/network-scripts/ifcfg-eth0", Format::Sysconfig),
            ("etc/ppp/options", Format::Plain),
            ("etc/kernel/cmdline", Format::Plain),
            ("etc/network/interfaces", Format::Plain),
            ("srv/x.json", Format::Json),
        ] {
            assert_eq!(Format::of_path(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn what_a_shell_reads_without_saying_so_is_a_script() {
        for path in [
            "/etc/profile",
            "/etc/bashrc",
            "/etc/bash.bashrc",
            "/root/.bashrc",
            "/home/a/.profile",
            "/etc/skel/.bash_profile",
            "/etc/rc.local",
            "/etc/rc.d/rc.local",
            "/etc/rc.d/rc3.d/S99x",
            "/etc/apache2/envvars",
            "/etc/bash.bash_logout",
            "/etc/zshrc",
            "/etc/zsh/zshenv",
            "/root/.zshrc",
            "/etc/kshrc",
            "/home/a/.xinitrc",
            "/etc/X11/xinit/xinitrc",
            "/etc/dhcp/dhclient-exit-hooks.d/a",
            "/etc/dhcp/dhclient-enter-hooks",
            "/usr/share/bash-completion/completions/a",
            "/etc/ppp/ip-up.local",
            "/etc/ppp/ip-up.d/a",
            "/etc/network/if-up.d/a",
            "/etc/NetworkManager/dispatcher.d/10-a",
            "/etc/kernel/postinst.d/a",
            "/etc/update-motd.d/10-a",
            "/etc/sysconfig/network-scripts/ifup-local",
        ] {
            assert_eq!(Format::of_path(Path::new(path)), Format::Shell, "{path}");
        }
        assert_eq!(Format::of_path(Path::new("/srv/etc/profile")), Format::Plain);
    }

    #[test]
    fn each_table_of_cron_has_its_own_fields() {
        for (path, format) in [
            ("/etc/crontab", Format::Cron),
            ("/etc/cron.d/a", Format::Cron),
            ("/etc/anacrontab", Format::Anacrontab),
            ("/etc/crontabs/root", Format::Crontab),
            ("/var/spool/cron/root", Format::Crontab),
            ("/var/spool/cron/crontabs/root", Format::Crontab),
            ("/etc/fcrontab", Format::Crontab),
        ] {
            assert_eq!(Format::of_path(Path::new(path)), format, "{path}");
        }
    }
}
