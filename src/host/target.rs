// SPDX-License-Identifier: GPL-2.0-or-later

//! A file that a template makes goes to its place: checked, in one move, by e-smith's rules of owner and
//! mode (`esmith.md` §4, "Writing the target").
//!
//! The new content has no name until it is on disk (`O_TMPFILE`), so that a kill leaves nothing beside the
//! target; only between link and rename it has one, which the next expansion takes away. What is checked
//! is a copy below `/run/wharf`, under the target's own name.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Group, User, geteuid, linkat};
use sha2::{Digest, Sha256};

use crate::host::memory::Memory;
use crate::host::process::is_gone;
use crate::host::{Error, command, file};
use crate::state::container::hex;

/// Who has a target, and who may do what with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// User; `None`: that of the target as it is, or root.
    pub uid: Option<u32>,
    /// Group, likewise.
    pub gid: Option<u32>,
    /// Permission bits; `None`: those of the target as it is, or 0644.
    pub mode: Option<u32>,
}

/// What becomes of a target that is not what we wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// It is put aside.
    KeptAside,
    /// It is replaced.
    Overwritten,
    /// It stays.
    Refused,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub struct NewTarget {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub content: Vec<u8>,
    /// For whom.
    pub access: Access,
    /// Program and arguments that accept or refuse it.
    pub check: Option<Vec<String>>,
    /// What becomes of a target that somebody changed.
    pub edited: Edited,
    /// Whether a target counts as changed when we do not know of having written it.
    pub unknown_is_edited: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Whether the content is another now.
    pub changed: bool,
    /// Where the changes of somebody else were put.
    pub aside: Option<PathBuf>,
}

/// The number of a user, by number or name; `None`: nobody is called that.
pub fn user(name: &str) -> Option<u32> {
    number(name).or_else(|| Some(User::from_name(name).ok()??.uid.as_raw()))
}

/// The number of a group, likewise.
pub fn group(name: &str) -> Option<u32> {
    number(name).or_else(|| Some(Group::from_name(name).ok()??.gid.as_raw()))
}

/// The highest number says to the kernel that nothing is to change.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// The current content of `path`; `None` when it is not there, or is a link to nothing.
///
/// # Errors
///
/// It is a directory, no regular file, or cannot be read.
pub fn content(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(nix::libc::ELOOP) =>
        {
            return Ok(None);
        }
        Err(source) => return Err(failed(source)),
    };
    if found.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if !found.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    fs::read(path).map(Some).map_err(failed)
}

/// Where and how long a new content is checked.
#[derive(Clone, Debug)]
pub struct Checks {
    /// The directory for copies.
    pub stage: PathBuf,
    /// How long the program may take.
    pub limit: Duration,
}

/// Asks the program that will read `content` under the name `path`.
///
/// # Errors
///
/// It refuses, takes too long, or is not there.
pub async fn check(
    program: &[String],
    path: &Path,
    content: &[u8],
    checks: &Checks,
) -> Result<(), Error> {
    let stage = &checks.stage;
    let failed = |source| Error::File { path: stage.to_owned(), source };
    fs::create_dir_all(stage).map_err(failed)?;
    fs::set_permissions(stage, Permissions::from_mode(0o700)).map_err(failed)?;
    // Whose it is shows by the name, so that a later one can take away what a kill left.
    let directory = tempfile::Builder::new()
        .prefix(&format!("{}.", std::process::id()))
        .tempdir_in(stage)
        .map_err(failed)?;
    let copy = directory.path().join(path.file_name().unwrap_or_default());
    file::replace(&copy, content, 0o600).map_err(failed)?;
    let place = copy.to_string_lossy();
    let words: Vec<String> = program.iter().map(|word| word.replace("{file}", &place)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let asked = command::ask_within(checks.limit, program, args).await;
    asked.map_err(|source| Error::Refused { path: path.to_owned(), source })
}

/// Takes away what a kill has left of earlier checks.
pub fn clear(checks: &Checks) {
    // What stays disturbs nobody: each check has a directory of its own.
    fs::remove_dir_all(&checks.stage).unwrap_or_default();
}

/// Takes away the copies of processes that are gone; others may be at work.
pub fn clear_left(checks: &Checks) {
    let Ok(entries) = fs::read_dir(&checks.stage) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(is_gone) {
            fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
}

/// Refuses a target that cannot be written because its directory is not there.
///
/// # Errors
///
/// There is no such directory.
pub fn has_place(path: &Path) -> Result<(), Error> {
    let missing = |path: &Path| {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no such directory");
        Error::File { path: path.to_owned(), source }
    };
    match path.parent() {
        Some(directory) if directory.is_dir() => Ok(()),
        Some(directory) => Err(missing(directory)),
        None => Err(missing(path)),
    }
}

/// Why a changed target stays.
const STAYS: &str = "somebody changed it since it was written, and its template says that it stays then (--force to put it aside)";

/// Why a target stays that was never written.
const FOREIGN: &str = "it was not made by Wharf, and its template says that what somebody else made stays (--force to put it aside)";

/// Writes `new`, unless it is there already.
///
/// # Errors
///
/// It cannot be written, its reader refuses it, or somebody changed it and it is to stay. The target is
/// then what it was.
pub async fn write(new: &NewTarget, memory: &Memory, checks: &Checks) -> Result<Written, Error> {
    let path = &new.path;
    let failed = |source| Error::File { path: path.clone(), source };
    let directory = path.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    has_place(path)?;
    let old = content(path)?;
    let found = fs::symlink_metadata(path).ok();
    let mut written = Written::default();
    let hash = hex(&Sha256::digest(&new.content));
    if let (Some(old), Some(found)) = (&old, &found)
        && *old == new.content
    {
        if !found.is_symlink() {
            let access = settled(new.access, Some(found));
            adapt(path, found, access).map_err(failed)?;
        }
        memory.remember_written(path, &hash)?;
        sweep(path);
        return Ok(written);
    }
    if let Some(program) = &new.check {
        check(program, path, &new.content, checks).await?;
    }
    // Again: a check takes its time, and somebody may have written meanwhile.
    let old = content(path)?;
    let is_link = found.as_ref().is_some_and(Metadata::is_symlink);
    // Through a link: who could read what it leads to, and nobody else, may read what takes its place.
    let found = fs::metadata(path).ok().or(found.filter(|_| !is_link));
    let known = memory.written(path);
    let replaced = old.as_deref().map(|old| give_way(new, old, memory)).transpose()?;
    let (aside, before) = replaced.unwrap_or_default();
    let access = settled(new.access, found.as_ref().filter(|found| found.is_file()));
    let swapped = memory
        .remember_writing(path, &hash, before.as_deref())
        .and_then(|()| replace(directory, path, &new.content, access).map_err(failed));
    if let Err(error) = swapped {
        // A swap can fail after it was made; then the copy is the only one.
        if content(path).is_ok_and(|found| found == old) {
            memory.put_back_written(path, &known).unwrap_or_default();
            withdraw(aside);
        }
        return Err(error);
    }
    written.aside = aside.map(|aside| aside.path);
    // The target is what it should be. Where this fails, what was there before counts as ours a little longer.
    memory.remember_written(path, &hash).unwrap_or_default();
    written.changed = true;
    if found.is_some() {
        sweep(path);
    }
    Ok(written)
}

/// What is done with the `old` content: where it is kept when somebody else made it, else its hash.
fn give_way(
    new: &NewTarget,
    old: &[u8],
    memory: &Memory,
) -> Result<(Option<Aside>, Option<String>), Error> {
    let path = &new.path;
    let failed = |source| Error::File { path: path.clone(), source };
    let hash = hex(&Sha256::digest(old));
    if !is_edited(&memory.written(path), &hash, new.unknown_is_edited) {
        return Ok((None, Some(hash)));
    }
    match new.edited {
        Edited::Refused => Err(failed(io::Error::other(STAYS))),
        Edited::KeptAside => Ok((Some(put_aside(path, old, memory).map_err(failed)?), None)),
        Edited::Overwritten => Ok((None, None)),
    }
}

/// Takes away the copy of a target that stays what it was.
fn withdraw(aside: Option<Aside>) {
    if let Some(Aside { path: copy, is_new: true }) = aside {
        fs::remove_file(copy).unwrap_or_default();
    }
}

/// Whether a target whose content has this `hash` is not what we wrote.
fn is_edited(known: &[String], hash: &str, unknown_is_edited: bool) -> bool {
    if known.is_empty() { unknown_is_edited } else { known.iter().all(|known| known != hash) }
}

/// Takes the target away; whether it was there, and where the changes of somebody else were put.
///
/// One that we do not know of having written counts as changed when `unknown_is_edited`.
///
/// # Errors
///
/// It is a directory, cannot be removed, or somebody changed it and it is to stay.
pub fn delete(
    path: &Path,
    edited: Edited,
    unknown_is_edited: bool,
    memory: &Memory,
) -> Result<(bool, Option<PathBuf>), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut aside = None;
    let old = content(path)?;
    if let Some(old) = &old
        && is_edited(&memory.written(path), &hex(&Sha256::digest(old)), unknown_is_edited)
    {
        match edited {
            Edited::Refused => {
                let why = if memory.written(path).is_empty() { FOREIGN } else { STAYS };
                return Err(failed(io::Error::other(why)));
            }
            Edited::KeptAside => aside = Some(put_aside(path, old, memory).map_err(failed)?),
            Edited::Overwritten => {}
        }
    }
    let removed = match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => {
            withdraw(aside);
            return Err(failed(source));
        }
    };
    sweep(path);
    memory.forget_written(path)?;
    Ok((removed, aside.map(|aside| aside.path)))
}

/// All of `access` given: what nothing was said about is what `found` has.
fn settled(access: Access, found: Option<&Metadata>) -> Access {
    let own = geteuid();
    // Only root can give a file away.
    let other = |id: u32| if own.is_root() { Some(id) } else { None };
    Access {
        uid: access.uid.or_else(|| other(found.map_or(0, MetadataExt::uid))),
        gid: access.gid.or_else(|| other(found.map_or(0, MetadataExt::gid))),
        mode: Some(access.mode.unwrap_or(found.map_or(0o644, |found| found.mode() & 0o7777))),
    }
}

/// Gives a target that keeps its content the owner and mode it should have.
fn adapt(path: &Path, found: &Metadata, access: Access) -> io::Result<()> {
    let is_other = |wanted: Option<u32>, has: u32| wanted.is_some_and(|wanted| wanted != has);
    if is_other(access.uid, found.uid()) || is_other(access.gid, found.gid()) {
        lchown(path, access.uid, access.gid)?;
    }
    match access.mode {
        Some(mode) if mode != found.mode() & 0o7777 => {
            fs::set_permissions(path, Permissions::from_mode(mode))
        }
        Some(_) | None => Ok(()),
    }
}

/// Puts `content` under the name `path` in one move.
fn replace(directory: &Path, path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let passing = passing(path);
    match fs::remove_file(&passing) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let (mut file, has_name) = match open(directory, flags, Mode::from_bits_truncate(0o600)) {
        Ok(file) => (File::from(file), false),
        // Not every file system has files without a name (NFS, overlays of old kernels).
        Err(_) => {
            (fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&passing)?, true)
        }
    };
    let filled = (|| {
        file.write_all(content)?;
        // Owner first: a change of owner takes the bits for another identity away.
        if access.uid.is_some() || access.gid.is_some() {
            fchown(&file, access.uid, access.gid)?;
        }
        if let Some(mode) = access.mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.sync_all()?;
        if !has_name {
            let unnamed = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            linkat(AT_FDCWD, &unnamed, AT_FDCWD, &passing, AtFlags::AT_SYMLINK_FOLLOW)?;
        }
        fs::rename(&passing, path)
    })();
    if let Err(error) = filled {
        fs::remove_file(&passing).unwrap_or_default();
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// The name that the new content has for a moment.
fn passing(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".wharf-new");
    path.with_file_name(name)
}

/// Directories in which a file of any name is read, or one that ends in `.wharf-save`: cron's (cronie reads all
/// but a few endings), logrotate's (`tabooext` does not know ours), dnsmasq's (`conf-dir` reads all), `NetworkManager`'s,
/// the interfaces of `ifcfg-*`, ifupdown's `source interfaces.d/*`, monit's `include conf.d/*`, nginx's and `FreeRADIUS`'s
/// `sites-enabled/*`, the completions of bash (all but a few endings), trust anchors. Others read names with an end of their own
/// (`*.conf`), or none with a dot in it (sudo, `run-parts` of Debian); sudoers.d is here because a later sudo need not.
const READ_WHOLE: [&str; 24] = [
    "bash_completion.d",
    "ca-trust/source/anchors",
    "conf-enabled",
    "cron.d",
    "cron.daily",
    "cron.hourly",
    "cron.monthly",
    "cron.weekly",
    "dispatcher.d",
    "dnsmasq.d",
    "incron.d",
    "init.d",
    "interfaces.d",
    "local/share/ca-certificates",
    "logrotate.d",
    "mods-enabled",
    "monit.d",
    "monit/conf.d",
    "network-scripts",
    "sites-enabled",
    "sudoers.d",
    "sysconfig/network",
    "system-connections",
    "xinetd.d",
];

/// Where what somebody made of `path` is kept: beside it, unless it would be read there.
fn kept_as(path: &Path, memory: &Memory) -> PathBuf {
    let directory = path.parent();
    let is_read = directory.is_some_and(|it| READ_WHOLE.iter().any(|end| it.ends_with(end)));
    // Each file is a variable of a service of runit: etc/sv/NAME/env.
    let service = directory.filter(|it| it.ends_with("env")).and_then(Path::parent);
    let is_variable = service.and_then(Path::parent).is_some_and(|it| it.ends_with("sv"));
    if is_read || is_variable { memory.saved(path) } else { path.to_owned() }
}

/// A copy of what somebody made of a target.
struct Aside {
    path: PathBuf,
    /// Whether it was not there before.
    is_new: bool,
}

/// Keeps `old` beside `path`, under a name where nothing else was kept; gives that. Where a consumer reads every
/// name, it is kept below Wharf's own directory.
///
/// For root alone: an owner could have given his file bits that a copy of root's must not have.
fn put_aside(path: &Path, old: &[u8], memory: &Memory) -> io::Result<Aside> {
    let place = kept_as(path, memory);
    if let Some(directory) = place.parent() {
        if place != path {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        file::clear_left(directory);
    }
    for number in 0_u32.. {
        let mut name = place.as_os_str().to_owned();
        name.push(".wharf-save");
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let aside = PathBuf::from(name);
        match fs::read(&aside) {
            Ok(kept) if kept == old => return Ok(Aside { path: aside, is_new: false }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file::replace(&aside, old, 0o600)?;
                return Ok(Aside { path: aside, is_new: true });
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Takes away what RPM left beside a target that is made from a template, as e-smith does: it has nothing
/// to say. So what a kill of ours left.
fn sweep(path: &Path) {
    fs::remove_file(passing(path)).unwrap_or_default();
    for end in [".rpmsave", ".rpmnew"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        fs::remove_file(name).unwrap_or_default();
    }
}
