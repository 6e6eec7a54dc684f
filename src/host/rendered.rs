// SPDX-License-Identifier: GPL-2.0-or-later

//! What templates came to, so that a pass in which nothing has changed renders nothing.
//!
//! Rendering is a pure function of fragments, view and program, so its result holds as long as these are
//! the same. A file for each target: a line with the hash of all three and that of the content, then the
//! content. What is lost or torn is rendered again, so nothing waits for the disk here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::host::file;
use crate::state::container::hex;

/// The directory with the results.
#[derive(Debug)]
pub struct Rendered {
    directory: PathBuf,
    /// Which program this is; `None` when the kernel does not say, and then nothing is remembered.
    program: Option<String>,
}

impl Rendered {
    /// Below `directory`, which is made when it is needed.
    pub fn new(directory: PathBuf) -> Self {
        let program = fs::metadata("/proc/self/exe").ok().map(|file| {
            let time = (file.mtime(), file.mtime_nsec());
            let version = env!("CARGO_PKG_VERSION");
            format!("{version} {} {} {} {time:?}", file.dev(), file.ino(), file.size())
        });
        Self { directory, program }
    }

    /// What `target` came to from the material with hash `source`.
    pub fn content(&self, target: &Path, source: &str) -> Option<Vec<u8>> {
        let mut kept = fs::read(self.file(target)).ok()?;
        let end = kept.iter().position(|byte| *byte == b'\n')?;
        let content = kept.split_off(end + 1);
        kept.truncate(end);
        (kept == self.head(source, &content)?.as_bytes()).then_some(content)
    }

    /// Remembers it. A disk that is full or read-only costs the time of the next rendering.
    pub fn keep(&self, target: &Path, source: &str, content: &[u8]) {
        let Some(head) = self.head(source, content) else { return };
        let path = self.file(target);
        let kept = [head.as_bytes(), b"\n", content].concat();
        if let Err(error) = file::jot(&path, &kept) {
            tracing::debug!(%error, path = %path.display(), "what was rendered is not remembered");
        }
    }

    fn file(&self, target: &Path) -> PathBuf {
        self.directory.join(hex(&Sha256::digest(target.as_os_str().as_encoded_bytes())))
    }

    fn head(&self, source: &str, content: &[u8]) -> Option<String> {
        let made_by = Sha256::digest(format!("{source} {}", self.program.as_ref()?));
        Some(format!("{} {}", hex(&made_by), hex(&Sha256::digest(content))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_from_the_same_material_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let rendered = Rendered::new(dir.path().join("rendered"));
        let (one, two) = (Path::new("/etc/one"), Path::new("/etc/two"));
        assert_eq!(rendered.content(one, "a"), None);
        rendered.keep(one, "a", b"first\nline\n");
        rendered.keep(two, "a", b"");
        assert_eq!(rendered.content(one, "a").unwrap(), b"first\nline\n");
        assert_eq!(rendered.content(two, "a").unwrap(), b"");
        assert_eq!(rendered.content(one, "b"), None);
        rendered.keep(one, "b", b"second");
        assert_eq!(rendered.content(one, "a"), None);
        assert_eq!(rendered.content(one, "b").unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path().join("rendered")).unwrap().count(), 2);
    }

    #[test]
    fn another_program_and_a_torn_file_give_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let rendered = Rendered::new(dir.path().to_owned());
        let target = Path::new("/etc/one");
        rendered.keep(target, "a", b"content");
        let other = Rendered { program: Some("another".to_owned()), directory: dir.path().into() };
        assert_eq!(other.content(target, "a"), None);
        let unknown = Rendered { program: None, directory: dir.path().into() };
        assert_eq!(unknown.content(target, "a"), None);

        let path = rendered.file(target);
        let kept = fs::read(&path).unwrap();
        for length in 0..kept.len() {
            file::replace(&path, &kept[..length], 0o600).unwrap();
            assert_eq!(rendered.content(target, "a"), None, "{length} bytes of it");
        }
        file::replace(&path, &kept, 0o600).unwrap();
        assert_eq!(rendered.content(target, "a").unwrap(), b"content");
    }
}
