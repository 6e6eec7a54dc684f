// SPDX-License-Identifier: GPL-2.0-or-later

//! Events: a name with arguments that says what has happened, and what is run for it.
//!
//! Pure: what the directories of an event hold comes in as values ([`merge::Layer`]), what is to be
//! run for it goes out ([`merge::Step`]). The verbs for services are in [`adjust`], the lines of the log
//! in [`mod@line`], what is remembered of an event in [`past`], what makes two of them equal in [`caller`].

pub mod adjust;
pub mod caller;
pub mod line;
pub mod merge;
pub mod past;

/// The events of our own: they need no directory, and each makes a pass.
pub const NAMES: &[&str] = &[
    "docker-update",
    "docker-start",
    "docker-stop",
    "container-create",
    "container-modify",
    "container-delete",
    "image-update",
];

/// The directory beside the events that holds what their links lead to; it is no event.
pub const ACTIONS: &str = "actions";

/// An event as it was signalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What came with it.
    pub args: Vec<String>,
}

/// What an event of ours says of a container's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns<'a> {
    /// No record in particular.
    All,
    /// This one, which has to exist.
    Existing(&'a str),
    /// This one, which may be gone.
    Gone(&'a str),
}

/// The name or the arguments make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The name could lead out of the directory of events, or break a line of the log.
    #[error(
        "{0:?} is no name of an event: it is a path below the directory of events, without '..', an empty part or control characters"
    )]
    Name(String),
    /// The event is about a record, and none is named.
    #[error("event {0} needs the key of a record in docker_containers: signal-event {0} KEY")]
    NoRecord(String),
}

impl Event {
    /// Whether it is one of our own.
    pub fn is_own(&self) -> bool {
        NAMES.contains(&self.name.as_str())
    }

    /// The record that it is about.
    ///
    /// # Errors
    ///
    /// It is about one, and names none.
    pub fn concerns(&self) -> Result<Concerns<'_>, Bad> {
        let key = || {
            let key = self.args.first().filter(|key| !key.is_empty());
            key.map(String::as_str).ok_or_else(|| Bad::NoRecord(self.name.clone()))
        };
        match self.name.as_str() {
            "container-create" | "container-modify" => key().map(Concerns::Existing),
            "container-delete" => key().map(Concerns::Gone),
            _ => Ok(Concerns::All),
        }
    }
}

/// Whether `name` can be an event's; e-smith takes `a/b` as well.
///
/// # Errors
///
/// It cannot.
pub fn check_name(name: &str) -> Result<(), Bad> {
    let is_fine = |part: &str| !matches!(part, "" | "." | "..");
    if name.split('/').all(is_fine) && !name.contains(char::is_control) {
        Ok(())
    } else {
        Err(Bad::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_the_directory_of_events() {
        for name in ["ev", "a/b", "S05x", "ev.d", "..a", "ä"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "..", "a/../b", "/etc", "a//b", "a/", "./a", "a\nb", "a\tb"] {
            assert_eq!(check_name(name), Err(Bad::Name(name.to_owned())));
        }
    }

    #[test]
    fn the_record_of_an_event_is_its_first_argument() {
        let event = |name: &str, args: &[&str]| Event {
            name: name.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        let modify = event("container-modify", &["wiki"]);
        assert_eq!(modify.concerns(), Ok(Concerns::Existing("wiki")));
        assert_eq!(event("container-delete", &["x"]).concerns(), Ok(Concerns::Gone("x")));
        assert_eq!(event("docker-update", &["x"]).concerns(), Ok(Concerns::All));
        let missing = event("container-create", &[]);
        assert_eq!(missing.concerns(), Err(Bad::NoRecord("container-create".to_owned())));
    }
}
