// SPDX-License-Identifier: GPL-2.0-or-later

//! Files are replaced in one move, never rewritten, and only when their content differs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::host::memory::Memory;
use crate::host::process::is_gone;
use crate::host::{Error, command, failpoint, outside};
use crate::state::container::hex;
use crate::state::{ObservedFile, RenderedFile};

/// Replaces `target` by `content` in one move, with permission bits `mode`.
///
/// A reader sees the old file or the new one, also after a power cut: the content is on disk before
/// the name changes, and the directory is flushed after it. Missing directories are made.
///
/// # Errors
///
/// A directory cannot be made or is not writable, or the disk is full. `target` is then what it was.
pub fn replace(target: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (directory, file) = stage(target, content, mode)?;
    failpoint::here();
    file.persist(target)?;
    failpoint::here();
    File::open(directory)?.sync_all()
}

/// Writes `content` where `target` is, readable for us alone, for readers to whom a file that is lost or torn is as
/// good as none: a kill leaves nothing beside it, and no disk is waited for. Missing directories are made.
///
/// # Errors
///
/// A directory cannot be made or is not writable, or the disk is full.
pub fn jot(target: &Path, content: &[u8]) -> io::Result<()> {
    target.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(target)?.write_all(content)
}

/// `content` in a file beside `target`, on disk.
fn stage<'a>(
    target: &'a Path,
    content: &[u8],
    mode: u32,
) -> io::Result<(&'a Path, tempfile::NamedTempFile)> {
    let directory = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    // A kill while nothing of the journal's was under way is told by nothing else.
    clear_left(directory);
    let mut file = tempfile::Builder::new().prefix(&unfinished()).tempfile_in(directory)?;
    file.write_all(content)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok((directory, file))
}

/// What begins the names of files that nobody should see before they are whole.
const UNFINISHED: &str = ".wharf-";

/// What begins the name of such a file of this process.
pub fn unfinished() -> String {
    format!("{UNFINISHED}{}.", std::process::id())
}

/// Takes away the files in `directory` that processes which are gone have not finished.
pub fn clear_left(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let whose = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
        if whose.is_some_and(is_gone) {
            // It is in nobody's way; the next one tries again.
            fs::remove_file(entry.path()).unwrap_or_default();
        }
    }
}

/// What is at each of `targets`.
///
/// # Errors
///
/// One is there and cannot be read.
pub fn observe(
    targets: &BTreeSet<PathBuf>,
    memory: &Memory,
) -> Result<BTreeMap<PathBuf, ObservedFile>, Error> {
    let mut found = BTreeMap::new();
    for target in targets {
        match fs::read(target) {
            Ok(content) => {
                let hash = hex(&Sha256::digest(&content));
                let written = memory.written(target);
                let known = written.iter().find(|known| **known == hash).or(written.first());
                let known = known.cloned();
                found.insert(target.clone(), ObservedFile { hash, written: known });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { path: target.clone(), source }),
        }
    }
    Ok(found)
}

/// Writes a rendered file after its reader has accepted it, and remembers that it was us.
///
/// # Errors
///
/// It cannot be written, or its reader refuses it; what was there stays.
pub async fn write(file: &RenderedFile, keep_old: bool, memory: &Memory) -> Result<(), Error> {
    let target = &file.target;
    let failed = |source| Error::File { path: target.clone(), source };
    let (directory, staged) = stage(target, &file.content, file.mode).map_err(failed)?;
    if let Some(check) = &file.check {
        accept(check, staged.path(), target).await?;
    }
    if keep_old {
        let mut aside = OsString::from(target.as_os_str());
        aside.push(".wharf-save");
        let old = fs::read(target).map_err(failed)?;
        let mode = fs::metadata(target).map_err(failed)?.permissions().mode();
        replace(Path::new(&aside), &old, mode & 0o7777).map_err(failed)?;
        tracing::warn!(
            target = %target.display(),
            kept = %Path::new(&aside).display(),
            "file was changed by somebody else; what it held is kept aside"
        );
    }
    let hash = file.hash();
    let before = fs::read(target).ok().map(|old| hex(&Sha256::digest(&old)));
    let before = before.filter(|before| memory.written(target).contains(before));
    memory.remember_writing(target, &hash, before.as_deref())?;
    staged.persist(target).map_err(|error| failed(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    memory.remember_written(target, &hash)
}

/// Asks the program that will read the file; a program that is not there has no say.
async fn accept(check: &[String], staged: &Path, target: &Path) -> Result<(), Error> {
    let Some((program, args)) = check.split_first() else { return Ok(()) };
    let path = staged.to_string_lossy();
    let args: Vec<String> = args.iter().map(|arg| arg.replace("{file}", &path)).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // The packet filter's own programs need what we have ourselves.
    let ran = if matches!(program.as_str(), "nft" | "iptables-restore" | "ip6tables-restore") {
        command::run(program, &args, b"").await
    } else {
        outside::run(program, &args).await
    };
    match ran {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing() => Ok(()),
        Err(source) => Err(Error::Refused { path: target.to_owned(), source }),
    }
}

/// Removes a file; one that is gone is no error.
///
/// # Errors
///
/// It cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes directories for the data of a container; those that are there stay as they are.
///
/// # Errors
///
/// One cannot be made.
pub async fn make_directories(directories: &BTreeSet<PathBuf>) -> Result<(), Error> {
    for path in directories {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        let Err(source) = made else { continue };
        // The root of the data may be anywhere, and a confined service may write in some places only.
        if !outside::is_confined() {
            return Err(Error::File { path: path.clone(), source });
        }
        let place = path.to_string_lossy();
        outside::run("install", &["-d", "-m", "0755", "--", &place]).await.map_err(|source| {
            Error::Command { doing: format!("making the directory {}", path.display()), source }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a/b/file");
        replace(&target, b"one", 0o600).unwrap();
        replace(&target, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_was_writing_goes_with_the_next_file_and_what_a_living_one_writes_stays()
     {
        let directory = tempfile::tempdir().unwrap();
        // No process has so high a number.
        let left = directory.path().join(".wharf-99999999.abc");
        let own = directory.path().join(unfinished() + "abc");
        for path in [&left, &own] {
            File::create(path).unwrap();
        }
        replace(&directory.path().join("file"), b"one", 0o600).unwrap();
        assert_eq!((left.exists(), own.exists()), (false, true));
    }

    #[tokio::test]
    async fn a_file_that_its_reader_refuses_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        replace(&target, b"old", 0o644).unwrap();
        let file = RenderedFile {
            kind: crate::state::FileKind::WebAlias,
            target: target.clone(),
            content: b"new".to_vec(),
            mode: 0o644,
            check: Some(vec!["grep".to_owned(), "old".to_owned(), "{file}".to_owned()]),
            adjust: None,
        };
        let memory = Memory::new(directory.path().join("memory"));
        let error = write(&file, false, &memory).await.unwrap_err();
        assert!(error.to_string().contains("would be refused"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[tokio::test]
    async fn what_somebody_else_wrote_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        replace(&target, b"by hand", 0o600).unwrap();
        let file = RenderedFile {
            kind: crate::state::FileKind::WebAlias,
            target: target.clone(),
            content: b"new".to_vec(),
            mode: 0o644,
            check: None,
            adjust: None,
        };
        let memory = Memory::new(directory.path().join("memory"));
        write(&file, true, &memory).await.unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let saved = directory.path().join("file.wharf-save");
        assert_eq!(fs::read(saved).unwrap(), b"by hand");
        assert_eq!(memory.written(&target), [file.hash()]);
    }
}
