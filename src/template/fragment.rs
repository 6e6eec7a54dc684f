// SPDX-License-Identifier: GPL-2.0-or-later

//! Which fragments make a target, and in which order: e-smith's rules (`esmith.md` §4).
//!
//! From the least to the most important root: a plain file replaces all that was collected; a
//! directory is merged by name. Files that editors and RPM leave behind are passed over. Order:
//! `template-begin`, the rest by name in byte order, `template-end`. An empty fragment is a fragment
//! without output, which is how an admin removes a packaged one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// Ends of names that are no fragments.
const PASSED_OVER: [&str; 6] = ["~", ".swp", ".orig", ".rpmsave", ".rpmnew", ".rpmorig"];

/// Fragments could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A root or fragment cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is none.
    #[error("no fragment in any of the template roots")]
    Empty,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where it comes from, for messages.
    pub origin: String,
    /// Its text.
    pub text: String,
}

/// Where templates are looked for, least important first; what is built in comes before all.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<PathBuf>);

impl Roots {
    /// Beside what is built in, these directories, least important first.
    pub const fn new(directories: Vec<PathBuf>) -> Self {
        Self(directories)
    }

    /// The fragments of `template`, in their order.
    ///
    /// # Errors
    ///
    /// There is none, or one cannot be read.
    pub fn collect(&self, template: &str) -> Result<Vec<Fragment>, Error> {
        let mut found = embedded(template);
        for root in &self.0 {
            merge(&mut found, &root.join(template))?;
        }
        if found.is_empty() {
            return Err(Error::Empty);
        }
        let mut named: Vec<_> = found.into_iter().collect();
        named.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)));
        Ok(named.into_iter().map(|(_, fragment)| fragment).collect())
    }
}

/// Place in the order: `template-begin`, then by bytes, `template-end` last.
fn rank(name: &str) -> (u8, &[u8]) {
    match name {
        "template-begin" => (0, b""),
        "template-end" => (2, b""),
        other => (1, other.as_bytes()),
    }
}

/// The name under which a template that is one file is kept: no file can have it.
const WHOLE: &str = "";

fn embedded(template: &str) -> BTreeMap<String, Fragment> {
    let fragment = |file: &include_dir::File<'_>| Fragment {
        origin: format!("(built in) {}", file.path().display()),
        text: file.contents_utf8().unwrap_or_default().to_owned(),
    };
    if let Some(file) = EMBEDDED.get_file(template) {
        return BTreeMap::from([(WHOLE.to_owned(), fragment(file))]);
    }
    let files = EMBEDDED.get_dir(template).into_iter().flat_map(Dir::files);
    files
        .filter_map(|file| {
            let name = file.path().file_name()?.to_str()?.to_owned();
            counts(&name).then(|| (name, fragment(file)))
        })
        .collect()
}

fn counts(name: &str) -> bool {
    !PASSED_OVER.iter().any(|end| name.ends_with(end))
}

/// Lays what is at `path` over `found`.
fn merge(found: &mut BTreeMap<String, Fragment>, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if metadata.is_file() {
        found.clear();
        found.insert(WHOLE.to_owned(), read(path)?);
        return Ok(());
    }
    found.remove(WHOLE);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Through links, as e-smith does; a dangling one is no fragment.
        let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        if is_file && counts(&name) {
            found.insert(name, read(&entry.path())?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Fragment, Error> {
    let text =
        fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(Fragment { origin: path.display().to_string(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join("etc/t").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(path, text).unwrap();
    }

    fn texts(roots: &[&Path]) -> Vec<String> {
        let roots = Roots::new(roots.iter().map(|root| root.to_path_buf()).collect());
        roots.collect("etc/t").unwrap().into_iter().map(|fragment| fragment.text).collect()
    }

    #[test]
    fn names_are_ordered_by_bytes_between_begin_and_end() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "template-end", "9", "10a", "template-begin", "100", "05", "A", "_", "1"]
        {
            write(root.path(), name, name);
        }
        assert_eq!(
            texts(&[root.path()]),
            ["template-begin", "05", "1", "100", "10a", "9", "A", "_", "a", "template-end"]
        );
    }

    #[test]
    fn a_custom_fragment_replaces_the_one_of_its_name_and_an_empty_one_removes_it() {
        let (packaged, custom) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(packaged.path(), "10", "packaged 10");
        write(packaged.path(), "20", "packaged 20");
        write(custom.path(), "10", "custom 10");
        write(custom.path(), "20", "");
        write(custom.path(), "20.rpmsave", "left behind");
        assert_eq!(texts(&[packaged.path(), custom.path()]), ["custom 10", ""]);
    }

    #[test]
    fn a_plain_file_replaces_a_directory() {
        let (packaged, custom) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(packaged.path(), "10", "packaged");
        fs::create_dir_all(custom.path().join("etc")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(custom.path().join("etc/t"), "whole").unwrap();
        assert_eq!(texts(&[packaged.path(), custom.path()]), ["whole"]);
    }
}
