// SPDX-License-Identifier: GPL-2.0-or-later

//! What listens, kept listening: nothing of it ends without being begun again, or being told.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Trigger;

/// The first pause before something that has ended is begun again.
const FIRST: Duration = Duration::from_secs(1);

/// The longest one.
const CAP: Duration = Duration::from_secs(60);

/// What has gone on for so long went well.
const WELL: Duration = Duration::from_secs(60);

/// The pauses between beginnings: longer each time, until one has gone well.
#[derive(Debug, Default)]
pub(super) struct Pauses(Duration);

impl Pauses {
    /// The pause after what was begun `ago`.
    pub(super) fn after(&mut self, ago: Duration) -> Duration {
        self.0 = if ago < WELL { CAP.min((self.0 * 2).max(FIRST)) } else { FIRST };
        self.0
    }
}

/// Listens in a thread called `name`, and begins again after a pause when that ends.
///
/// `open` begins; `hear` waits for the next news and tells whether anybody wants more of them; `lost` is what
/// is to be done about what nobody has heard. An end is in the log once, until it is well again.
///
/// # Errors
///
/// There is no thread for it.
pub(super) fn listen<W: Send + 'static>(
    name: &'static str,
    open: impl Fn() -> io::Result<W> + Send + 'static,
    mut hear: impl FnMut(&mut W) -> io::Result<bool> + Send + 'static,
    mut lost: impl FnMut() -> bool + Send + 'static,
) -> io::Result<()> {
    // Before this returns: what happens from now on is heard.
    let mut next = Some(open());
    let work = move || {
        let (mut pauses, mut is_told) = (Pauses::default(), false);
        loop {
            let begun = Instant::now();
            let ended = next.take().unwrap_or_else(&open).and_then(|mut watch| {
                if std::mem::take(&mut is_told) {
                    tracing::info!("{name}: changes are heard again");
                    if !lost() {
                        return Ok(());
                    }
                }
                until_end(&mut watch, &mut hear)
            });
            let Err(error) = ended else { return };
            let pause = pauses.after(begun.elapsed());
            if !std::mem::replace(&mut is_told, true) && pause == FIRST {
                tracing::warn!(%error, "{name}: changes are seen by the timer only; listening is tried again");
            }
            thread::sleep(pause);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Hears until nobody wants more, or it breaks; a fault of ours is an error too.
fn until_end<W>(
    watch: &mut W,
    hear: &mut impl FnMut(&mut W) -> io::Result<bool>,
) -> io::Result<()> {
    let all = || {
        while hear(watch)? {}
        Ok(())
    };
    let fault = |_| Err(io::Error::other("a fault of wharfd, which it has written to stderr"));
    catch_unwind(AssertUnwindSafe(all)).unwrap_or_else(fault)
}

/// Runs `work`, called `name`, beside the others; a fault of ours in it ends `wharfd`, which is started again
/// by who started it. When `work` ends by itself nobody needs it any more.
pub fn task(
    name: &'static str,
    triggers: mpsc::Sender<Trigger>,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let work = tokio::spawn(work);
    tokio::spawn(async move {
        if work.await.is_err_and(|error| error.is_panic()) {
            tracing::error!(name, "a part of wharfd has a fault, which it has written to stderr");
            triggers.send(Trigger::Broken).await.ok();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn pauses_grow_until_one_has_gone_well() {
        let mut pauses = Pauses::default();
        let short = Duration::from_millis(10);
        let grown: Vec<u64> = (0..8).map(|_| pauses.after(short).as_secs()).collect();
        assert_eq!(grown, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses.after(WELL), FIRST);
    }

    #[test]
    fn a_watch_that_breaks_or_has_a_fault_is_begun_again_and_what_was_lost_is_told() {
        let (sender, told) = std::sync::mpsc::channel();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let open = move || Ok(count.fetch_add(1, Ordering::Relaxed));
        let news = sender.clone();
        let hear = move |number: &mut usize| match *number {
            0 => Err(io::Error::other("broken")),
            1 => panic!("a fault, as it is meant"),
            _ => Ok(news.send("heard").is_ok()),
        };
        listen("test", open, hear, move || sender.send("lost").is_ok()).unwrap();
        let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!([next(), next(), next()], ["lost", "lost", "heard"]);
        drop(told);
        assert_eq!(opened.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_part_with_a_fault_ends_the_daemon_and_one_that_is_done_does_not() {
        let (sender, mut triggers) = mpsc::channel(1);
        task("done", sender.clone(), async {});
        task("broken", sender, async { panic!("a fault, as it is meant") });
        assert_eq!(triggers.recv().await, Some(Trigger::Broken));
        assert_eq!(triggers.recv().await, None);
    }
}
