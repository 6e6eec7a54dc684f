// SPDX-License-Identifier: GPL-2.0-or-later

//! Which fragments make a target, and in which order: e-smith's rules (`esmith.md` §4).
//!
//! From the least to the most important place: a plain file replaces all that was collected; a
//! directory is merged by name, and takes the place of a plain file, also when it is empty. Files that
//! editors and RPM leave behind are passed over. Order: `template-begin`, the rest by name in byte
//! order, `template-end`. An empty fragment is a fragment without output, which is how an admin
//! removes a packaged one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use include_dir::{Dir, include_dir};

use crate::settings::{Profile, Root};

pub(super) static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// Ends of names that are no fragments: what editors, RPM and a kill of Wharf leave behind.
const PASSED_OVER: [&str; 7] =
    ["~", ".swp", ".orig", ".rpmsave", ".rpmnew", ".rpmorig", ".wharf-new"];

/// What begins the end of the name of a copy that Wharf keeps: `.wharf-save`, `.wharf-save.1`.
const KEPT_ASIDE: &[u8] = b".wharf-save";

/// What begins the name of a file that Wharf has not finished.
const UNFINISHED: &[u8] = b".wharf-";

/// Fragments could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A place or fragment cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is none.
    #[error("no template for {target}; looked in {looked}")]
    Empty {
        /// What was looked for.
        target: String,
        /// Where.
        looked: String,
    },
}

/// In which language a fragment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Tera; a brace by itself is a brace.
    Tera,
    /// Tera in a directory of e-smith's, where a brace by itself begins Perl, and `\{` is a brace.
    Esmith,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where it comes from, for messages.
    pub origin: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// How they are read.
    pub dialect: Dialect,
    /// Whether it is a part of the program, and was tried with it.
    pub is_built_in: bool,
}

/// The fragments of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// In their order.
    pub fragments: Vec<Fragment>,
    /// What the admin is told: files that were passed over.
    pub notes: Vec<String>,
}

/// A directory with templates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    dialect: Dialect,
}

/// Where templates are looked for, least important first; what is built in comes before all.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    places: Vec<Place>,
    /// What comes first where no fragment is named `template-begin` (e-smith's places only).
    begin: Option<PathBuf>,
}

impl Roots {
    /// The places of this `profile`: `/usr/share/wharf/templates`, then e-smith's own two, or else
    /// `/etc/wharf/templates-custom`.
    pub fn of(profile: Profile, root: &Root) -> Self {
        let tera = |path| Place { directory: root.at(path), dialect: Dialect::Tera };
        let esmith = |path| Place { directory: root.at(path), dialect: Dialect::Esmith };
        let packaged = tera("/usr/share/wharf/templates");
        match profile {
            Profile::Sme => Self {
                places: vec![
                    packaged,
                    esmith("/etc/e-smith/templates"),
                    esmith("/etc/e-smith/templates-custom"),
                ],
                begin: Some(root.at("/etc/e-smith/templates-default/template-begin")),
            },
            Profile::OpenSuse | Profile::Debian | Profile::Generic => {
                Self { places: vec![packaged, tera("/etc/wharf/templates-custom")], begin: None }
            }
        }
    }

    /// Beside what is built in, these directories of Tera templates, least important first.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        let place = |directory| Place { directory, dialect: Dialect::Tera };
        Self { places: directories.into_iter().map(place).collect(), begin: None }
    }

    /// The same with one more place, more important than all others.
    #[must_use]
    pub fn and(mut self, directory: PathBuf) -> Self {
        let dialect = self.places.last().map_or(Dialect::Tera, |place| place.dialect);
        self.places.push(Place { directory, dialect });
        self
    }

    /// The same with these `directories` in the place of its own, most important first, as e-smith's
    /// queue names them.
    #[must_use]
    pub fn queue(&self, directories: &[PathBuf]) -> Self {
        let dialect = self.places.last().map_or(Dialect::Tera, |place| place.dialect);
        let place = |directory: &PathBuf| Place { directory: directory.clone(), dialect };
        Self { places: directories.iter().rev().map(place).collect(), begin: self.begin.clone() }
    }

    /// The fragments of `template`, a path from the root on, in their order.
    ///
    /// # Errors
    ///
    /// There is none, or one cannot be read.
    pub fn collect(&self, template: &str) -> Result<Collected, Error> {
        let template = template.trim_start_matches('/');
        let mut found = Found { files: embedded(template), ..Found::default() };
        for place in &self.places {
            found.merge(place, template)?;
        }
        if found.files.is_empty() && !found.has_directory {
            return Err(self.empty(template));
        }
        let is_begun = found.files.contains_key(OsStr::new(BEGIN));
        if found.has_directory
            && !is_begun
            && let Some(begin) = self.begin.as_deref().filter(|begin| begin.is_file())
        {
            found.files.insert(BEGIN.into(), read(begin, Dialect::Esmith)?);
        }
        if found.files.is_empty() {
            return Err(self.empty(template));
        }
        let mut named: Vec<_> = found.files.into_iter().collect();
        named.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)));
        let fragments = named.into_iter().map(|(_, fragment)| fragment).collect();
        Ok(Collected { fragments, notes: found.notes })
    }

    fn empty(&self, template: &str) -> Error {
        let looked: Vec<_> =
            self.places.iter().map(|place| place.directory.display().to_string()).collect();
        Error::Empty { target: format!("/{template}"), looked: looked.join(", ") }
    }
}

/// The fragment that comes first.
const BEGIN: &str = "template-begin";

/// Place in the order: `template-begin`, then by bytes, `template-end` last.
fn rank(name: &OsStr) -> (u8, &[u8]) {
    match name.as_bytes() {
        b"template-begin" => (0, b""),
        b"template-end" => (2, b""),
        other => (1, other),
    }
}

/// The name under which a template that is one file is kept: no file can have it.
const WHOLE: &str = "";

#[derive(Default)]
struct Found {
    files: BTreeMap<OsString, Fragment>,
    notes: Vec<String>,
    /// Whether some place of e-smith's has a directory.
    has_directory: bool,
}

fn embedded(template: &str) -> BTreeMap<OsString, Fragment> {
    let fragment = |file: &include_dir::File<'_>| Fragment {
        origin: format!("(built in) {}", file.path().display()),
        content: file.contents().to_vec(),
        dialect: Dialect::Tera,
        is_built_in: true,
    };
    if let Some(file) = EMBEDDED.get_file(template) {
        return BTreeMap::from([(WHOLE.into(), fragment(file))]);
    }
    let files = EMBEDDED.get_dir(template).into_iter().flat_map(Dir::files);
    files
        .filter_map(|file| {
            let name = file.path().file_name()?;
            counts(name).then(|| (name.to_owned(), fragment(file)))
        })
        .collect()
}

fn counts(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !is_kept_aside(name)
        && !name.starts_with(UNFINISHED)
        && !PASSED_OVER.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// Whether `name` is that of a copy that Wharf keeps of what somebody had changed.
pub fn is_kept_aside(name: &[u8]) -> bool {
    let numbered = name.trim_end_with(|c| c.is_ascii_digit());
    let unnumbered = numbered.strip_suffix(b".").filter(|_| numbered != name).unwrap_or(name);
    unnumbered.ends_with(KEPT_ASIDE)
}

impl Found {
    /// Lays what `place` has of `template` over it.
    fn merge(&mut self, place: &Place, template: &str) -> Result<(), Error> {
        let path = place.directory.join(template);
        let failed = |source| Error::Read { path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        if metadata.is_file() {
            self.files = BTreeMap::from([(WHOLE.into(), read(&path, place.dialect)?)]);
            return Ok(());
        }
        if !metadata.is_dir() {
            return Ok(());
        }
        self.files.remove(OsStr::new(WHOLE));
        self.has_directory |= place.dialect == Dialect::Esmith;
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, path) = (entry.file_name(), entry.path());
            // Through links, as e-smith does; a dangling one is no fragment.
            if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                continue;
            }
            if counts(&name) {
                self.files.insert(name, read(&path, place.dialect)?);
            } else {
                self.notes.push(format!("{} is passed over", path.display()));
            }
        }
        Ok(())
    }
}

fn read(path: &Path, dialect: Dialect) -> Result<Fragment, Error> {
    let content = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let origin = path.display().to_string();
    Ok(Fragment { origin, content, dialect, is_built_in: false })
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
        let found = roots.collect("etc/t").unwrap().fragments;
        found.into_iter().map(|fragment| String::from_utf8(fragment.content).unwrap()).collect()
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
    fn what_wharf_leaves_beside_a_target_is_no_fragment() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "10",
            "10.wharf-save",
            "10.wharf-save.1",
            "10.wharf-save.20",
            ".10.wharf-new",
            ".wharf-aB3xYz",
        ] {
            write(root.path(), name, name);
        }
        // Nothing of ours.
        for name in ["20.wharf-saved", "20.wharf-save.d", "20.wharf-save1", "30.5"] {
            write(root.path(), name, name);
        }
        assert_eq!(
            texts(&[root.path()]),
            ["10", "20.wharf-save.d", "20.wharf-save1", "20.wharf-saved", "30.5"]
        );
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

    #[test]
    fn an_empty_directory_takes_the_place_of_a_plain_file() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let file = root.path().join("etc/e-smith").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            fs::write(file, text).unwrap();
        };
        put("templates/etc/t", "whole");
        fs::create_dir_all(root.path().join("etc/e-smith/templates-custom/etc/t")).unwrap();
        let roots = Roots::of(Profile::Sme, &Root::new(root.path()));
        assert!(matches!(roots.collect("etc/t"), Err(Error::Empty { .. })));
        put("templates-default/template-begin", "# begin\n");
        let found = roots.collect("etc/t").unwrap().fragments;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].content, b"# begin\n");
    }
}
