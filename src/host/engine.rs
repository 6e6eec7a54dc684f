// SPDX-License-Identifier: GPL-2.0-or-later

//! The container engine over its socket: the list that an observation is made from, and one call or
//! a few for each step.
//!
//! Every call has a time limit. The engine's `already done` answers (304, a name that is gone) are no
//! errors, so each step may be repeated.

mod about;
pub mod body;
mod client;
pub mod endpoint;
mod error;
pub mod happened;
pub mod image;
mod layer;
mod limit;
pub mod list;
pub mod logs;
mod network;
mod observe;
mod replace;
pub mod settings;
mod start;
mod whose;

use std::future::ready;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::errors::Error as Answer;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, HealthStatusEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
    RestartContainerOptions, StopContainerOptions,
};
use bollard::{ClientVersion, Docker};
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::db::value::ContainerName;
use crate::host::Error as HostError;
use crate::host::progress::Progress;
use crate::plan::NewContainer;
use crate::state::Health;
use crate::state::socket::Listed;

pub use endpoint::{BadEndpoint, Endpoint};
pub use error::Error;
pub use limit::Away;

use client::Client;

/// The oldest version of the API that is spoken: Docker 20.10's, and Podman 4's compatible socket.
///
/// A newer engine that does not speak it any more (Docker 29 begins at 1.44) is asked for its own.
const API: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// How long an engine may need to clean up after a container that has ended, or to be through with what a
/// pass that was cut has asked for.
const ENDING: Duration = Duration::from_secs(5);

/// Between two looks meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// A container engine.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    is_podman: OnceLock<bool>,
    endpoint: String,
    /// Where it is at a socket of this host.
    socket: Option<PathBuf>,
    limit: Duration,
    /// For each sign of life of a pull or a load.
    silence: Duration,
    /// Whether it was found to answer nobody.
    away: watch::Sender<Option<Away>>,
    /// Where it is told how much of an image has come.
    progress: Arc<Progress>,
    /// Calls that it did not answer, or refused.
    errors: AtomicU64,
}

impl Engine {
    /// The engine at `endpoint`; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Its certificates cannot be used.
    pub fn new(endpoint: &Endpoint, limit: Duration) -> Result<Self, Error> {
        Self::speaking(endpoint, limit, &API)
    }

    /// The same, speaking `version` of the API at first.
    ///
    /// # Errors
    ///
    /// Its certificates cannot be used.
    pub fn speaking(
        endpoint: &Endpoint,
        limit: Duration,
        version: &ClientVersion,
    ) -> Result<Self, Error> {
        Ok(Self {
            client: Client::new(endpoint, version)?,
            is_podman: OnceLock::new(),
            endpoint: endpoint.to_string(),
            socket: match endpoint {
                Endpoint::Unix(path) => Some(path.clone()),
                Endpoint::Loopback(_) | Endpoint::Tls(..) => None,
            },
            limit,
            silence: image::SILENCE,
            away: watch::Sender::new(None),
            progress: Arc::default(),
            errors: AtomicU64::new(0),
        })
    }

    pub(crate) const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The same, which may be silent for `silence` while it gets an image.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    fn client(&self) -> &Docker {
        self.client.get()
    }

    /// Asks the engine which version of the API it speaks, and speaks that from now on.
    async fn negotiate(&self) -> Result<(), HostError> {
        let ask = self.client.first().clone().negotiate_version();
        if let Some(client) = self.call("ask for its version", self.limit, ask).await? {
            self.client.keep(client);
        }
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "thirty ways of a broken connection")]
    fn error(&self, source: Answer) -> Error {
        let endpoint = self.endpoint.clone();
        match source {
            Answer::DockerResponseServerError { message, .. } => Error::Refused { message },
            Answer::DockerStreamError { error } => Error::Refused { message: error },
            Answer::RequestTimeoutError => Error::Silent { endpoint, limit: self.limit },
            other if endpoint::is_unreachable(&other) => {
                Error::Unreachable { endpoint, source: other }
            }
            other => Error::Broken { endpoint, source: other },
        }
    }

    fn failed(&self, doing: impl Into<String>, source: Answer) -> HostError {
        let source = Box::new(self.error(source));
        HostError::Engine { doing: doing.into(), source }
    }

    /// Every container with the ports that it publishes now, and on which addresses.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn listed(&self) -> Result<Vec<Listed>, HostError> {
        Ok(self.list().await?.into_iter().map(list::listed).collect())
    }

    /// All containers.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn list(&self) -> Result<Vec<ContainerSummary>, HostError> {
        self.ask_again();
        let begun = Instant::now();
        loop {
            let options = ListContainersOptionsBuilder::default().all(true).build();
            let list = self.client().list_containers(Some(options));
            match self.call("list containers", self.limit, list).await {
                Err(HostError::Engine { source, .. })
                    if source.is_about_an_end() && begun.elapsed() < ENDING =>
                {
                    sleep(AGAIN).await;
                }
                other => return Ok(other?.unwrap_or_default()),
            }
        }
    }

    /// What the engine knows of container `id`; `None` when there is none.
    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, HostError> {
        let begun = Instant::now();
        loop {
            let inspect = self.client().inspect_container(id, None::<InspectContainerOptions>);
            match self.call("inspect container", self.limit, inspect).await {
                Err(HostError::Engine { source, .. })
                    if source.is_about_an_end() && begun.elapsed() < ENDING =>
                {
                    sleep(AGAIN).await;
                }
                other => return other,
            }
        }
    }

    /// Creates a container under its record's name; an unfinished one of the same spec is taken, and then
    /// its id is not told.
    pub(crate) async fn create(&self, new: &NewContainer) -> Result<Option<String>, HostError> {
        self.create_as(new, new.spec.name.as_str(), &[]).await
    }

    async fn create_as(
        &self,
        new: &NewContainer,
        name: &str,
        kept: &[KeptVolume],
    ) -> Result<Option<String>, HostError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let body = body::body(new, kept);
        let create = async {
            let begun = Instant::now();
            loop {
                let create = self.client().create_container(Some(options.clone()), body.clone());
                match create.await {
                    // A pass that was cut has asked for it, and the engine was still at it when the list
                    // was made.
                    Err(taken @ Answer::DockerResponseServerError { status_code: 409, .. }) => {
                        match self.is_made(name, new).await {
                            Some(true) => return Ok(None),
                            // Docker gives the name out before the container can be seen.
                            None if begun.elapsed() < ENDING => sleep(AGAIN).await,
                            Some(false) | None => return Err(taken),
                        }
                    }
                    other => return other.map(|made| Some(made.id)),
                }
            }
        };
        self.must(format!("create container {name}"), Box::pin(create)).await
    }

    /// Whether the container `name` is what `new` asks for; `None` when there is none to be seen.
    async fn is_made(&self, name: &str, new: &NewContainer) -> Option<bool> {
        let found = self.client().inspect_container(name, None::<InspectContainerOptions>).await;
        if matches!(found, Err(Answer::DockerResponseServerError { status_code: 404, .. })) {
            return None;
        }
        let labels = found.ok().and_then(|found| found.config).and_then(|config| config.labels);
        let is = |label: &str, value: &str| {
            labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|is| is == value)
        };
        Some(
            is(list::LABEL_RECORD, new.spec.name.as_str())
                && is(list::LABEL_HASH, new.spec.hash().as_str()),
        )
    }

    /// Ends its process, within the grace that the container was made with.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), HostError> {
        self.stop_within(id, self.grace(id).await?).await
    }

    /// The same for one whose `grace` is known.
    async fn stop_within(&self, id: &str, grace: Duration) -> Result<(), HostError> {
        // The engine waits for the container's own grace (a day at most) before it answers.
        let limit = self.limit + grace;
        let mut patient = self.client().clone();
        patient.set_timeout(limit + limit::AFTER_OURS);
        let stop = patient.stop_container(id, None::<StopContainerOptions>);
        self.call("stop container", limit, stop).await.map(drop)
    }

    pub(crate) async fn restart(&self, name: &str) -> Result<(), HostError> {
        let limit = self.limit + self.grace(name).await?;
        let mut patient = self.client().clone();
        patient.set_timeout(limit + limit::AFTER_OURS);
        let restart = patient.restart_container(name, None::<RestartContainerOptions>);
        self.call(format!("restart container {name}"), limit, restart).await.map(drop)
    }

    pub(super) async fn grace(&self, id: &str) -> Result<Duration, HostError> {
        Ok(grace_of(self.inspect(id).await?.as_ref()))
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), HostError> {
        // Without `v`: named volumes hold declared data and are never removed with a container.
        let options = RemoveContainerOptionsBuilder::default().force(true).v(false).build();
        let remove = async {
            match self.client().remove_container(id, Some(options)).await {
                // Somebody else is at it, or we were, when we gave the answer up.
                Err(Answer::DockerResponseServerError { status_code: 409, message })
                    if message.contains("already in progress") =>
                {
                    self.gone(id).await
                }
                other => other,
            }
        };
        self.call("remove container", self.limit, remove).await.map(drop)
    }

    /// Waits until there is no such container.
    async fn gone(&self, id: &str) -> Result<(), Answer> {
        loop {
            self.client().inspect_container(id, None::<InspectContainerOptions>).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), HostError> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        let rename = self.client().rename_container(id, options);
        self.must(format!("rename container to {name}"), rename).await
    }

    /// How a container ended, when it has, and its health.
    pub(crate) async fn state(
        &self,
        name: &ContainerName,
    ) -> Result<(Option<String>, Option<Health>), HostError> {
        let found = self.inspect(name.as_str()).await?;
        let Some(state) = found.and_then(|found| found.state) else {
            return Ok((Some("there is no such container".to_owned()), None));
        };
        let ended = match state.status {
            Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
                Some(format!("exit code {}", state.exit_code.unwrap_or_default()))
            }
            _ => None,
        };
        let health =
            state.health.and_then(|health| health.status).and_then(|status| match status {
                HealthStatusEnum::STARTING => Some(Health::Starting),
                HealthStatusEnum::HEALTHY => Some(Health::Healthy),
                HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
                HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
            });
        Ok((ended, health))
    }

    /// Whether somebody answers at all.
    pub async fn answers(&self) -> bool {
        self.ask_again();
        self.negotiate().await.is_ok()
    }

    /// The ends of containers that carry our label, and what others change at them, as it happens, for as long as
    /// the engine lives.
    pub fn news(&self) -> impl Stream<Item = Result<News, HostError>> + '_ {
        let filters = [
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), ["die", "destroy", "oom", UPDATE].map(str::to_owned).to_vec()),
        ];
        let options = EventsOptionsBuilder::default().filters(&filters.into()).build();
        // For the answer to begin; between two events there may be years.
        let mut client = self.client().clone();
        client.set_timeout(self.limit.max(Duration::from_secs(1)));
        // Whose they are is told by the label; asked for it alone, Podman 5.4 says nothing.
        client.events(Some(options)).filter_map(|event| {
            let news = event.map_err(|error| self.failed("watch events", error)).map(|event| {
                let record = event.actor?.attributes?.remove(list::LABEL_RECORD)?;
                Some(if event.action.as_deref() == Some(UPDATE) {
                    News::Changed(record)
                } else {
                    News::Ended(record)
                })
            });
            ready(news.transpose())
        })
    }
}

/// How long the engine waits at a stop for the container that was `found`.
fn grace_of(found: Option<&ContainerInspectResponse>) -> Duration {
    let seconds = found.and_then(|found| found.config.as_ref()?.stop_timeout);
    Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(10))
}

/// What happened to the container of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It has ended, or is gone.
    Ended(String),
    /// Its limits or its restart policy were set.
    Changed(String),
}

/// The engine's word for it.
const UPDATE: &str = "update";

/// A volume of the old container that the new one takes over.
#[derive(Clone, Debug)]
pub(crate) struct KeptVolume {
    /// The engine's name for it.
    pub(crate) name: String,
    /// Where it is mounted.
    pub(crate) target: String,
}

/// Whether the engine made the name: 64 hexadecimal digits.
fn is_unnamed(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the answer means that it is so already: 304, or the thing is not there.
fn is_done(error: &Answer) -> bool {
    matches!(error, Answer::DockerResponseServerError { status_code: 304 | 404, .. })
}
