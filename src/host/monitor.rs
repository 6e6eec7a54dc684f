// SPDX-License-Identifier: GPL-2.0-or-later

//! Podman's monitors: what it has beside each container, and how one is ended that was left behind.
//!
//! A confined `wharfd` does not see their command lines and does not know what their runtime needs:
//! [`outside::monitors`](super::outside::monitors) has this done where both are there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::command;
use crate::host::process::Process;

/// How long a monitor may need to see that its container has ended.
const NOTICED: Duration = Duration::from_secs(5);

/// A `conmon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// The engine's number of its container.
    pub id: String,
    /// What the container is called.
    pub name: String,
    /// Where the container's files are, below the engine's own directory.
    pub bundle: PathBuf,
    /// The program that runs the container.
    pub runtime: PathBuf,
}

impl Monitor {
    /// What its command line says (conmon(8)).
    fn of(words: &[String]) -> Option<Self> {
        let value = |flag: &str| {
            let at = words.iter().position(|word| word == flag)?;
            words.get(at + 1).cloned()
        };
        let program = Path::new(words.first()?).file_name()?;
        (program == "conmon").then_some(())?;
        let (bundle, runtime) = (value("-b")?.into(), value("-r")?.into());
        Some(Self { id: value("-c")?, name: value("-n")?, bundle, runtime })
    }

    /// Has its container deleted by the runtime, and waits until it has seen that.
    async fn end(&self, process: Process) -> Result<(), command::Error> {
        let runtime = self.runtime.to_string_lossy();
        // One that the runtime does not have is what was wanted.
        let deleted = command::run(&runtime, &["delete", "--force", &self.id], b"").await;
        if let Err(error @ command::Error::Start { .. }) = deleted {
            return Err(error);
        }
        let ended = tokio::task::spawn_blocking(move || {
            process.ends_within(NOTICED) || {
                process.end_group();
                process.ends_within(NOTICED)
            }
        });
        // It holds the port until then; the start says so if it is still there.
        ended.await.ok();
        Ok(())
    }
}

/// The monitors of the engine whose files are in `root`.
pub fn below(root: &Path) -> Vec<Monitor> {
    processes(root).into_iter().map(|(_, monitor)| monitor).collect()
}

/// Ends the containers `ids` of the engine whose files are in `root`, with their monitors; which they were.
///
/// # Errors
///
/// Their runtime cannot be run.
pub async fn end(root: &Path, ids: &[String]) -> Result<Vec<Monitor>, command::Error> {
    let mut ended = Vec::new();
    for (process, monitor) in processes(root) {
        if ids.contains(&monitor.id) {
            monitor.end(process).await?;
            ended.push(monitor);
        }
    }
    Ok(ended)
}

fn processes(root: &Path) -> Vec<(Process, Monitor)> {
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    let found = processes.filter_map(|process| {
        let monitor = Monitor::of(&process.cmdline().ok()?)?;
        let is_there = monitor.bundle.starts_with(root);
        let process = is_there.then(|| Process::of(process.pid.try_into().ok()?)).flatten();
        Some((process?, monitor))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_monitor_is_known_by_its_command_line() {
        // As Podman 4.3.1 calls it.
        let line = "/usr/bin/conmon --api-version 1 -c 1f2e -u 1f2e -r /usr/bin/runc -b /srv/p/overlay-containers/1f2e/userdata -p /run/p/pidfile -n wiki --exit-dir /run/libpod/exits --full-attach -s -l k8s-file:/srv/p/ctr.log --exit-command /usr/bin/podman --exit-command-arg -n";
        let expected = Monitor {
            id: "1f2e".to_owned(),
            name: "wiki".to_owned(),
            bundle: "/srv/p/overlay-containers/1f2e/userdata".into(),
            runtime: "/usr/bin/runc".into(),
        };
        assert_eq!(Monitor::of(&words(line)), Some(expected));
        assert_eq!(Monitor::of(&words(&line.replace("bin/conmon", "bin/common"))), None);
        assert_eq!(Monitor::of(&words("conmon --version")), None);
        assert_eq!(Monitor::of(&[]), None);
    }
}
