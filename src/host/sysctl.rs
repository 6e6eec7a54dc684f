// SPDX-License-Identifier: GPL-2.0-or-later

//! Kernel settings that containers on a bridge need, of the network namespace that we run in.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::host::{Error, outside};

/// Source: `ip-sysctl.rst` of the kernel, `ip_forward`.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// With these, packets that stay on one bridge pass the `inet` hooks too; without them a link could
/// not be told from no link. They are there when `br_netfilter` is.
const BRIDGE_FILTER: [&str; 2] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
];

fn read(path: &str) -> Result<Option<bool>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim() != "0")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.into(), source }),
    }
}

fn write(path: &str) -> Result<(), Error> {
    // Not host::file::replace: a sysctl is written in place, there is nothing to rename.
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(b"1\n"))
        .map_err(|source| Error::File { path: path.into(), source })
}

/// Whether the kernel forwards IPv4 packets between interfaces.
///
/// # Errors
///
/// It cannot be read.
pub fn forwarding() -> Result<bool, Error> {
    Ok(read(FORWARDING)?.unwrap_or(false))
}

/// Turns forwarding on, until the next boot.
///
/// # Errors
///
/// It cannot be written.
pub fn set_forwarding() -> Result<(), Error> {
    write(FORWARDING)
}

/// Turns forwarding off.
///
/// # Errors
///
/// It cannot be written.
pub fn unset_forwarding() -> Result<(), Error> {
    fs::OpenOptions::new()
        .write(true)
        .open(FORWARDING)
        .and_then(|mut file| file.write_all(b"0\n"))
        .map_err(|source| Error::File { path: FORWARDING.into(), source })
}

/// Whether packets between containers pass the filter; `None` when the kernel cannot.
///
/// # Errors
///
/// It cannot be read.
pub fn bridge_filter() -> Result<Option<bool>, Error> {
    let mut all = Some(true);
    for path in BRIDGE_FILTER {
        all = match (all, read(path)?) {
            (Some(so_far), Some(on)) => Some(so_far && on),
            (_, None) | (None, _) => None,
        };
    }
    Ok(all)
}

/// Makes packets between containers pass the filter.
///
/// # Errors
///
/// The kernel has no `br_netfilter`, or it cannot be set.
pub async fn set_bridge_filter() -> Result<(), Error> {
    if !Path::new(BRIDGE_FILTER[0]).exists() {
        outside::run("modprobe", &["br_netfilter"]).await.map_err(|source| Error::Command {
            doing: "loading the kernel module br_netfilter".to_owned(),
            source,
        })?;
    }
    BRIDGE_FILTER.iter().try_for_each(|path| write(path))
}
