// SPDX-License-Identifier: GPL-2.0-or-later

//! What the text of a property may be: one pure parser a kind of value.
//!
//! Used twice, so that the two can never disagree: by [`super::schema`], which refuses a bad value
//! when it is written, and by `desired`, which takes the value itself. Lists are comma separated,
//! with blanks round an element if one likes; a text that is no value is answered with the part that
//! is wrong and an example of what is right, never with a guess.
//!
//! To add a kind: write its parser in the file of its noun, re-export it here, give it a row in the
//! table of `schema/kind.rs`, name it in `db-schema/`.
//!
//! Left out on purpose: looking at the host. That a path exists or a port is free is for `desired`.

use std::borrow::Cow;

/// Gives a type whose `Display` is its text the way back: `FromStr`, and serde as that text.
macro_rules! text_form {
    ($type:ty, $parse:path) => {
        impl std::str::FromStr for $type {
            type Err = $crate::db::value::BadValue;

            fn from_str(text: &str) -> $crate::db::value::Parsed<Self> {
                $parse(text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

mod cron;
mod image;
mod mount;
mod name;
mod network;
mod port;
mod process;
mod quantity;

pub use cron::{Schedule, cron};
pub use image::{ImageRef, MAX_IMAGE_NAME, MAX_TAG, digest, image_ref};
pub use mount::{
    DeviceEntry, MAX_PATH, MountEntry, MountSource, TmpfsEntry, absolute_path, devices, mounts,
    tmpfs,
};
pub use name::{
    ContainerName, Link, MAX_CONTAINER_NAME, MAX_HOST_NAME, MAX_INTERFACE_NAME, MAX_LABEL,
    MAX_MAIL, bridge_name, container_name, events, host_label, links, mail_address, web_alias,
};
pub use network::{Egress, MAX_SOCKET_PATH, egress, endpoint, ip_networks, ipv4, subnet};
pub use port::{
    MAX_PORTS, Port, PortMap, PortRange, Protocol, host_access, port, port_maps, ports,
};
pub use process::{
    Capabilities, HealthTest, MAX_ID, capabilities, command, env_name, env_value, health, user,
};
pub use quantity::{
    LEAST_MEMORY_BYTES, LEAST_NANO_CPUS, MAX_CPUS, MAX_SECONDS, cpus, integer, memory_bytes,
    seconds, size_bytes,
};

/// Text that is no value of its kind: what is wrong with it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{wrong}; right would be {expected}")]
pub struct BadValue {
    /// What is wrong, with the offending part quoted.
    pub wrong: String,
    /// What would be right, with an example.
    pub expected: String,
}

impl BadValue {
    /// What is wrong, and what would be right.
    pub fn new(wrong: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), expected: expected.into() }
    }
}

/// Result of a parser of this room.
pub type Parsed<T> = Result<T, BadValue>;

/// Checks that `text` is one of `allowed`.
///
/// # Errors
///
/// It is not; upper and lower case are different, as for e-smith.
pub fn choice(text: &str, allowed: &[&str]) -> Parsed<()> {
    if allowed.contains(&text) {
        return Ok(());
    }
    let wrong = format!("{} is none of the words allowed here", quoted(text));
    Err(BadValue::new(wrong, allowed.join(", ")))
}

/// `yes` or `no`.
///
/// # Errors
///
/// It is something else.
pub fn yes_no(text: &str) -> Parsed<bool> {
    choice(text, &["yes", "no"]).map(|()| text == "yes")
}

/// `text` with its control characters escaped, so that in a message it can neither begin a line of
/// its own nor steer the terminal.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// How many letters `a` and `b` differ in, when it is no more than `most`.
///
/// The whole comparison needs time and memory for every pair of letters; a name of many thousands
/// is near to none and must not be compared.
pub(in crate::db) fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let longer = a.len().abs_diff(b.len());
    // A letter has at most four bytes.
    let distance = (longer <= most * 4).then(|| strsim::damerau_levenshtein(a, b))?;
    (distance <= most).then_some(distance)
}

/// The one of `names` that differs from `name` in the fewest letters, two at most.
pub fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names.filter_map(|one| Some((distance(name, &one, 2)?, one))).min().map(|(_, one)| one)
}

/// `part` between quotes for a message: on one line, and not longer than a line.
pub(in crate::db) fn quoted(part: &str) -> String {
    const SHOWN: usize = 60;
    match part.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("'{}...'", one_line(part.get(..end).unwrap_or_default())),
        None => format!("'{}'", one_line(part)),
    }
}

/// The elements of a comma separated list, each parsed by `parse`.
fn list<T>(text: &str, expected: &str, parse: impl Fn(&str) -> Parsed<T>) -> Parsed<Vec<T>> {
    if text.trim().is_empty() {
        return Err(BadValue::new("the list is empty", expected));
    }
    text.split(',')
        .map(|element| match element.trim() {
            "" => {
                let wrong = format!("{} has an empty element", quoted(text));
                Err(BadValue::new(wrong, expected))
            }
            element => parse(element),
        })
        .collect()
}

/// A number written with digits only; the standard parser would also take a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
