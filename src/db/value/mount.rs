// SPDX-License-Identifier: GPL-2.0-or-later

//! What of the host is seen inside a container: paths, file systems in memory, devices.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{BadValue, Parsed, list, quoted, size_bytes};

/// Longest path in bytes: the kernel's `PATH_MAX` (4096) less the closing NUL.
///
/// Source: `include/uapi/linux/limits.h`.
pub const MAX_PATH: usize = 4095;

const PATH: &str = "an absolute path without '..' and ':', as /srv/wiki";
const MOUNTS: &str = "HOST:CONTAINER, HOST:CONTAINER:ro or PATH, as /srv/media:/media:ro,/var/www";
const TMPFS: &str = "PATH or PATH:SIZE, as /tmp:64m,/run";
const DEVICES: &str = "HOST, HOST:CONTAINER or HOST:CONTAINER:rwm, as /dev/ttyUSB0:/dev/modem:rw";

/// Where a mount of `MountPath` comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountSource {
    /// A path of the host.
    Host(PathBuf),
    /// Below the data root, as `NAME/PATH`.
    DataRoot,
}

/// One entry of `MountPath`: `HOST:CONTAINER[:ro]`, or `PATH`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountEntry {
    /// Where it comes from.
    pub source: MountSource,
    /// Where it appears in the container; never `/`.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

impl fmt::Display for MountEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let MountSource::Host(host) = &self.source {
            write!(f, "{}:", host.display())?;
        }
        write!(f, "{}", self.target.display())?;
        if self.read_only { f.write_str(":ro") } else { Ok(()) }
    }
}

text_form!(MountEntry, mount);

/// One entry of `Tmpfs`: `PATH[:SIZE]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TmpfsEntry {
    /// Where it appears in the container; never `/`.
    pub target: PathBuf,
    /// Its size in bytes; without one, half of the host's memory (the kernel's default).
    pub size_bytes: Option<u64>,
}

impl fmt::Display for TmpfsEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target.display())?;
        self.size_bytes.map_or(Ok(()), |bytes| write!(f, ":{bytes}b"))
    }
}

text_form!(TmpfsEntry, tmpfs_entry);

/// One entry of `Devices`: `HOST[:CONTAINER[:rwm]]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceEntry {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the container; the same when none is said.
    pub container: PathBuf,
    /// Of `r`, `w` and `m` (may make the device node), in this order; all when none is said.
    pub permissions: String,
}

impl fmt::Display for DeviceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host.display(), self.container.display(), self.permissions)
    }
}

text_form!(DeviceEntry, device);

/// An absolute path below `/`, without `.` and `..`, double and closing slashes.
///
/// # Errors
///
/// It is relative, goes through `..`, ends in a blank, is `/` itself or longer than [`MAX_PATH`], or
/// has `:` (which separates paths here and for the engines) or a control character.
pub fn absolute_path(text: &str) -> Parsed<PathBuf> {
    let path = path(text)?;
    if path == Path::new("/") {
        return Err(BadValue::new("'/' is the whole file system", PATH));
    }
    Ok(path)
}

/// The entries of `MountPath`, in the order of the text.
///
/// # Errors
///
/// An element is no mount, or two have the same place in the container.
pub fn mounts(text: &str) -> Parsed<Vec<MountEntry>> {
    let mounts = list(text, MOUNTS, mount)?;
    each_once(mounts.iter().map(|mount| &mount.target), MOUNTS)?;
    Ok(mounts)
}

/// The entries of `Tmpfs`, in the order of the text.
///
/// # Errors
///
/// An element is no path with a size, or two have the same path.
pub fn tmpfs(text: &str) -> Parsed<Vec<TmpfsEntry>> {
    let entries = list(text, TMPFS, tmpfs_entry)?;
    each_once(entries.iter().map(|entry| &entry.target), TMPFS)?;
    Ok(entries)
}

/// The entries of `Devices`, in the order of the text.
///
/// # Errors
///
/// An element is no device, or two have the same path in the container.
pub fn devices(text: &str) -> Parsed<Vec<DeviceEntry>> {
    let devices = list(text, DEVICES, device)?;
    each_once(devices.iter().map(|device| &device.container), DEVICES)?;
    Ok(devices)
}

/// As [`absolute_path`], but `/` is fine.
fn path(text: &str) -> Parsed<PathBuf> {
    let bad = |what: &str| Err(BadValue::new(format!("{} {what}", quoted(text)), PATH));
    if !text.starts_with('/') {
        return bad("is no absolute path");
    }
    if text.len() > MAX_PATH {
        return bad(&format!("has {} bytes, a path has at most {MAX_PATH}", text.len()));
    }
    if let Some(found) = text.chars().find(|c| *c == ':' || c.is_control()) {
        return bad(&format!("has the character {}", quoted(&found.to_string())));
    }
    if text.split('/').any(|part| part == "..") {
        return bad("has the part '..'");
    }
    let path: PathBuf = Path::new(text).components().collect();
    if path.to_string_lossy().ends_with(char::is_whitespace) {
        // In a list the blank is lost, and the path would be another.
        return bad("ends in a blank");
    }
    Ok(path)
}

fn mount(text: &str) -> Parsed<MountEntry> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => (MountSource::DataRoot, *target, "rw"),
        [host, target] => (MountSource::Host(path(host)?), *target, "rw"),
        [host, target, mode] => (MountSource::Host(path(host)?), *target, *mode),
        _ => return Err(BadValue::new(format!("{} has too many ':'", quoted(text)), MOUNTS)),
    };
    let read_only = match mode {
        "ro" => true,
        "rw" => false,
        _ => {
            let wrong = format!("{} is no way to mount", quoted(mode));
            return Err(BadValue::new(wrong, MOUNTS));
        }
    };
    Ok(MountEntry { source, target: absolute_path(target)?, read_only })
}

fn tmpfs_entry(text: &str) -> Parsed<TmpfsEntry> {
    let (target, size) = match text.split_once(':') {
        Some((target, size)) => (target.trim(), Some(size.trim())),
        None => (text, None),
    };
    Ok(TmpfsEntry { target: absolute_path(target)?, size_bytes: size.map(size_bytes).transpose()? })
}

fn device(text: &str) -> Parsed<DeviceEntry> {
    let bad = |wrong: String| Err(BadValue::new(wrong, DEVICES));
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, container] => (*host, *container, "rwm"),
        [host, container, permissions] => (*host, *container, *permissions),
        _ => return bad(format!("{} has too many ':'", quoted(text))),
    };
    if permissions.is_empty() || permissions.chars().any(|c| !"rwm".contains(c)) {
        return bad(format!("{} is not made of r, w and m", quoted(permissions)));
    }
    Ok(DeviceEntry {
        host: absolute_path(host)?,
        container: absolute_path(container)?,
        permissions: "rwm".chars().filter(|c| permissions.contains(*c)).collect(),
    })
}

/// Checks that no path comes twice.
fn each_once<'a>(paths: impl Iterator<Item = &'a PathBuf>, expected: &str) -> Parsed<()> {
    let mut seen = BTreeSet::new();
    for path in paths {
        if !seen.insert(path) {
            let wrong = format!("{} comes twice", quoted(&path.to_string_lossy()));
            return Err(BadValue::new(wrong, format!("each path once: {expected}")));
        }
    }
    Ok(())
}
