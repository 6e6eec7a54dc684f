// SPDX-License-Identifier: GPL-2.0-or-later

//! What `wharf doctor` looks at beside a pass: kernel, room, files, clock, units. Changes nothing.

mod disk;
mod kernel;
mod service;

use std::path::Path;

use jiff::Timestamp;
use nix::unistd::geteuid;

use crate::db::Location;
use crate::host::{Error, presence};
use crate::settings::Root;
use crate::state::checkup::{Checkup, Clock};

/// Fills in what can be seen without records and engine; `checkup` brings the rest.
pub async fn look(root: &Root, store: &Location, data_root: Option<&Path>, checkup: &mut Checkup) {
    checkup.cgroup = kernel::cgroup();
    checkup.modules = kernel::modules();
    checkup.sysctls = kernel::sysctls();
    checkup.guard.closed_by = service::closed_by().await;
    checkup.resolver = service::resolver();
    checkup.clock = Clock {
        now: Timestamp::now(),
        latest: disk::latest(root),
        is_synchronised: service::is_synchronised().await,
    };
    checkup.disks = disk::disks(root, store, data_root);
    checkup.files = disk::files(root, store);
    checkup.uid = geteuid().as_raw();
    checkup.daemon = presence::seen(root).map_err(|error: Error| error.to_string());
    checkup.cron = service::cron(root);
    checkup.units = service::units(root).await;
}
