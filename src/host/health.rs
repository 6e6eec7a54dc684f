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
        self.write(&Kept { daemon, containers: findings.iter().map(of).collect() })
    }

    /// Drops what was found of `name`: it has just been started anew.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn forget(&self, name: &ContainerName) -> Result<(), Error> {
        let Some(mut kept) = self.read() else { return Ok(()) };
        if kept.containers.remove(name.as_str()).is_none() {
            return Ok(());
        }
        self.write(&kept)
    }

    fn read(&self) -> Option<Kept> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    fn write(&self, kept: &Kept) -> Result<(), Error> {
        let text = serde_json::to_vec(kept).unwrap_or_default();
        file::replace(&self.0, &text, 0o600)
            .map_err(|source| Error::File { path: self.0.clone(), source })
    }

    /// Writes what was found into `observed`, where the engine knows nothing itself.
    pub(crate) fn tell(&self, observed: &mut Observed) {
        let Some(kept) = self.read().filter(|kept| kept.daemon.lives()) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{ObservedContainer, Running};

    fn observed(id: &str) -> (ContainerName, Observed) {
        let name = value::container_name("wiki").unwrap();
        let found = ObservedContainer {
            networks: None,
            address: None,
            settings: None,
            id: id.to_owned(),
            hash: String::new(),
            generation: 1,
            image_id: String::new(),
            image_current: true,
            state: Running::Running,
            status: String::new(),
            health: None,
            published: std::collections::BTreeSet::new(),
        };
        let containers = [(name.clone(), found)].into();
        (name, Observed { containers, ..Observed::default() })
    }

    #[test]
    fn a_finding_counts_for_its_container_and_as_long_as_its_daemon_lives() {
        let directory = tempfile::tempdir().unwrap();
        let findings = Findings::below(&Root::new(directory.path()));
        let health = |id| {
            let (name, mut observed) = observed(id);
            findings.tell(&mut observed);
            observed.containers[&name].health
        };
        assert_eq!(health("a"), None);
        let (name, _) = observed("a");
        let finding = Finding { id: "a".to_owned(), health: Health::Unhealthy };
        findings.keep(&[(name.clone(), finding)].into()).unwrap();
        assert_eq!(health("a"), Some(Health::Unhealthy));
        assert_eq!(health("b"), None, "another container");

        findings.forget(&name).unwrap();
        assert_eq!(health("a"), None, "it was started anew");

        let finding = Finding { id: "a".to_owned(), health: Health::Healthy };
        let daemon = Process { id: std::process::id(), born: 1 };
        let containers = [("wiki".to_owned(), finding)].into();
        findings.write(&Kept { daemon, containers }).unwrap();
        assert_eq!(health("a"), None, "its daemon is gone");
    }
}
