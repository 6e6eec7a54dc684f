// SPDX-License-Identifier: GPL-2.0-or-later

//! What goes wrong with the machine, and what would mend it.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::db::value::ContainerName;
use crate::host::{command, engine, unit};
use crate::state::PacketFilter;

/// Why the machine could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine did not do it.
    #[error("engine: {doing}")]
    Engine {
        /// What was asked.
        doing: String,
        /// What it said.
        source: Box<engine::Error>,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not do it.
    #[error("{doing}")]
    Command {
        /// What was to be done.
        doing: String,
        /// What became of the program.
        source: command::Error,
    },
    /// systemd did not do it.
    #[error("{doing}")]
    Unit {
        /// What was to be done.
        doing: String,
        /// Why not.
        source: Box<unit::bus::Error>,
    },
    /// The new content of a file was refused by the program that reads it; the old one stays.
    #[error("{} would be refused; the file that is there stays", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the program said.
        source: command::Error,
    },
    /// The kernel does not hold what was loaded.
    #[error("the guard does not read back as it was loaded")]
    GuardNotLoaded(PacketFilter),
    /// A container did not come to serve.
    #[error("container '{name}' does not serve: {why}")]
    NotReady {
        /// The record.
        name: ContainerName,
        /// What is seen of it.
        why: String,
    },
    /// The routing table or the sockets could not be read.
    #[error("cannot read {what} of the kernel")]
    Kernel {
        /// Which table.
        what: &'static str,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the engine gave no answer, so that only another look can tell what it has done.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if source.is_unanswered())
    }

    /// Whether a new container did not serve, and the old one is back.
    pub fn is_taken_back(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if matches!(**source, engine::Error::WentBack { .. }))
    }

    /// A command or act that would mend it, when one is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Engine { source, .. } => source.remedy(),
            Self::Command { source, .. } => source.remedy(),
            Self::Refused { path, source } => source.remedy().or_else(|| {
                Some(format!(
                    "{} is made from the records and from fragments in /etc/wharf/templates-custom: one of them is wrong",
                    path.display()
                ))
            }),
            Self::GuardNotLoaded(PacketFilter::Nftables) => {
                Some("nft list table inet wharf".to_owned())
            }
            Self::GuardNotLoaded(PacketFilter::Iptables) => {
                Some("iptables-save -t mangle; ip6tables-save -t mangle".to_owned())
            }
            Self::NotReady { name, .. } => Some(format!("docker logs {name}")),
            Self::File { path, source } => denied(path, source),
            Self::Unit { source, .. } => source.remedy(),
            Self::Kernel { .. } => None,
        }
    }
}

/// What would mend that `path` cannot be used.
fn denied(path: &Path, source: &io::Error) -> Option<String> {
    match (source.kind(), geteuid().is_root()) {
        (io::ErrorKind::PermissionDenied, false) => Some("run this as root".to_owned()),
        // What root may not do is EPERM; EACCES is said by others, as SELinux, in a log of their own.
        (io::ErrorKind::PermissionDenied, true)
            if source.raw_os_error() == Some(nix::libc::EPERM) =>
        {
            let (path, above) = (path.display(), path.parent().unwrap_or(path).display());
            Some(format!("see whether it or its directory is immutable: lsattr -d {path} {above}"))
        }
        _ => None,
    }
}
