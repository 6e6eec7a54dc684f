// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the file of a database is, so that no link can lead out of the store's directory.
//!
//! A name may have directories in it (`sub/t`). A check of them before they are used says nothing: a link
//! may be put there in between. So each is opened from the one before without following a link, and
//! the file is then reached through the last open one, `/proc/self/fd/N` (`proc_pid_fd(5)`), whatever
//! becomes of the names. `openat2(2)` with `RESOLVE_BENEATH` would do the same, but not on the kernels before
//! 5.6 that SME Servers have.
//!
//! Left out on purpose: an absolute name, which is whatever file its user wants, and a link in the place
//! of the file itself, which is read and replaced as the original does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc::O_NONBLOCK;
use nix::sys::stat::{Mode, mkdirat};

use super::lock::{lock, lock_directory, refuse_others};
use crate::db::Error;

/// The file of a database.
pub(super) struct Place {
    /// What people know it by.
    pub(super) shown: PathBuf,
    /// What to open.
    pub(super) real: PathBuf,
    /// Its directory, when only this keeps `real` true.
    pub(super) directory: Option<File>,
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Fail,
    Make,
}

impl Place {
    /// The file at `shown`, as long as it is below `store`.
    ///
    /// # Errors
    ///
    /// A directory on the way cannot be opened or is a link.
    pub(super) fn below(store: &Path, shown: &Path, missing: Missing) -> io::Result<Self> {
        let inside = shown.strip_prefix(store).ok().and_then(Path::parent);
        let Some(inside) = inside.filter(|inside| *inside != Path::new("")) else {
            return Ok(Self { real: shown.to_owned(), shown: shown.to_owned(), directory: None });
        };
        let directory = walk(store, inside, missing)?;
        let name = shown.file_name().unwrap_or_default();
        let real = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { real, shown: shown.to_owned(), directory: Some(directory) })
    }

    /// Its bytes; `None` when it does not exist.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no regular file.
    pub(super) fn content(&self) -> Result<Option<Vec<u8>>, Error> {
        let failed = |source| Error::Read { path: self.shown.clone(), source };
        let mut options = OpenOptions::new();
        let read = |mut file: File| {
            refuse_others(&file)?;
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            Ok(content)
        };
        // A FIFO is not waited for.
        match options.read(true).custom_flags(O_NONBLOCK).open(&self.real).and_then(read) {
            Ok(content) => Ok(Some(content)),
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(source)),
            Err(_) if !self.real.is_symlink() => Ok(None),
            Err(_) => Err(failed(io::Error::other("it is a link to a file that is not there"))),
        }
    }

    /// Keeps our other writers out of its directory until the file is dropped.
    pub(super) fn lock_directory(&self, limit: Instant) -> Result<File, Error> {
        let directory = match &self.directory {
            Some(directory) => directory
                .try_clone()
                .map_err(|source| Error::Write { path: self.shown.clone(), source })?,
            None => return lock_directory(&self.shown, limit),
        };
        lock(&directory, &self.shown, limit)?;
        Ok(directory)
    }
}

/// Opens the directory `inside` of `store`.
fn walk(store: &Path, inside: &Path, missing: Missing) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = File::open(store)?;
    for part in inside.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::other("its name leads out of the directory of the store"));
        };
        if missing == Missing::Make {
            match mkdirat(&directory, name, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        directory = match openat(&directory, name, flags, Mode::empty()) {
            Ok(opened) => File::from(opened),
            // open(2): what O_DIRECTORY and O_NOFOLLOW together say of a link depends on the kernel.
            Err(error @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                let name = name.display();
                let text =
                    format!("{name} on the way to it is no directory, or leads out: {error}");
                return Err(io::Error::other(text));
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(directory)
}
