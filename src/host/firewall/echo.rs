// SPDX-License-Identifier: GPL-2.0-or-later

//! The table in the words of `nft`, read while others change rules of their own.
//!
//! `nft` begins its list again whenever somebody has changed a rule, and takes a processor until it has one: an engine
//! that stops ten containers changes rules for most of a second. It is ended then, and begun again when the rules stand
//! still.

use std::future;
use std::time::{Duration, Instant};

use crate::host::Error;

use super::noted::Found;
use super::{list, netlink};

/// The rules stand still when nobody has changed one for so long.
const MOMENT: Duration = Duration::from_millis(5);

/// Who changes rules all the time has to be borne: after so long `nft` is left to itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the kernel had the table just before, and the table in words, or `None`.
///
/// # Errors
///
/// As [`list`].
pub(super) async fn read() -> Result<(Found, Option<Vec<u8>>), Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        let is_late = Instant::now() >= end;
        let Some(found) = Found::at_once().or_else(|| is_late.then(Found::now)) else {
            still(end).await;
            continue;
        };
        tokio::select! {
            biased;
            read = list() => return Ok((found, read?)),
            () = change(), if !is_late => still(end).await,
        }
    }
}

/// Until somebody changes a rule; never where the kernel does not tell.
async fn change() {
    let Ok(before) = netlink::generation() else { return future::pending().await };
    while netlink::generation().is_ok_and(|now| now == before) {
        tokio::time::sleep(MOMENT).await;
    }
}

/// Until nobody has changed a rule for a moment, or to the `end`.
async fn still(end: Instant) {
    let mut before = netlink::generation().ok();
    while Instant::now() < end {
        tokio::time::sleep(MOMENT).await;
        let now = netlink::generation().ok();
        if now == before {
            return;
        }
        before = now;
    }
}
