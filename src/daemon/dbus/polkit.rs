// SPDX-License-Identifier: GPL-2.0-or-later

//! Who may call what: root, else whom polkit allows it; without polkit root alone.
//!
//! Source: the D-Bus interface `org.freedesktop.PolicyKit1.Authority`. The subject is the sender's name
//! on the bus, which cannot be taken over by another process, as its number could.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;
use zbus::message::{Flags, Header};
use zbus::{Connection, Message, Variant};

use super::Error;

/// What is asked of polkit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// See records, plan, status, exposure, history.
    Read,
    /// Make a pass.
    Apply,
    /// Start and stop by hand.
    Control,
    /// Change records.
    Records,
}

impl Action {
    /// Its name in `systemd/io.github.wharfd.policy`.
    const fn id(self) -> &'static str {
        match self {
            Self::Read => "io.github.wharfd.read",
            Self::Apply => "io.github.wharfd.apply",
            Self::Control => "io.github.wharfd.control",
            Self::Records => "io.github.wharfd.records",
        }
    }
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its name on the bus.
    pub(super) sender: String,
    /// Its user.
    pub(super) uid: u32,
}

/// For an answer of the bus.
const ANSWER: Duration = Duration::from_secs(10);

/// For a person who is asked for a password.
const PERSON: Duration = Duration::from_secs(120);

const BUS: &str = "org.freedesktop.DBus";
const POLKIT: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY: &str = "/org/freedesktop/PolicyKit1/Authority";

/// Whether the sender may do `action`; who may not is in the log.
///
/// # Errors
///
/// He may not, or nobody can tell.
pub(super) async fn allowed(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
) -> Result<Caller, Error> {
    let denied = |why: String| Error::AccessDenied(why);
    let sender = header.sender().ok_or_else(|| denied("who sends has no name".to_owned()))?;
    let sender = sender.to_string();
    let uid = connection.call_method(
        Some(BUS),
        "/org/freedesktop/DBus",
        Some(BUS),
        "GetConnectionUnixUser",
        &sender,
    );
    let uid =
        timeout(ANSWER, uid).await.map_err(|_| denied("the bus does not tell who asks".into()))?;
    let uid: u32 = uid?.body().deserialize()?;
    if uid == 0 {
        return Ok(Caller { sender, uid });
    }
    let may_ask = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let why = match check(connection, &sender, action, may_ask).await {
        Ok(true) => return Ok(Caller { sender, uid }),
        Ok(false) => "polkit does not allow it".to_owned(),
        Err(why) => why,
    };
    tracing::warn!(sender, uid, action = action.id(), why, "refused over D-Bus");
    Err(denied(format!("{} is not for user {uid}: {why}", action.id())))
}

/// What polkit says; why it cannot, when it does not.
async fn check(
    connection: &Connection,
    sender: &str,
    action: Action,
    may_ask: bool,
) -> Result<bool, String> {
    let subject = ("system-bus-name", BTreeMap::from([("name", Variant::from(sender))]));
    let details: BTreeMap<&str, &str> = BTreeMap::new();
    let body = (subject, action.id(), details, u32::from(may_ask), "");
    let call = connection.call_method(
        Some(POLKIT),
        AUTHORITY,
        Some("org.freedesktop.PolicyKit1.Authority"),
        "CheckAuthorization",
        &body,
    );
    let limit = if may_ask { PERSON } else { ANSWER };
    let answer: Message = match timeout(limit, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("only root may, without polkit ({error})")),
        Err(_) => return Err("polkit does not answer".to_owned()),
    };
    let body = answer.body();
    let (is_allowed, _, _): (bool, bool, BTreeMap<String, String>) =
        body.deserialize().map_err(|error| error.to_string())?;
    Ok(is_allowed)
}
