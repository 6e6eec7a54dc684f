// SPDX-License-Identifier: GPL-2.0-or-later

//! One container in the place of another, and back.
//!
//! Every state between has one reading by names and labels: with [`Role::Next`] the old one is in
//! service; with [`Role::Previous`] and no `NAME` it gets its name back; with `NAME` and
//! [`Role::Previous`] the new one has still to show that it serves.

use bollard::container::LogOutput;
use bollard::errors::Error as Answer;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Engine, KeptVolume, grace_of, is_unnamed, list};
use crate::db::value::{ContainerName, one_line};
use crate::host::{Error as HostError, alive};
use crate::plan::NewContainer;
use crate::state::Role;
use crate::state::trouble::Autopsy;

/// Lines of a log that are shown.
const LAST_LINES: usize = 5;

/// Characters of such a line that are shown.
const LINE: usize = 200;

impl Engine {
    /// Makes a new container, stops `old` as late as possible, and gives its name over; the new one is
    /// not started.
    ///
    /// Until the stop nothing is interrupted, whatever fails. The id of the new one, when it was told.
    pub(crate) async fn put_in_place(
        &self,
        old: &str,
        new: &NewContainer,
    ) -> Result<Option<String>, HostError> {
        let name = &new.spec.name;
        let next = Role::Next.name(name);
        let (found, left) = tokio::try_join!(self.inspect(old), self.inspect(&next))?;
        let grace = grace_of(found.as_ref());
        let id = self.create_next(new, &next, left, &unnamed_volumes(found)).await?;
        self.stop_within(old, grace).await?;
        self.rename(old, &Role::Previous.name(name)).await?;
        self.rename(&next, name.as_str()).await?;
        Ok(id)
    }

    /// Creates the new container under its temporary name; what is `left` there goes first when it is ours,
    /// and stays when it is somebody else's.
    async fn create_next(
        &self,
        new: &NewContainer,
        next: &str,
        left: Option<ContainerInspectResponse>,
        kept: &[KeptVolume],
    ) -> Result<Option<String>, HostError> {
        let id = left.and_then(|found| {
            let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
            let is_ours =
                labels.get(list::LABEL_RECORD).is_some_and(|of| of == new.spec.name.as_str());
            found.id.filter(|_| is_ours)
        });
        if let Some(id) = id {
            self.remove(&id).await?;
        }
        self.create_as(new, next, kept).await
    }

    /// Takes the container in service under `name` away and gives `old` its name back; it runs again
    /// when it did before.
    pub(crate) async fn go_back(
        &self,
        name: &ContainerName,
        old: &str,
        old_is_up: bool,
    ) -> Result<(), HostError> {
        // Both have the same fixed address and ports, so one goes before the other comes.
        self.stop(name.as_str()).await?;
        self.remove(name.as_str()).await?;
        self.rename(old, name.as_str()).await?;
        if old_is_up {
            self.start(name.as_str()).await?;
        }
        Ok(())
    }

    /// How the container `name` ended, or what it says while it runs.
    pub(crate) async fn autopsy(&self, name: &ContainerName) -> Result<Autopsy, HostError> {
        let found = self.inspect(name.as_str()).await?;
        let Some(state) = found.and_then(|found| found.state) else {
            return Ok(Autopsy::default());
        };
        let runs = state.running.unwrap_or_default();
        Ok(Autopsy {
            exit_code: state.exit_code.filter(|_| !runs),
            is_out_of_memory: state.oom_killed.unwrap_or_default(),
            ended_at: state
                .finished_at
                .filter(|_| !runs)
                .and_then(|at| at.parse::<Timestamp>().ok()),
            last_lines: self.last_lines(name).await?,
        })
    }

    /// The end of the log of container `name`, cut to what can be read in a sentence.
    async fn last_lines(&self, name: &ContainerName) -> Result<Vec<String>, HostError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&LAST_LINES.to_string())
            .build();
        let mut stream = Box::pin(self.client().logs(name.as_str(), Some(options)));
        let read = async {
            let mut text = Vec::new();
            while let Some(output) = stream.next().await {
                match output {
                    Ok(
                        LogOutput::StdErr { message }
                        | LogOutput::StdOut { message }
                        | LogOutput::StdIn { message }
                        | LogOutput::Console { message },
                    ) => text.extend_from_slice(&message),
                    Err(Answer::DockerResponseServerError { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(text)
        };
        // A log that cannot be had says nothing, and is no reason to do nothing.
        let _wait = alive::within(self.limit);
        let text = timeout(self.limit, read).await.unwrap_or_else(|_| Ok(Vec::new()));
        let text = text.map_err(|error| self.failed("read a log", error))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<String> = text
            .lines()
            .map(|line| one_line(line.trim_end()).chars().take(LINE).collect())
            .collect();
        let first = lines.len().saturating_sub(LAST_LINES);
        Ok(lines.into_iter().skip(first).collect())
    }
}

/// The volumes that an image declares and no record names: their data would else stay behind with the old
/// container.
fn unnamed_volumes(found: Option<ContainerInspectResponse>) -> Vec<KeptVolume> {
    let mounts = found.and_then(|found| found.mounts).unwrap_or_default();
    mounts
        .into_iter()
        .filter_map(|mount| {
            let name = mount.name.filter(|name| is_unnamed(name))?;
            Some(KeptVolume { name, target: mount.destination? })
        })
        .collect()
}
