// SPDX-License-Identifier: GPL-2.0-or-later

//! Being on the bus, and telling there what happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use zbus::{Connection, MatchRule, MessageStream, connection};

use super::{Manager, NAME, PATH, Parts, number};
use crate::daemon::request::{News, Summary};
use crate::daemon::{Trigger, again};

/// The bus itself.
const BUS: &str = "org.freedesktop.DBus";

/// How long the bus gets to take us.
const CONNECT: Duration = Duration::from_secs(5);

/// Between two tries to be on a bus that is not there, or has ended.
const AGAIN: Duration = Duration::from_secs(30);

/// Between two words about how far a pass is.
const TICK: Duration = Duration::from_millis(250);

/// Goes on the bus and tells `news` there, for as long as there are any; comes back when the bus does.
///
/// The first try is made before this returns; the rest is a task.
pub async fn serve(parts: Parts, mut news: mpsc::Receiver<News>, triggers: mpsc::Sender<Trigger>) {
    let last = Arc::new(Mutex::new(Summary::default()));
    let mut connection = open(&parts, &last, true).await;
    again::task("D-Bus", triggers, async move {
        // What was told last of the pass that is under way.
        let mut far: Option<[usize; 3]> = None;
        loop {
            if connection.is_none() {
                connection = open(&parts, &last, false).await;
            }
            let next = tokio::select! {
                next = news.recv() => next,
                () = sleep(AGAIN), if connection.is_none() => continue,
                () = sleep(TICK), if far.is_some() && connection.is_some() => {
                    let now = parts.progress.seen();
                    let now = [now.ended, now.planned, now.under_way.len()];
                    if far.replace(now) == Some(now) {
                        continue;
                    }
                    Some(News::Progress(now))
                }
            };
            let Some(next) = next else { return };
            match &next {
                News::Begun => far = Some([0; 3]),
                News::Progress(_) => {}
                News::Ended(summary) => {
                    far = None;
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = summary.clone();
                }
            }
            if let Some(open) = &connection
                && let Err(error) = tell(open, next).await
            {
                tracing::warn!(%error, "the bus is gone");
                connection = None;
            }
        }
    });
}

/// The ends of the daemon's passes, as it tells them; `None` when there is no bus or it is not on it.
pub async fn passes() -> Option<MessageStream> {
    let connect = async {
        let connection = Connection::system().await?;
        let has_owner = connection
            .call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "NameHasOwner", &NAME)
            .await?;
        if !has_owner.body().deserialize::<bool>()? {
            return Ok(None);
        }
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(NAME)
            .path(PATH)
            .interface(NAME)
            .member("PassEnded")
            .build()?;
        MessageStream::for_match_rule(rule, &connection, None).await.map(Some)
    };
    timeout(CONNECT, connect).await.ok()?.unwrap_or_else(|error: zbus::Error| {
        tracing::debug!(%error, "the bus tells nothing of passes");
        None
    })
}

async fn open(parts: &Parts, last: &Arc<Mutex<Summary>>, is_first: bool) -> Option<Connection> {
    let manager = Manager::new(parts.clone(), Arc::clone(last));
    // Exported before the name is taken: nobody finds it empty.
    let build = connection::Builder::system().serve_at(PATH, manager).name(NAME).build();
    let why = match timeout(CONNECT, build).await {
        Ok(Ok(connection)) => return Some(connection),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    if is_first {
        tracing::info!(why, "not on the system bus; all else works without it");
    }
    None
}

async fn tell(connection: &Connection, news: News) -> zbus::Result<()> {
    let object = connection.object_server().interface::<_, Manager>(PATH).await?;
    let emitter = object.signal_emitter();
    match news {
        News::Begun => Manager::pass_begun(emitter).await,
        News::Progress(far) => {
            let [ended, planned, under_way] = far.map(number);
            Manager::pass_progress(emitter, ended, planned, under_way).await
        }
        News::Ended(summary) => {
            let manager = object.get().await;
            manager.last_pass_changed(emitter).await?;
            manager.as_desired_changed(emitter).await?;
            manager.containers_changed(emitter).await?;
            manager.troubled_changed(emitter).await?;
            manager.rejected_changed(emitter).await?;
            let (done, failed) = (number(summary.done), number(summary.failed));
            let remaining = number(summary.remaining);
            Manager::pass_ended(emitter, summary.as_desired, done, failed, remaining).await
        }
    }
}
