// SPDX-License-Identifier: GPL-2.0-or-later

//! The packet filter of a laboratory's host: what its engine and wharf find in their path.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Lab, process};

impl Lab {
    /// Where the programs of the packet filter are, when not those of this machine.
    pub(crate) fn programs(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// `program` of ours, to be run on the host; where there is no nftables, it finds no `nft`.
    pub(super) fn ours(&self, program: impl AsRef<Path>) -> Command {
        match self.filter {
            Filter::Nftables => self.on_host(program),
            Filter::Iptables | Filter::IptablesLegacy => {
                let mut command = self.on_host("env");
                command.arg(format!("PATH={}", self.programs().display())).arg(program.as_ref());
                command
            }
        }
    }

    /// Gives the host programs that know no lock, as those of iptables 1.4.
    pub(crate) fn forget_the_lock(&self) {
        for name in ["iptables-restore", "ip6tables-restore"] {
            let program = self.programs().join(name);
            let multi = program.canonicalize().unwrap().display().to_string();
            let script = format!(
                "#!/bin/sh\n\
                 case \"$*\" in *--wait*) echo \"{name}: unrecognized option '--wait'\" >&2; exit 2;; esac\n\
                 exec {multi} {name} \"$@\"\n"
            );
            fs::remove_file(&program).unwrap();
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Runs `program` of the host's packet filter, which must succeed, and gives what it says.
    pub(crate) fn iptables(&self, program: &str, args: &[&str]) -> String {
        let program = self.programs().join(program).display().to_string();
        self.host(&[&[program.as_str()], args].concat()).succeeded().stdout
    }

    /// Lets the host have `program` of this machine from now on.
    pub(crate) fn add_program(&self, program: &str) {
        symlink(process::find(program).unwrap(), self.programs().join(program)).unwrap();
    }
}

/// Which packet filter a laboratory's host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All that this machine has.
    Nftables,
    /// The iptables of this machine, mostly the one that writes tables of nftables; and no `nft`.
    Iptables,
    /// The iptables of before; and no `nft`. What it loads, nothing else can see.
    IptablesLegacy,
}

impl Filter {
    /// What `WHARF_TEST_FILTER` says, so that tests can be run with another filter than their own.
    pub(super) fn of_environment() -> Self {
        match std::env::var("WHARF_TEST_FILTER").as_deref() {
            Ok("iptables") => Self::Iptables,
            Ok("legacy") => Self::IptablesLegacy,
            Ok(other) => panic!("WHARF_TEST_FILTER '{other}' is neither iptables nor legacy"),
            Err(_) => Self::Nftables,
        }
    }

    /// Makes `directory` with the programs that replace those of the machine.
    pub(super) fn prepare(self, directory: &Path) {
        let program = match self {
            Self::Nftables => return,
            Self::Iptables => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
        };
        let multi = process::find(program).unwrap_or_else(|| panic!("no {program}"));
        let multi = multi.canonicalize().unwrap();
        fs::create_dir(directory).unwrap();
        // What wharf asks besides.
        symlink(process::find("ip").unwrap(), directory.join("ip")).unwrap();
        // The program goes by the name it is called.
        for family in ["iptables", "ip6tables"] {
            for what in ["", "-save", "-restore"] {
                symlink(&multi, directory.join(format!("{family}{what}"))).unwrap();
            }
        }
    }
}
