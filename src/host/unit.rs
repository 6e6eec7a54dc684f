// SPDX-License-Identifier: GPL-2.0-or-later

//! Telling a service what to do: systemd by D-Bus, else `systemctl`.
//!
//! D-Bus is the way when it is this machine's systemd that is meant and the system bus answers. Else the
//! `systemctl` in PATH is called as e-smith does it, which has ways of its own to reach systemd.

pub mod bus;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::adjust::Call;
use crate::host::{Error, command};
use crate::settings::Root;
use crate::state::file::{Adjust, Verb};
use crate::state::{IdleUnit, PacketFilter};

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

/// The unit that loads the guard of `filter` at boot below `root`, when it is installed and does not begin
/// with the machine. Read from the files that `systemctl enable` and `mask` make: a pass asks no service.
/// Source: `systemd.unit(5)`.
pub fn idle_guard(root: &Root, filter: PacketFilter) -> Option<IdleUnit> {
    let name = match filter {
        PacketFilter::Nftables => "wharf-guard.service",
        PacketFilter::Iptables => "wharf-guard-iptables.service",
    };
    let places = ["/etc/systemd/system", "/usr/lib/systemd/system"].map(|path| root.at(path));
    let [own, vendor] = &places;
    // A unit that is masked keeps the links by which it was enabled.
    if own.join(name).read_link().is_ok_and(|to| to == Path::new("/dev/null")) {
        return Some(IdleUnit { name, is_masked: true });
    }
    let is_wanted =
        |place: &PathBuf| place.join("sysinit.target.wants").join(name).symlink_metadata().is_ok();
    let is_installed = vendor.join(name).is_file();
    (is_installed && !places.iter().any(is_wanted)).then_some(IdleUnit { name, is_masked: false })
}

/// Makes `unit` begin with the machine.
///
/// # Errors
///
/// systemd refuses it.
pub async fn enable(unit: &str, root: &Root) -> Result<(), Error> {
    Services::open(root).await.call(unit, &Call::Enable, Wait::No).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_does_not_begin_with_the_machine_is_seen_by_the_links_that_systemctl_makes() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let seen = || idle_guard(&root, PacketFilter::Nftables).map(|unit| unit.is_masked);
        let name = "wharf-guard.service";
        assert_eq!(seen(), None, "not installed");

        let vendor = root.at("/usr/lib/systemd/system");
        let wants = root.at("/etc/systemd/system/sysinit.target.wants");
        std::fs::create_dir_all(&vendor).unwrap();
        std::fs::create_dir_all(&wants).unwrap();
        crate::host::file::replace(&vendor.join(name), b"[Unit]\n", 0o644).unwrap();
        assert_eq!(seen(), Some(false));
        assert_eq!(idle_guard(&root, PacketFilter::Iptables), None);

        std::os::unix::fs::symlink(vendor.join(name), wants.join(name)).unwrap();
        assert_eq!(seen(), None);
        std::os::unix::fs::symlink("/dev/null", root.at("/etc/systemd/system").join(name)).unwrap();
        assert_eq!(seen(), Some(true));
    }
}
