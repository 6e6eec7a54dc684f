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
use zbus::{Connection, MatchRule, MessageStream};

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";

/// How long the bus gets to take us.
const CONNECT: Duration = Duration::from_secs(5);

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
    Ok(stream::select(
        reloaded.filter_map(async |message| message.ok().map(|_| News::Reloaded)).boxed(),
        owner.filter_map(async |message| message.ok().map(|_| News::Owner)).boxed(),
    ))
}
