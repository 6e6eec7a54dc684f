// SPDX-License-Identifier: GPL-2.0-or-later

//! Waiting for an engine that went away under a pass.
//!
//! Only for one that is gone: whoever restarts it has it back in seconds. One that hangs has had its time
//! already, and the daemon waits for none, since its other triggers would wait too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::host::Host;
use crate::host::engine::Away;
use crate::reconcile::Context;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Whether the engine came back within the time that `cx` gives it.
pub(super) async fn is_back<H: Host>(cx: &Context<H>, stop: &AtomicBool) -> bool {
    if cx.host.engine_away() != Some(Away::Gone) || cx.engine_wait.is_zero() {
        return false;
    }
    let begun = Instant::now();
    let end = begun + cx.engine_wait;
    tracing::warn!(at_most = ?cx.engine_wait, "the engine is gone; waiting for it");
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        if timeout_at(end, cx.host.engine_answers()).await == Ok(true) {
            tracing::warn!(after = ?begun.elapsed(), "the engine is back");
            return true;
        }
        sleep(PAUSE).await;
    }
    false
}
