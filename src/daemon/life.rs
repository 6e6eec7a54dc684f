// SPDX-License-Identifier: GPL-2.0-or-later

//! What the owner task tells about itself: that it lives, and how things are.
//!
//! The sign of life is given by the task that makes the passes, between them and, while one is under
//! way, only as long as that one gets on. A task beside it would go on for ever.

use std::future::pending;
use std::pin::pin;

use tokio::time::{Instant, sleep_until};

use super::Trigger;
use super::retry::End;
use crate::host::alive::Life;
use crate::host::notify::Notifier;
use crate::reconcile::Report;
use crate::settings::zone;

/// Names in the line of the status; who wants more asks `wharf status`.
const MOST: usize = 5;

/// Waits until the sign after that of `last` is due; for ever when nobody waits for one.
pub(super) async fn due(notifier: &Notifier, last: Instant) {
    match notifier.pace {
        Some(pace) => sleep_until(last + pace).await,
        None => pending().await,
    }
}

/// Makes `pass`, with signs of life while it gets on.
pub(super) async fn with_signs<T>(notifier: &Notifier, pass: impl Future<Output = T>) -> T {
    let life = Life::default();
    let mut pass = pin!(life.of(pass));
    let mut is_told = false;
    loop {
        if life.is_alive() {
            notifier.alive();
        } else if !std::mem::replace(&mut is_told, true) {
            tracing::error!("the pass does not get on: nothing in it may take so long");
        }
        let sign = Instant::now();
        tokio::select! {
            biased;
            result = &mut pass => return result,
            () = due(notifier, sign) => {}
        }
    }
}

/// One line about the last pass.
pub(super) fn status(cause: &Trigger, end: End, last: Option<&Report>) -> String {
    let now = zone::now().strftime("%F %T");
    let report = match (end, last) {
        (End::NoEngine, _) => return format!("the engine does not answer ({cause}, {now})"),
        (End::Quiet | End::Undone, None) => return format!("no pass was made ({cause}, {now})"),
        (End::Quiet | End::Undone, Some(report)) => report,
    };
    let mut off: Vec<&str> = report.troubled.iter().map(String::as_str).collect();
    let of_steps = report.remaining.iter().map(|step| step.record.as_deref());
    let of_failures = report.failed.iter().map(|failure| failure.record.as_deref());
    let rejected = report.rejected.iter().map(|rejection| Some(rejection.key.as_str()));
    off.extend(of_steps.chain(of_failures).chain(rejected).map(|record| record.unwrap_or("host")));
    off.sort_unstable();
    off.dedup();
    let how = match off.len() {
        0 if end == End::Quiet => format!("{} as desired", report.containers.len()),
        0 => "something was left undone".to_owned(),
        count => {
            let more = if count > MOST { ", ..." } else { "" };
            format!("not as desired: {}{more}", off[..count.min(MOST)].join(", "))
        }
    };
    format!("{how} ({cause}, {now})")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::host::alive;

    /// Signs of life that were heard since they were counted last.
    fn signs(socket: &UnixDatagram) -> usize {
        let mut bytes = [0; 64];
        std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_does_not_get_on_gives_no_signs_and_one_that_waits_in_time_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::of_environment(&|name| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some("40000000".into()),
            _ => None,
        });
        let pass = async {
            let wait = alive::within(Duration::from_secs(90));
            sleep(Duration::from_secs(90)).await;
            assert_eq!(signs(&socket), 9, "an answer that may take longer than the grace");
            drop(wait);
            sleep(Duration::from_secs(600)).await;
            assert_eq!(signs(&socket), 3, "nothing may take longer than half a minute more");
            alive::moved();
            sleep(Duration::from_secs(15)).await;
            assert_eq!(signs(&socket), 2, "it got on");
        };
        with_signs(&notifier, pass).await;
    }

    #[test]
    fn the_line_names_what_is_not_as_desired_once() {
        let troubled = ["shop", "wiki"].map(str::to_owned).into();
        let report = Report { troubled, ..Report::default() };
        let line = status(&Trigger::Signal, End::Undone, Some(&report));
        assert!(line.starts_with("not as desired: shop, wiki (signal, "), "{line}");
        let line = status(&Trigger::Timer, End::Quiet, Some(&Report::default()));
        assert!(line.starts_with("0 as desired (timer, "), "{line}");
        let line = status(&Trigger::Timer, End::NoEngine, Some(&report));
        assert!(line.starts_with("the engine does not answer (timer, "), "{line}");
    }
}
