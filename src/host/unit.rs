// SPDX-License-Identifier: GPL-2.0-or-later

//! Making a service take its new files, through `systemctl`.

use std::path::Path;

use crate::host::{Error, command};
use crate::settings::Root;
use crate::state::file::Adjust;

/// Tells the service; where systemd does not run, or below another root, there is nothing to tell,
/// and the log says so.
///
/// # Errors
///
/// `systemctl` fails.
pub async fn adjust(adjust: &Adjust, root: &Root) -> Result<(), Error> {
    // Source: sd_booted(3).
    let booted = Path::new("/run/systemd/system").is_dir();
    let unit = format!("{}.service", adjust.unit);
    if !booted || !root.is_host() {
        tracing::debug!(unit, "not adjusted: systemd does not run this root");
        return Ok(());
    }
    command::run("systemctl", &["--no-block", adjust.verb.as_str(), &unit], b"")
        .await
        .map(drop)
        .map_err(|source| Error::Command {
            doing: format!("{} {unit}", adjust.verb.as_str()),
            source,
        })
}
