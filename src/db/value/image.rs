// SPDX-License-Identifier: GPL-2.0-or-later

//! Which image: a name with tag or digest, or an id.
//!
//! The grammar is that of `github.com/distribution/reference`, on which both engines rely.

use std::fmt;

use super::{BadValue, Parsed, number, quoted};

/// Longest name without tag and digest, in bytes. Source: distribution/reference,
/// `RepositoryNameTotalLengthMax`.
pub const MAX_IMAGE_NAME: usize = 255;

/// Longest tag in bytes. Source: distribution/reference, its regular expression for tags.
pub const MAX_TAG: usize = 128;

const IMAGE: &str =
    "NAME, NAME:TAG, either with @sha256:DIGEST, as mariadb:11 or registry.example.com/apps/wiki:2";
const DIGEST: &str = "'sha256:' and 64 digits of 0-9a-f, as the engine prints them";

/// What a container runs from: `NAME[:TAG][@sha256:DIGEST]`, or the id `sha256:ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef(String);

impl ImageRef {
    /// As in the record.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an id, which no registry can be asked for.
    pub fn is_id(&self) -> bool {
        self.0.starts_with("sha256:")
    }

    /// Without tag and digest; empty for an id.
    pub fn name(&self) -> &str {
        if self.is_id() { "" } else { split(&self.0).0 }
    }

    /// The tag, when one is said.
    pub fn tag(&self) -> Option<&str> {
        if self.is_id() { None } else { split(&self.0).1 }
    }

    /// The digest `sha256:...`, when one is said; the whole of an id.
    pub fn digest(&self) -> Option<&str> {
        if self.is_id() { Some(&self.0) } else { split(&self.0).2 }
    }

    /// As the engine takes it when nothing is to be left to it: with `latest`, unless a tag or a digest
    /// is said.
    #[must_use]
    pub fn with_tag(&self) -> Self {
        if self.tag().is_some() || self.digest().is_some() {
            self.clone()
        } else {
            Self(format!("{}:latest", self.0))
        }
    }
}

impl AsRef<str> for ImageRef {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_form!(ImageRef, image_ref);

/// A name of an image with tag or digest, or an id. A missing tag stays missing.
///
/// # Errors
///
/// A part of it is not what a registry takes; upper case is allowed only in its host name.
pub fn image_ref(text: &str) -> Parsed<ImageRef> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), IMAGE);
    if text.starts_with("sha256:") {
        return digest(text).map(ImageRef);
    }
    let (name, tag, pinned) = split(text);
    if let Some(pinned) = pinned {
        digest(pinned)?;
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(bad(&format!("has the tag {}, which no registry takes", quoted(tag))));
    }
    if name.is_empty() {
        return Err(bad("has no name"));
    }
    if name.len() > MAX_IMAGE_NAME {
        let what =
            format!("has a name of {} bytes, at most {MAX_IMAGE_NAME} are allowed", name.len());
        return Err(bad(&what));
    }
    // With a tag it would be an id.
    if name == "sha256" {
        return Err(bad("is the beginning of an id; write its registry before it"));
    }
    if is_hex64(name) {
        return Err(bad("looks like an id; write 'sha256:' before it"));
    }
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        Some(_) | None => name,
    };
    match path.split('/').find(|part| !is_path_part(part)) {
        Some("") => Err(bad("has an empty part")),
        Some(part) if part.chars().any(|c| c.is_ascii_uppercase()) => {
            Err(bad(&format!("has upper case in {}", quoted(part))))
        }
        Some(part) => Err(bad(&format!("has the part {}, which no registry takes", quoted(part)))),
        None => Ok(ImageRef(text.to_owned())),
    }
}

/// A digest: `sha256:` and 64 digits, base 16, lower case.
///
/// # Errors
///
/// It is something else, also another algorithm.
pub fn digest(text: &str) -> Parsed<String> {
    match text.strip_prefix("sha256:") {
        Some(hex) if is_hex64(hex) => Ok(text.to_owned()),
        Some(_) | None => Err(BadValue::new(format!("{} is no digest", quoted(text)), DIGEST)),
    }
}

/// Name, tag and digest of `NAME[:TAG][@DIGEST]`; a colon before the last slash is that of a port.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag), digest),
        Some(_) | None => (rest, None, digest),
    }
}

fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= MAX_TAG
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// Whether the first part of a name is a registry's host: engines decide by dot, port, `localhost` or
/// upper case, else it is the first part of a path on the default registry.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if number::<u16>(port).is_some() => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let named = host.split('.').all(|label| super::name::check_label(label, "").is_ok());
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let decided = port.is_some()
        || host.contains('.')
        || host == "localhost"
        || host.chars().any(|c| c.is_ascii_uppercase());
    literal || (named && decided)
}

/// Whether `part` is `[a-z0-9]+` with `.`, `_`, `__` or dashes between.
fn is_path_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(plain)
        && part.ends_with(plain)
        && part.split(plain).all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-')
        })
}
