// SPDX-License-Identifier: GPL-2.0-or-later

//! A container's start, also where the one before was cut off with its engine.
//!
//! A Podman that is killed under a start leaves what the container was made of behind: its runtime has
//! the container still (`container with given ID already exists`), or its monitor holds the port. No call
//! of its socket ends them, so the runtime itself is asked to (`host/monitor.rs`).

use bollard::errors::Error as Answer;
use bollard::query_parameters::StartContainerOptions;

use super::{Engine, Error};
use crate::db::value::container_name;
use crate::host::{Error as HostError, outside};
use crate::state::Role;

impl Engine {
    pub(crate) async fn start(&self, name: &str) -> Result<(), HostError> {
        match self.start_once(name).await {
            Err(HostError::Engine { source, .. }) if is_cut_off(&source) => {
                Box::pin(self.end_orphans(name)).await?;
                self.start_once(name).await
            }
            other => other,
        }
    }

    async fn start_once(&self, name: &str) -> Result<(), HostError> {
        let start = self.client().start_container(name, None::<StartContainerOptions>);
        let doing = format!("start container {name}");
        // 304: it runs. A name that is gone is an error here.
        let start = async {
            match start.await {
                Err(Answer::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
                // A paused one is refused; Podman does not say that it is for that.
                Err(Answer::DockerResponseServerError { status_code, message })
                    if message.contains("paused container")
                        || message.contains("state improper") =>
                {
                    let refused = Answer::DockerResponseServerError { status_code, message };
                    self.client().unpause_container(name).await.map_err(|_| refused)
                }
                other => other,
            }
        };
        self.must(doing, start).await
    }

    /// Ends what an earlier start has left of the containers of this engine that are called as `name`, or
    /// as its successor or predecessor, and do not run as far as the engine knows.
    async fn end_orphans(&self, name: &str) -> Result<(), HostError> {
        let info = self.must("ask for its directory", self.client().info()).await?;
        // Without it nobody can say which monitors are this engine's.
        let Some(root) = info.docker_root_dir.filter(|root| !root.is_empty()) else {
            return Ok(());
        };
        let failed = |source| {
            let doing = format!("ending what is left of container {name}");
            HostError::Command { doing, source }
        };
        let record = container_name(name).ok();
        let mut orphans = Vec::new();
        for monitor in outside::monitors(&root, &[]).await.map_err(failed)? {
            let is_called_so = monitor.name == name
                || record.as_ref().is_some_and(|of| Role::of(of, &monitor.name).is_some());
            if !is_called_so {
                continue;
            }
            let found = self.inspect(&monitor.id).await?.and_then(|found| found.state);
            if !found.is_some_and(|state| state.running.unwrap_or_default()) {
                orphans.push(monitor.id);
            }
        }
        if orphans.is_empty() {
            return Ok(());
        }
        let orphans: Vec<&str> = orphans.iter().map(String::as_str).collect();
        for ended in outside::monitors(&root, &orphans).await.map_err(failed)? {
            tracing::warn!(
                container = ended.name,
                id = ended.id,
                "Podman was killed under its start; what was left of it is ended"
            );
        }
        Ok(())
    }
}

/// Whether the engine refuses a start because of what an earlier one has left.
fn is_cut_off(error: &Error) -> bool {
    let Error::Refused { message } = error else { return false };
    let of_runtime = message.contains("OCI runtime error") && message.contains("already exists");
    // The runtime runs it already: /usr/bin/runc start 77e5 failed.
    let of_start = message.contains(" start ") && message.contains("failed: exit status");
    of_runtime || of_start || message.contains("cannot listen on the")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_earlier_start_leaves_is_looked_for() {
        let refused = |message: &str| is_cut_off(&Error::Refused { message: message.to_owned() });
        assert!(refused(
            "runc: runc create failed: container with given ID already exists: OCI runtime error"
        ));
        assert!(refused(
            "cannot listen on the TCP port: listen tcp4 :8119: bind: address already in use"
        ));
        assert!(refused("`/usr/bin/runc start 77e5108ff173` failed: exit status 1"));
        assert!(!refused("runc: exec: \"nothing\": executable file not found: OCI runtime error"));
        assert!(!refused("the container name \"wiki\" is already in use"));
    }
}
