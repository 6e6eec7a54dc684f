// SPDX-License-Identifier: GPL-2.0-or-later

//! Events: a name with arguments that stands for "look at this now".
//!
//! Left out until the event issue: packaged and custom event directories with handlers. What there
//! is, is one table; an event that is not in it is an error, as in e-smith (status 2).

/// The events that there are.
pub const NAMES: &[&str] = &["docker-update"];

/// An event as it was signalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What came with it.
    pub args: Vec<String>,
}

/// What an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Everything: a whole pass.
    Pass,
}

/// An event that nobody has declared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such event: {0:?}; there is: docker-update")]
pub struct UnknownEvent(pub String);

/// What `event` concerns.
///
/// # Errors
///
/// It is not in the table.
pub fn lookup(event: &Event) -> Result<Effects, UnknownEvent> {
    match event.name.as_str() {
        "docker-update" => Ok(Effects::Pass),
        other => Err(UnknownEvent(other.to_owned())),
    }
}
