// SPDX-License-Identifier: GPL-2.0-or-later

//! Telling a service what to do: systemd by D-Bus, else `systemctl`.
//!
//! D-Bus is the way when it is this machine's systemd that is meant and the system bus answers. Else the
//! `systemctl` in PATH is called as e-smith does it, which has ways of its own to reach systemd.

pub mod bus;

use std::path::Path;
use std::time::Duration;

use crate::event::adjust::Call;
use crate::host::{Error, command};
use crate::settings::Root;
use crate::state::file::{Adjust, Verb};

use bus::Bus;

/// Whether what systemd does is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until its job has ended, or this long.
    For(Duration),
    /// Only until it has taken the job.
    No,
}

/// For `systemctl --no-block`, and for an answer of the bus.
const ANSWER: Duration = Duration::from_secs(60);

/// The way to the services below a root.
#[derive(Debug)]
pub struct Services(Option<Bus>);

impl Services {
    /// Looks which way there is.
    pub async fn open(root: &Root) -> Self {
        Self(if is_booted() && root.is_host() { Bus::open().await } else { None })
    }

    /// Makes `unit` (with its suffix) do `call`.
    ///
    /// # Errors
    ///
    /// systemd refuses it, it fails, or it takes too long.
    pub async fn call(&mut self, unit: &str, call: &Call, wait: Wait) -> Result<(), Error> {
        let doing = || format!("{call} {unit}");
        if let Some(bus) = &mut self.0 {
            return bus
                .call(unit, call, wait)
                .await
                .map_err(|source| Error::Unit { doing: doing(), source: Box::new(source) });
        }
        let mut words = call.words();
        let limit = match wait {
            Wait::For(limit) => limit,
            Wait::No => {
                words.insert(0, "--no-block".to_owned());
                ANSWER
            }
        };
        words.push(unit.to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        command::run_within(limit, "systemctl", &words, &[], b"")
            .await
            .map(drop)
            .map_err(|source| Error::Command { doing: doing(), source })
    }
}

/// Whether systemd runs this machine. Source: `sd_booted(3)`.
pub(crate) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether there is a unit file for service `name` below `root`.
pub fn exists(root: &Root, name: &str) -> bool {
    ["/usr/lib/systemd/system", "/etc/systemd/system"]
        .iter()
        .any(|directory| root.at(directory).join(format!("{name}.service")).is_file())
}

/// Tells the service; where systemd does not run, or below another root, there is nothing to tell,
/// and the log says so.
///
/// # Errors
///
/// systemd does not do it.
pub async fn adjust(adjust: &Adjust, root: &Root) -> Result<(), Error> {
    let unit = format!("{}.service", adjust.unit);
    if !is_booted() || !root.is_host() {
        tracing::debug!(unit, "not adjusted: systemd does not run this root");
        return Ok(());
    }
    let call = match adjust.verb {
        Verb::ReloadOrRestart => Call::ReloadOrRestart,
        Verb::Restart => Call::Restart,
    };
    // Not waited for: a pass at boot may run before what the service waits for.
    Services::open(root).await.call(&unit, &call, Wait::No).await
}
