// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf status --watch`: the same again when something has changed.

use std::error::Error;
use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Zoned;
use tokio::time::sleep;
use zbus::MessageStream;

use crate::cli::command::Output;
use crate::cli::{Desk, Exit, block_on, complain, log, progress, show, stop_by_signal};
use crate::daemon::dbus;
use crate::host::{System, engine};
use crate::reconcile::report::chain;
use crate::reconcile::{self, Context, Mode, Report, Wish};
use crate::settings::zone;

/// Between two looks.
const PACE: Duration = Duration::from_secs(2);

/// The same when the daemon tells of its passes: only what happens between them is looked for.
const SLOW_PACE: Duration = Duration::from_secs(10);

/// Shows the status until Ctrl-C or SIGTERM, or until nobody reads it any more; an engine that is away is
/// waited for.
pub(super) fn watch(root: &Path, output: Output, show: fn(&Report) -> String) -> Exit {
    log(tracing::level_filters::LevelFilter::ERROR);
    let stop = stop_by_signal();
    let mut watch = Watch { root, output, show, cx: None, silent: None };
    let work = async {
        let mut passes = dbus::passes().await;
        let pace = if passes.is_some() { SLOW_PACE } else { PACE };
        let mut shown = None;
        loop {
            let Some(text) = watch.seen().await else { return Exit::Failed };
            if shown.as_ref() != Some(&text) {
                if draw(&text, output, shown.is_none()).is_err() {
                    return Exit::Done;
                }
                shown = Some(text);
            }
            tokio::select! {
                () = progress::stopped(&stop) => return Exit::Done,
                () = told(&mut passes) => {}
                () = sleep(pace) => {}
            }
        }
    };
    block_on(work).unwrap_or(Exit::Failed)
}

/// What is looked at again and again.
struct Watch<'a> {
    root: &'a Path,
    output: Output,
    show: fn(&Report) -> String,
    /// None before an engine was there.
    cx: Option<Context<System>>,
    /// Since when nothing can be known.
    silent: Option<Zoned>,
}

impl Watch<'_> {
    /// The status now, or why it cannot be known; `None`, with the reason printed, when it never will.
    async fn seen(&mut self) -> Option<String> {
        if self.cx.is_none() {
            match Desk::open(self.root)?.try_context() {
                Ok((cx, _)) => self.cx = Some(cx),
                Err(error @ engine::Error::Unreachable { .. }) => {
                    let remedy = error.remedy();
                    return Some(self.silence(&error, remedy));
                }
                Err(error) => {
                    complain(&error, error.remedy().as_deref());
                    return None;
                }
            }
        }
        let cx = self.cx.as_ref()?;
        let (wish, stop) = (Wish::default(), AtomicBool::new(false));
        match Box::pin(reconcile::pass(cx, Mode::Look, &wish, &stop)).await {
            Ok(report) => {
                self.silent = None;
                Some(if self.output.json {
                    serde_json::to_string(&report).unwrap_or_default() + "\n"
                } else {
                    (self.show)(&report) + &show::faults(&report)
                })
            }
            Err(error) => {
                let remedy = error.remedy();
                Some(self.silence(&error, remedy))
            }
        }
    }

    /// Why nothing can be known, and since when.
    fn silence(&mut self, error: &dyn Error, remedy: Option<String>) -> String {
        let since = self.silent.get_or_insert_with(zone::now);
        if self.output.json {
            let (why, since) = (chain(error), since.timestamp());
            let said = serde_json::json!({ "error": why, "remedy": remedy, "since": since });
            return said.to_string() + "\n";
        }
        let hint = remedy.map(|remedy| format!("  hint: {remedy}\n")).unwrap_or_default();
        let (why, since) = (chain(error).join(": "), since.strftime("%F %T"));
        format!("error: {why}\n  since {since}; asked again and again\n{hint}")
    }
}

/// Waits for the end of a pass; for ever when nobody tells.
async fn told(passes: &mut Option<MessageStream>) {
    let Some(stream) = passes else { return pending().await };
    if stream.next().await.is_none() {
        *passes = None;
    }
}

/// In the place of what was there on a terminal, else below it.
fn draw(text: &str, output: Output, is_first: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !output.json && out.is_terminal() {
        // Home, and away with the rest: clearing first would flicker.
        let lines = text.replace('\n', "\x1b[K\n");
        write!(out, "\x1b[H{}{lines}\x1b[J", if is_first { "\x1b[2J" } else { "" })?;
    } else if output.json || is_first {
        out.write_all(text.as_bytes())?;
    } else {
        write!(out, "\n{text}")?;
    }
    out.flush()
}
