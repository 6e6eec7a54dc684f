// SPDX-License-Identifier: GPL-2.0-or-later

//! Places at which a test can have this process killed: before and after each effect of a step.
//!
//! `WHARF_KILL_AT=N` ends the process with SIGKILL at the N-th of them. Only builds with debug
//! assertions listen to it; in a release build a place is nothing.

/// One such place.
#[cfg(not(debug_assertions))]
pub const fn here() {}

/// One such place.
#[cfg(debug_assertions)]
pub fn here() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    static AT: OnceLock<Option<u64>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let at = AT.get_or_init(|| std::env::var("WHARF_KILL_AT").ok()?.parse().ok());
    if at.is_some_and(|at| PASSED.fetch_add(1, Ordering::Relaxed) + 1 == at) {
        // There is no way on from here; a process may always kill itself.
        kill(Pid::this(), Signal::SIGKILL).unwrap_or_default();
    }
}
