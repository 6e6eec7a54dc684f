// SPDX-License-Identifier: GPL-2.0-or-later

//! What the daemon's own health checks have found, for every process that looks: a small file below
//! `/run/wharf`, which counts as long as its daemon lives.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::db::value::{self, ContainerName};
use crate::host::process::Process;
use crate::host::{Error, file};
use crate::settings::Root;
use crate::state::{Health, Observed};

/// The file of what was found.
#[derive(Clone, Debug)]
pub struct Findings(PathBuf);

/// A container's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The engine's id.
    pub id: String,
    /// What it counts as.
    pub health: Health,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    daemon: Process,
    containers: BTreeMap<String, Finding>,
}

impl Findings {
    /// Below `root`.
    pub fn below(root: &Root) -> Self {
        Self(root.at("/run/wharf/health.json"))
    }

    /// Keeps what this process, the daemon, has found.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn keep(&self, findings: &BTreeMap<ContainerName, Finding>) -> Result<(), Error> {
        let Some(daemon) = Process::of(std::process::id()) else { return Ok(()) };
        let of = |(name, finding): (&ContainerName, &Finding)| (name.to_string(), finding.clone());
        let kept = Kept { daemon, containers: findings.iter().map(of).collect() };
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        file::replace(&self.0, &text, 0o600)
            .map_err(|source| Error::File { path: self.0.clone(), source })
    }

    /// Writes what was found into `observed`, where the engine knows nothing itself.
    pub(crate) fn tell(&self, observed: &mut Observed) {
        let Ok(text) = fs::read(&self.0) else { return };
        let Ok(kept) = serde_json::from_slice::<Kept>(&text) else { return };
        if !kept.daemon.lives() {
            return;
        }
        for (name, finding) in kept.containers {
            let name = value::container_name(&name).ok();
            let found = name.and_then(|name| observed.containers.get_mut(&name));
            if let Some(found) = found
                && found.health.is_none()
                && found.id == finding.id
                && found.state.is_up()
            {
                found.health = Some(finding.health);
            }
        }
    }
}
