// SPDX-License-Identifier: GPL-2.0-or-later

//! Names: of containers and links, of hosts and paths on the web, of bridges and events.

use std::collections::BTreeSet;
use std::fmt;

use super::{BadValue, Parsed, list, quoted};

/// Longest name of a container in bytes.
///
/// Ours: the engine has no limit, but the name becomes a directory below the data root and part of
/// the temporary name while a container is replaced, and a file name has at most 255.
pub const MAX_CONTAINER_NAME: usize = 128;

/// Longest part of a host name between two dots, in bytes. Source: RFC 1035, 2.3.4.
pub const MAX_LABEL: usize = 63;

/// Longest host name in bytes, as text. Source: RFC 1035, 2.3.4 (255 octets on the wire).
pub const MAX_HOST_NAME: usize = 253;

/// Longest interface name in bytes: the kernel's `IFNAMSIZ` (16) less the closing NUL.
///
/// Source: `include/uapi/linux/if.h`.
pub const MAX_INTERFACE_NAME: usize = 15;

/// Longest mail address in bytes. Source: RFC 5321, 4.5.3.1.3 (256 with the angle brackets).
pub const MAX_MAIL: usize = 254;

const MAIL: &str = "one mail address, as admin or ops@example.org";
const CONTAINER: &str =
    "two letters, digits, '_', '.' or '-' or more, a letter or digit first, as wiki";
const LINKS: &str = "names of container records, each with :ALIAS if you like, as mariadb:db,redis";
const LABEL: &str = "letters, digits and '-' between them, as db";
const HOST: &str = "a host name without the domain, as wiki";
const ALIAS: &str = "a path of letters, digits, '.', '_', '~' and '-', as wiki or apps/wiki";
const BRIDGE: &str = "1 to 15 bytes without '/', ':' and blanks, as wharf0";
const EVENTS: &str = "names of events, as backup-start,backup-stop";

/// Name of a container: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most [`MAX_CONTAINER_NAME`] bytes.
///
/// Source of the pattern: `RestrictedNameChars` in moby's `daemon/names`; Podman's is the same but for
/// names of one character, which it allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ContainerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_form!(ContainerName, container_name);

/// A container that another one needs, and the name it knows it by: `mariadb:db`, or `redis`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The record that is needed.
    pub target: ContainerName,
    /// The host name under which it is reached; the record's own name when none is said.
    pub alias: String,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.alias == self.target.as_str() {
            write!(f, "{}", self.target)
        } else {
            write!(f, "{}:{}", self.target, self.alias)
        }
    }
}

text_form!(Link, link);

/// Name of a container, which is also the key of its record.
///
/// # Errors
///
/// It is shorter than two bytes, longer than [`MAX_CONTAINER_NAME`], or has a character that no
/// engine takes.
pub fn container_name(text: &str) -> Parsed<ContainerName> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), CONTAINER);
    if text.len() < 2 {
        return Err(bad("is too short for the name of a container"));
    }
    if text.len() > MAX_CONTAINER_NAME {
        let what = format!("has {} bytes, a name has at most {MAX_CONTAINER_NAME}", text.len());
        return Err(bad(&what));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(bad("begins with neither a letter nor a digit"));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))) {
        Some(found) => Err(bad(&format!("has the character {}", quoted(&found.to_string())))),
        None => Ok(ContainerName(text.to_owned())),
    }
}

/// The containers that a container needs, `mariadb:db,redis`, in the order of the text.
///
/// # Errors
///
/// An element is no link, or two would be known by one name (upper and lower case are the same).
pub fn links(text: &str) -> Parsed<Vec<Link>> {
    let links = list(text, LINKS, link)?;
    let mut seen = BTreeSet::new();
    for link in &links {
        if !seen.insert(link.alias.to_ascii_lowercase()) {
            let wrong = format!("two links have the name {}", quoted(&link.alias));
            return Err(BadValue::new(wrong, "each name once, as mariadb:db,postgres:reports"));
        }
    }
    Ok(links)
}

/// A host name without a domain, or with one: labels separated by dots, in lower case.
///
/// # Errors
///
/// A label is empty, longer than [`MAX_LABEL`] or has a character that no host name has, or the whole
/// is longer than [`MAX_HOST_NAME`].
pub fn host_label(text: &str) -> Parsed<String> {
    if text.len() > MAX_HOST_NAME {
        let wrong = format!(
            "{} has {} bytes, a host name has at most {MAX_HOST_NAME}",
            quoted(text),
            text.len()
        );
        return Err(BadValue::new(wrong, HOST));
    }
    for label in text.split('.') {
        check_label(label, HOST)?;
    }
    Ok(text.to_ascii_lowercase())
}

/// An address that a mail can be sent to: a user of this host, or a user and a host.
///
/// Only characters that need no quotes anywhere, so that it can be nothing but an address in a header.
///
/// # Errors
///
/// It is empty, has another character, or its host is none.
pub fn mail_address(text: &str) -> Parsed<String> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), MAIL);
    let (user, host) = text.split_once('@').map_or((text, None), |(user, host)| (user, Some(host)));
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._%+=-".contains(c);
    if user.is_empty() || !user.chars().all(is_fine) {
        return Err(bad("is no mail address"));
    }
    if user.starts_with('-') {
        return Err(bad("would be an option to mailers"));
    }
    if text.len() > MAX_MAIL {
        return Err(bad("is too long"));
    }
    host.map_or(Ok(()), |host| host_label(host).map(drop))?;
    Ok(text.to_owned())
}

/// The path behind which a container is served: `wiki` or `apps/wiki`, without the slash round it.
///
/// # Errors
///
/// It is empty, or a segment is empty, `.` or `..`, or has a character that would have to be escaped in
/// a web address or a web server's configuration.
pub fn web_alias(text: &str) -> Parsed<String> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), ALIAS);
    let path = text.strip_prefix('/').unwrap_or(text);
    let path = path.strip_suffix('/').unwrap_or(path);
    for segment in path.split('/') {
        if segment.is_empty() {
            return Err(bad("has an empty part"));
        }
        if matches!(segment, "." | "..") {
            return Err(bad(&format!("has the part '{segment}'")));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
        if let Some(found) = segment.chars().find(|c| !fine(*c)) {
            return Err(bad(&format!("has the character {}", quoted(&found.to_string()))));
        }
    }
    Ok(path.to_owned())
}

/// Name of a bridge, always acceptable to the kernel.
///
/// # Errors
///
/// It is empty, longer than [`MAX_INTERFACE_NAME`], `.` or `..`, or has `/`, `:` or a blank. Source: the
/// kernel's `dev_valid_name`; beyond it, characters outside ASCII and shell characters are refused,
/// because the name stands in firewall rules and sysconfig files.
pub fn bridge_name(text: &str) -> Parsed<String> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), BRIDGE);
    if matches!(text, "" | "." | "..") {
        return Err(bad("cannot be the name of an interface"));
    }
    if text.len() > MAX_INTERFACE_NAME {
        let what =
            format!("has {} bytes, an interface name has at most {MAX_INTERFACE_NAME}", text.len());
        return Err(bad(&what));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().find(|c| !fine(*c)) {
        Some(found) => Err(bad(&format!("has the character {}", quoted(&found.to_string())))),
        None => Ok(text.to_owned()),
    }
}

/// Names of events, `backup-start,backup-stop`, in the order of the text.
///
/// # Errors
///
/// An element has a character that no directory of events has.
pub fn events(text: &str) -> Parsed<Vec<String>> {
    list(text, EVENTS, |name| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fine) {
            Ok(name.to_owned())
        } else {
            Err(BadValue::new(format!("{} is no name of an event", quoted(name)), EVENTS))
        }
    })
}

fn link(text: &str) -> Parsed<Link> {
    let (target, alias) = match text.split_once(':') {
        Some((target, alias)) => {
            check_label(alias.trim(), LABEL)?;
            (target.trim(), Some(alias.trim()))
        }
        None => (text, None),
    };
    let target = container_name(target)?;
    let alias = alias.map_or_else(|| target.to_string(), str::to_owned);
    Ok(Link { target, alias })
}

/// Checks one part of a host name. Source: RFC 1123, 2.1.
pub(super) fn check_label(label: &str, expected: &str) -> Parsed<()> {
    let bad = |what: &str| Err(BadValue::new(format!("{} {what}", quoted(label)), expected));
    if label.is_empty() {
        return Err(BadValue::new("a part of the name is empty", expected));
    }
    if label.len() > MAX_LABEL {
        return bad(&format!("has {} bytes, a part has at most {MAX_LABEL}", label.len()));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return bad("begins or ends with '-'");
    }
    match label.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-')) {
        Some(found) => bad(&format!("has the character {}", quoted(&found.to_string()))),
        None => Ok(()),
    }
}
