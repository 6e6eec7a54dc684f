// SPDX-License-Identifier: GPL-2.0-or-later

//! A target that somebody asks for by its path, as `expand-template` and events do.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tera::Context;

use super::declare::{self, Declared};
use super::expand;
use super::format::Format;
use super::fragment::is_kept_aside;
use super::fragment::{self, Fragment, Roots};
use super::overlay::Overlay;
use super::view::Words;
use crate::settings::{Profile, Root};

/// Why a target cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads somewhere else.
    #[error("{path}: {why}")]
    Path {
        /// What was asked for.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Its fragments could not be read.
    #[error(transparent)]
    Fragments(#[from] fragment::Error),
    /// Its metadata or front matter are wrong.
    #[error(transparent)]
    Declared(#[from] declare::Error),
    /// Its metadata could not be read.
    #[error("cannot read {}", path.display())]
    Metadata {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A fragment is wrong.
    #[error(transparent)]
    Expand(#[from] expand::Error),
    /// The result is not what its format is.
    #[error("what the fragments make is no {format}: {why}")]
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// What the parser says.
        why: String,
    },
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The path of the template, which is that of the target unless something says otherwise.
    pub path: String,
    /// Another target (`--output_filename`).
    pub output: Option<String>,
    /// Other places of templates, most important first (`--expand_queue`).
    pub queue: Vec<PathBuf>,
}

/// All that is needed to render one target.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Where it goes.
    pub target: PathBuf,
    /// What its template says about itself.
    pub declared: Declared,
    /// What it is.
    pub format: Format,
    /// What the admin is told.
    pub notes: Vec<String>,
    fragments: Vec<Fragment>,
}

/// Bytes in the name of a target: the kernel's `NAME_MAX` less what is put around it.
const LONGEST_NAME: usize = 240;
/// `NAME_MAX`. Source: `include/uapi/linux/limits.h`.
const LONGEST_DIRECTORY: usize = 255;

/// Directories with metadata, least important first.
pub fn metadata_places(profile: Profile, root: &Root) -> Vec<PathBuf> {
    let own = match profile {
        Profile::Sme => "/etc/e-smith/templates.metadata",
        Profile::OpenSuse | Profile::Debian | Profile::Generic => "/etc/wharf/templates.metadata",
    };
    vec![root.at("/usr/share/wharf/templates.metadata"), root.at(own)]
}

impl Order {
    /// Reads everything about the target but the records.
    ///
    /// # Errors
    ///
    /// There is no template, or it is wrong.
    pub fn prepare(
        &self,
        roots: &Roots,
        metadata: &[PathBuf],
        root: &Root,
    ) -> Result<Prepared, Error> {
        let path = inside(&self.path)?;
        let mut declared = Declared::default();
        let mut notes = Vec::new();
        for place in metadata {
            notes.extend(read_metadata(&mut declared, &place.join(&path))?);
        }
        let output = declared.output_filename.as_deref().or(self.output.as_deref());
        let mut target = inside(output.unwrap_or(&self.path))?;
        if let Some(prefix) = &declared.output_prefix {
            target = inside(prefix)?.join(target);
        }
        has_room(&target)?;
        let mut fragments = Vec::new();
        if !declared.delete {
            let queue = declared.queue.as_deref().filter(|queue| !queue.is_empty());
            let queue = queue.or((!self.queue.is_empty()).then_some(&self.queue));
            let queued: Option<Vec<_>> =
                queue.map(|all| all.iter().map(|dir| root.at(dir)).collect());
            let template = match &declared.template_path {
                Some(other) => inside(other)?,
                None => path,
            };
            let template = template.to_string_lossy();
            let found = match queued {
                Some(directories) => roots.queue(&directories).collect(&template)?,
                None => roots.collect(&template)?,
            };
            notes.extend(found.notes);
            fragments = found.fragments;
            for fragment in &fragments {
                if let Ok(text) = std::str::from_utf8(&fragment.content) {
                    declared.read_front(&fragment.origin, text)?;
                }
            }
        }
        let by_content = || {
            let begin = fragments.iter().map(|it: &Fragment| it.content.as_slice());
            let first = begin.map(front_left_out).find(|content| !content.is_empty());
            first.filter(|content| is_script(content)).map(|_| Format::Shell)
        };
        let told = Format::of_path(&target);
        let by_name = || if told == Format::Plain { by_content() } else { None };
        let format = declared.format.or_else(by_name).unwrap_or(told);
        let target = root.at(&target);
        Ok(Prepared { target, declared, format, notes, fragments })
    }
}

/// A fragment as it goes into the target.
fn front_left_out(content: &[u8]) -> &[u8] {
    let text = std::str::from_utf8(content).ok();
    text.and_then(declare::parted).map_or(content, |(_, body)| body.as_bytes())
}

/// Whether a shell runs it.
fn is_script(content: &[u8]) -> bool {
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"#!")
        && [b"sh".as_slice(), b"dash", b"bash"].iter().any(|shell| {
            line.split(|byte| matches!(byte, b'/' | b' ')).any(|word| word.trim_ascii() == *shell)
        })
}

/// `path` from the root on, without a leading slash.
fn inside(path: &str) -> Result<PathBuf, Error> {
    let wrong = |why| Error::Path { path: path.to_owned(), why };
    if path.contains(char::is_control) {
        return Err(wrong("a control character is no part of a path"));
    }
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(wrong("'..' would lead out of it; name the target itself"));
            }
        }
    }
    if clean.as_os_str().is_empty() || path.ends_with('/') {
        return Err(wrong("that is no file; name the target itself"));
    }
    Ok(clean)
}

/// Refuses a name that leaves no room for what is put behind it for a moment or on a copy (`.wharf-save.1`).
fn has_room(target: &Path) -> Result<(), Error> {
    let parts = target.iter().map(std::ffi::OsStr::len);
    let is_long = target.file_name().is_some_and(|name| name.len() > LONGEST_NAME);
    if !is_long && parts.max().unwrap_or_default() <= LONGEST_DIRECTORY {
        return Ok(());
    }
    let path = target.display().to_string();
    let why = "its name is too long: choose one of at most 240 bytes (255 for a directory)";
    Err(Error::Path { path, why })
}

fn read_metadata(declared: &mut Declared, path: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Metadata { path: path.to_owned(), source };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let text =
        |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if found.is_file() {
        let text = text(path).map_err(failed)?;
        return Ok(declared.read_lines(&path.display().to_string(), &text)?);
    }
    let mut warnings = Vec::new();
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut names = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let file = entry.path();
        // The metadata of a target below this one.
        if !file.is_file() || is_kept_aside(entry.file_name().as_encoded_bytes()) {
            continue;
        }
        let text = text(&file).map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        warnings.extend(declared.read_value(&file.display().to_string(), &name, &text)?);
    }
    Ok(warnings)
}

impl Prepared {
    /// Adds the words by which the template can ask for something.
    pub fn ask(&self, words: &mut Words) {
        for fragment in &self.fragments {
            if expand::has_tags(&fragment.content)
                && let Ok(text) = std::str::from_utf8(&fragment.content)
            {
                words.read(text);
            }
        }
        let places = self.declared.needs.iter().chain(self.declared.defaults.keys());
        for place in places {
            words.read(place.split('/').next().unwrap_or_default());
            if !place.starts_with("configuration/") {
                words.read("databases");
            }
        }
    }

    /// The content; `shared` holds the variables of all templates, and is after this what it was before.
    ///
    /// # Errors
    ///
    /// A fragment is wrong, or the whole is not what its format says.
    pub fn render(&self, shared: &mut Context) -> Result<Vec<u8>, Error> {
        let Declared { more, defaults, .. } = &self.declared;
        let overlay = Overlay::lay(shared, more, defaults);
        let expanded = expand::expand(&self.fragments, shared, self.format);
        overlay.lift(shared);
        let content = expanded?;
        let content = match self.declared.filter {
            Some(filter) => content
                .split_inclusive(|b| *b == b'\n')
                .filter_map(|l| filter.apply(l))
                .flatten()
                .collect(),
            None => content,
        };
        self.parse(&content)?;
        Ok(content)
    }

    /// Reads JSON and YAML, whose parsers are in the house.
    fn parse(&self, content: &[u8]) -> Result<(), Error> {
        let malformed = |why| Error::Malformed { format: self.format.name(), why };
        match self.format {
            Format::Json => serde_json::from_slice::<Value>(content)
                .map(drop)
                .map_err(|error| malformed(error.to_string())),
            Format::Yaml => {
                let text = std::str::from_utf8(content).map_err(|e| malformed(e.to_string()))?;
                serde_saphyr::from_multiple::<Value>(text)
                    .map(drop)
                    .map_err(|error| malformed(error.to_string()))
            }
            Format::Plain
            | Format::Shell
            | Format::Sysconfig
            | Format::Systemd
            | Format::Apache
            | Format::Nginx
            | Format::Dnsmasq
            | Format::Nftables
            | Format::Hosts
            | Format::Cron
            | Format::Crontab
            | Format::Anacrontab => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside() {
        assert_eq!(inside("/etc/a").unwrap(), Path::new("etc/a"));
        assert_eq!(inside("etc/./a").unwrap(), Path::new("etc/a"));
        for bad in ["", "/", "../x", "/etc/../../x", "/etc/a/", "a\nb"] {
            assert!(inside(bad).is_err(), "{bad:?}");
        }
    }
}
