// SPDX-License-Identifier: GPL-2.0-or-later

//! The kinds of values by their names in `db-schema/`, and how a row there is read.
//!
//! To add a kind: a row in [`PLAIN`] with the parser of `value`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::RawProperty;
use super::{Missing, Property};
use crate::db::value::{self, Parsed};

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Choice(Vec<String>),
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A time of so many seconds at least.
    Seconds {
        /// The least.
        min: u64,
    },
    /// A kind without parameters.
    Plain(Plain),
}

/// A kind without parameters.
#[derive(Clone, Copy)]
pub struct Plain(&'static Row);

struct Row {
    name: &'static str,
    form: &'static str,
    check: fn(&str) -> Parsed<()>,
}

const fn row(name: &'static str, form: &'static str, check: fn(&str) -> Parsed<()>) -> Row {
    Row { name, form, check }
}

static PLAIN: [Row; 32] = [
    row("absolute_path", "/PATH", |text| value::absolute_path(text).map(drop)),
    row("bridge", "name of an interface", |text| value::bridge_name(text).map(drop)),
    row("capabilities", "NAME,-NAME,...", |text| value::capabilities(text).map(drop)),
    row("command", "command line", |text| value::command(text).map(drop)),
    row("container_name", "name of a container", |text| value::container_name(text).map(drop)),
    row("cpus", "n or n.n", |text| value::cpus(text).map(drop)),
    row("cron", "MINUTE HOUR DAY MONTH WEEKDAY", |text| value::cron(text).map(drop)),
    row("devices", "HOST[:PATH[:rwm]],...", |text| value::devices(text).map(drop)),
    row("digest", "sha256:...", |text| value::digest(text).map(drop)),
    row("egress", "none / lan / all / n.n.n.n[/n],...", |text| value::egress(text).map(drop)),
    row("endpoint", "unix:///PATH or tcp://HOST:n", |text| value::endpoint(text).map(drop)),
    row("env_value", "text", |text| value::env_value(text).map(drop)),
    row("events", "EVENT,...", |text| value::events(text).map(drop)),
    row("health", "cmd:COMMAND or http:n[/PATH] or tcp:n", |text| value::health(text).map(drop)),
    row("host", "host name", |text| value::host_label(text).map(drop)),
    row("host_access", "none / n[/udp],...", |text| value::host_access(text).map(drop)),
    row("image", "NAME[:TAG] [@sha256:...]", |text| value::image_ref(text).map(drop)),
    row("ipv4", "n.n.n.n", |text| value::ipv4(text).map(drop)),
    row("links", "NAME[:ALIAS],...", |text| value::links(text).map(drop)),
    row("mail_address", "USER[@HOST]", |text| value::mail_address(text).map(drop)),
    row("memory", "n[k/m/g]", |text| value::memory_bytes(text).map(drop)),
    row("mounts", "HOST:PATH[:ro] or PATH,...", |text| value::mounts(text).map(drop)),
    row("networks", "ADDRESS[/MASK],...", |text| value::ip_networks(text).map(drop)),
    row("port", "n", |text| value::port(text).map(drop)),
    row("port_maps", "HOST:PORT[/udp],...", |text| value::port_maps(text).map(drop)),
    row("ports", "n, n-m, ...", |text| value::ports(text).map(drop)),
    row("size", "n[k/m/g]", |text| value::size_bytes(text).map(drop)),
    row("subnet", "n.n.n.n/n", |text| value::subnet(text).map(drop)),
    row("tmpfs", "PATH[:SIZE],...", |text| value::tmpfs(text).map(drop)),
    row("user", "USER[:GROUP]", |text| value::user(text).map(drop)),
    row("web_alias", "path", |text| value::web_alias(text).map(drop)),
    row("yes_no", "yes / no", |text| value::yes_no(text).map(drop)),
];

impl Plain {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        PLAIN.iter().find(|row| row.name == name).map(Self)
    }

    /// Its name in `db-schema/`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// What its parser says.
    pub fn check(self, text: &str) -> Parsed<()> {
        (self.0.check)(text)
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Plain {}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("there is no kind '{name}'")))
    }
}

impl Kind {
    /// Its name in `db-schema/`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Choice(_) => "choice",
            Self::Integer { .. } => "integer",
            Self::Seconds { .. } => "seconds",
            Self::Plain(plain) => plain.name(),
        }
    }

    /// What a value looks like, for the manual.
    pub fn form(&self) -> String {
        match self {
            Self::Choice(words) => words.join(" / "),
            Self::Integer { min, max } => format!("{min} to {max}"),
            Self::Seconds { min: 0 } => "n[s/m/h]".to_owned(),
            Self::Seconds { min } => format!("n[s/m/h], {min} or more"),
            Self::Plain(plain) => plain.0.form.to_owned(),
        }
    }

    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// What the parser says, or that it is below the least time.
    pub fn check(&self, text: &str) -> Parsed<()> {
        match self {
            Self::Choice(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                value::choice(text, &words)
            }
            Self::Integer { min, max } => value::integer(text, *min, *max).map(drop),
            Self::Seconds { min } => {
                if value::seconds(text)?.as_secs() < *min {
                    let wrong = format!("{} is too short", value::quoted(text));
                    return Err(value::BadValue::new(
                        wrong,
                        format!("{min} second or more, as 10"),
                    ));
                }
                Ok(())
            }
            Self::Plain(plain) => plain.check(text),
        }
    }

    /// Whether people put passwords into such values.
    pub fn may_hold_secrets(&self) -> bool {
        match self {
            Self::Plain(plain) => matches!(plain.name(), "env_value" | "command"),
            Self::Choice(_) | Self::Integer { .. } | Self::Seconds { .. } => false,
        }
    }
}

/// A kind as fields of its property.
#[derive(Serialize)]
struct Shown<'a> {
    kind: &'a str,
    form: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<i64>,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (choices, min, max) = match self {
            Self::Choice(words) => (Some(words.as_slice()), None, None),
            Self::Integer { min, max } => (None, Some(*min), Some(*max)),
            Self::Seconds { min } => (None, i64::try_from(*min).ok(), None),
            Self::Plain(_) => (None, None, None),
        };
        Shown { kind: self.name(), form: self.form(), choices, min, max }.serialize(serializer)
    }
}

impl TryFrom<RawProperty> for Property {
    type Error = String;

    fn try_from(raw: RawProperty) -> Result<Self, String> {
        let bad = |what: &str| format!("property {}: {what}", raw.name);
        let kind = match (raw.kind.as_str(), raw.choices, raw.min, raw.max) {
            ("choice", Some(words), None, None) => Kind::Choice(words),
            ("integer", None, Some(min), Some(max)) => Kind::Integer { min, max },
            ("seconds", None, min, None) => {
                let min = u64::try_from(min.unwrap_or(0)).map_err(|_| bad("min is below 0"))?;
                Kind::Seconds { min }
            }
            (name, None, None, None) => {
                Plain::named(name).map(Kind::Plain).ok_or_else(|| bad("there is no such kind"))?
            }
            _ => return Err(bad("choices, min and max do not fit its kind")),
        };
        let missing = match (raw.default, raw.missing) {
            (Some(value), None) => Missing::Default(value),
            (None, Some(words)) => Missing::Words(words),
            _ => return Err(bad("it needs one of default and missing")),
        };
        Ok(Self {
            name: raw.name,
            kind,
            unit: raw.unit,
            missing,
            doc: raw.doc,
            example: raw.example,
            pending: raw.pending,
            pending_values: raw.pending_values,
            secret: raw.secret,
        })
    }
}
