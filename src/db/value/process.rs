// SPDX-License-Identifier: GPL-2.0-or-later

//! What runs in a container: command, user, environment, capabilities, health.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

use super::{BadValue, Parsed, list, number, quoted};

/// Highest user and group id. Source: `maxID` in moby's `user` package.
pub const MAX_ID: u32 = i32::MAX.unsigned_abs();

const COMMAND: &str = "words as for a shell, quotes in pairs, as server --name 'My wiki'";
const USER: &str = "a name or id, with :GROUP if you like, as www-data or 1000:1000";
const HEALTH: &str =
    "cmd:COMMAND, http:PORT/PATH or tcp:PORT, as 'cmd:pg_isready', http:8080/health or tcp:25";
const CAPABILITIES: &str = "names, with '-' before those to take away, as NET_ADMIN,-MKNOD";
const ENV_NAME: &str = "letters, digits, '_', '.' and '-', no digit first, as Env_TZ";

/// The capabilities of Linux 5.9 and later, without `CAP_`. Source: capabilities(7).
const KNOWN: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Capabilities added to and taken from the engine's default, in upper case and without `CAP_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities {
    /// Added; `ALL` is all of them.
    pub add: BTreeSet<String>,
    /// Taken away; `ALL` is all but those added.
    pub drop: BTreeSet<String>,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drop = self.drop.iter().map(|name| format!("-{name}"));
        let names: Vec<String> = self.add.iter().cloned().chain(drop).collect();
        f.write_str(&names.join(","))
    }
}

text_form!(Capabilities, capabilities);

/// How to see that a container is well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthTest {
    /// A command line, run in the container; it ends with 0 when all is well.
    Command(String),
    /// An HTTP GET.
    Http {
        /// Port in the container.
        port: NonZeroU16,
        /// What is asked for; `/` when none is said.
        path: String,
    },
    /// Something accepts TCP connections.
    Tcp {
        /// Port in the container.
        port: NonZeroU16,
    },
}

impl fmt::Display for HealthTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "cmd:{command}"),
            Self::Http { port, path } => write!(f, "http:{port}{path}"),
            Self::Tcp { port } => write!(f, "tcp:{port}"),
        }
    }
}

text_form!(HealthTest, health);

/// The words of a command line, split as a shell would; nothing in them is expanded.
///
/// # Errors
///
/// There is no word, a quote is not closed, or there is a NUL. The text itself is not quoted: command
/// lines hold passwords.
pub fn command(text: &str) -> Parsed<Vec<String>> {
    if text.contains('\0') {
        return Err(BadValue::new("the command has a NUL character", COMMAND));
    }
    match shlex::split(text) {
        None => Err(BadValue::new("a quote in the command is not closed", COMMAND)),
        Some(words) if words.is_empty() => Err(BadValue::new("the command is empty", COMMAND)),
        Some(words) => Ok(words),
    }
}

/// Who runs the process: `NAME|UID[:GROUP|GID]`, as it stands.
///
/// # Errors
///
/// A part is no name, or an id above [`MAX_ID`].
pub fn user(text: &str) -> Parsed<String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    for part in std::iter::once(user).chain(group) {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        let fine = match number::<u32>(part) {
            Some(id) => id <= MAX_ID,
            None => !digits && is_account(part),
        };
        if !fine {
            let wrong = format!("{} is no user or group", quoted(part));
            return Err(BadValue::new(wrong, USER));
        }
    }
    Ok(text.to_owned())
}

/// The name of an environment variable, the rest of `Env_NAME`.
///
/// # Errors
///
/// It is empty, begins with a digit, or has a character other than letters, digits, `_`, `.` and `-`; the
/// last two are no names for a shell, but some applications ask for them.
pub fn env_name(text: &str) -> Parsed<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(fine) {
        return Ok(text.to_owned());
    }
    let wrong = format!("{} is no name of an environment variable", quoted(text));
    Err(BadValue::new(wrong, ENV_NAME))
}

/// The value of an environment variable or of a secret: any text.
///
/// # Errors
///
/// It has a NUL, which no environment can hold. The value is never part of the error.
pub fn env_value(text: &str) -> Parsed<String> {
    if text.contains('\0') {
        return Err(BadValue::new("the value has a NUL character", "any text without it"));
    }
    Ok(text.to_owned())
}

/// Capabilities to add, and with `-` before them to take away: `NET_ADMIN,-MKNOD`.
///
/// Upper or lower case, with or without `CAP_`.
///
/// # Errors
///
/// There is no such capability, or one is both added and taken away.
pub fn capabilities(text: &str) -> Parsed<Capabilities> {
    let mut found = Capabilities::default();
    let names = list(text, CAPABILITIES, |element| {
        let (name, dropped) = match element.strip_prefix('-') {
            Some(name) => (name, true),
            None => (element, false),
        };
        capability(name).map(|name| (name, dropped))
    })?;
    for (name, dropped) in names {
        if dropped {
            found.drop.insert(name)
        } else {
            found.add.insert(name)
        };
    }
    match found.add.intersection(&found.drop).next() {
        Some(both) => {
            let wrong = format!("{} is both added and taken away", quoted(both));
            Err(BadValue::new(wrong, CAPABILITIES))
        }
        None => Ok(found),
    }
}

/// How to see that a container is well: `cmd:COMMAND`, `http:PORT[/PATH]` or `tcp:PORT`.
///
/// # Errors
///
/// It is none of these, or the command is empty, the port none, or the path has blanks.
pub fn health(text: &str) -> Parsed<HealthTest> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), HEALTH);
    if let Some(command) = text.strip_prefix("cmd:") {
        if command.trim().is_empty() || command.contains('\0') {
            // Not quoted, for the reason given at `command`.
            return Err(BadValue::new("the command of the check is empty or has a NUL", HEALTH));
        }
        return Ok(HealthTest::Command(command.to_owned()));
    }
    let no_port = || bad("has no port from 1 to 65535");
    if let Some(address) = text.strip_prefix("http:") {
        let (port, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let port = number(port).ok_or_else(no_port)?;
        if path.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(bad("has a path with blanks or characters outside ASCII"));
        }
        let path = if path.is_empty() { "/" } else { path };
        return Ok(HealthTest::Http { port, path: path.to_owned() });
    }
    match text.strip_prefix("tcp:") {
        Some(port) => Ok(HealthTest::Tcp { port: number(port).ok_or_else(no_port)? }),
        None => Err(bad("begins with neither cmd:, http: nor tcp:")),
    }
}

fn capability(text: &str) -> Parsed<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if KNOWN.contains(&name) {
        return Ok(name.to_owned());
    }
    let near =
        KNOWN.iter().filter_map(|known| Some((super::distance(known, name, 2)?, known))).min();
    let expected = near.map_or_else(|| CAPABILITIES.to_owned(), |(_, known)| (*known).to_owned());
    Err(BadValue::new(format!("{} is no capability", quoted(text)), expected))
}

/// Whether a name can stand in `/etc/passwd` or `/etc/group`. Source: useradd(8), with the upper case and
/// dots that images have.
fn is_account(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let name = name.strip_suffix('$').unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(fine)
}
