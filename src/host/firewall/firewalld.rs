// SPDX-License-Identifier: GPL-2.0-or-later

//! firewalld on the system bus: when it comes, goes, or loads its rules anew.
//!
//! It touches no table of ours, but takes the engine's iptables rules with it. Source:
//! `firewalld.dbus(5)`. A reload tells some three hundred signals and exactly one `Reloaded`, so the rules
//! name the member.

use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream};

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";

/// How long the bus gets to take us.
const CONNECT: Duration = Duration::from_secs(5);

/// How long it gets to load its rules, on a busy machine.
const LOADED: Duration = Duration::from_secs(60);

/// What firewalld did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It loaded its rules anew.
    Reloaded,
    /// It began or ended.
    Owner,
}

/// What firewalld does from now on, for as long as the bus is there.
///
/// # Errors
///
/// There is no bus, or it does not take us.
pub async fn news() -> Result<impl Stream<Item = News>, zbus::Error> {
    timeout(CONNECT, subscribe())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
        .map_err(zbus::Error::from)?
}

async fn subscribe() -> Result<impl Stream<Item = News>, zbus::Error> {
    let connection = Connection::system().await?;
    // Whoever else sends such a signal gets a pass that finds nothing to do.
    let reloaded = MatchRule::builder()
        .msg_type(Type::Signal)
        .path(PATH)
        .interface(NAME)
        .member("Reloaded")
        .build()?;
    let owner = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, NAME)
        .build()?;
    let reloaded = MessageStream::for_match_rule(reloaded, &connection, None).await?;
    let owner = MessageStream::for_match_rule(owner, &connection, None).await?;
    let settled = move |message: zbus::Result<Message>| {
        let connection = connection.clone();
        async move {
            let (_, _, new): (String, String, String) = message.ok()?.body().deserialize().ok()?;
            if !new.is_empty() {
                has_begun(&connection).await;
            }
            Some(News::Owner)
        }
    };
    Ok(stream::select(
        reloaded.filter_map(async |message| message.ok().map(|_| News::Reloaded)).boxed(),
        owner.filter_map(settled).boxed(),
    ))
}

/// Waits until firewalld answers: it takes its name first, loads its rules then, and tells nobody of that.
async fn has_begun(connection: &Connection) {
    let properties = Some("org.freedesktop.DBus.Properties");
    let state = connection.call_method(Some(NAME), PATH, properties, "Get", &(NAME, "state"));
    // Without an answer its rules are looked at all the same.
    timeout(LOADED, state).await.ok();
}
