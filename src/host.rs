// SPDX-License-Identifier: GPL-2.0-or-later

//! The machine: two verbs, observe and perform, and the parts behind them.
//!
//! [`System`] is the real one. Everything here has effects and no opinion: what to look at comes in
//! as a [`Query`], what to do as a [`Step`]; a step that is done already is no error.

pub mod command;
pub mod engine;
pub mod events;
pub mod failpoint;
#[cfg(test)]
pub(crate) mod fake;
pub mod file;
pub mod firewall;
pub mod handler;
pub mod health;
pub mod journal;
pub mod lock;
pub mod machine;
pub mod memory;
mod netlink;
pub mod network;
pub mod overrides;
pub mod owed;
pub mod past;
mod podman;
pub mod probe;
pub mod process;
pub mod ready;
mod replace;
pub mod socket;
pub mod sysctl;
pub mod syslog;
pub mod target;
pub mod turn;
pub mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use nix::unistd::geteuid;
use serde_json::Value;

use crate::db::value::ContainerName;
use crate::plan::{Step, StepId};
use crate::settings::Root;
use crate::state::layer::{Layer, LayerQuery};
use crate::state::trouble::{Autopsy, Trouble};
use crate::state::{Bridge, Observed, ObservedGuard, ObservedNetwork, PacketFilter, Query};

/// Why the machine could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine did not do it.
    #[error("engine: {doing}")]
    Engine {
        /// What was asked.
        doing: String,
        /// What it said.
        source: Box<engine::Error>,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not do it.
    #[error("{doing}")]
    Command {
        /// What was to be done.
        doing: String,
        /// What became of the program.
        source: command::Error,
    },
    /// systemd did not do it.
    #[error("{doing}")]
    Unit {
        /// What was to be done.
        doing: String,
        /// Why not.
        source: Box<unit::bus::Error>,
    },
    /// The new content of a file was refused by the program that reads it; the old one stays.
    #[error("{} would be refused; the file that is there stays", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the program said.
        source: command::Error,
    },
    /// The kernel does not hold what was loaded.
    #[error("the guard does not read back as it was loaded")]
    GuardNotLoaded(PacketFilter),
    /// A container did not come to serve.
    #[error("container '{name}' does not serve: {why}")]
    NotReady {
        /// The record.
        name: ContainerName,
        /// What is seen of it.
        why: String,
    },
    /// The routing table or the sockets could not be read.
    #[error("cannot read {what} of the kernel")]
    Kernel {
        /// Which table.
        what: &'static str,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the engine gave no answer, so that only another look can tell what it has done.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if source.is_unanswered())
    }

    /// A command or act that would mend it, when one is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Engine { source, .. } => source.remedy(),
            Self::Command { source, .. } => source.remedy(),
            Self::Refused { path, source } => source.remedy().or_else(|| {
                Some(format!(
                    "{} is made from the records and from fragments in /etc/wharf/templates-custom: one of them is wrong",
                    path.display()
                ))
            }),
            Self::GuardNotLoaded(PacketFilter::Nftables) => {
                Some("nft list table inet wharf".to_owned())
            }
            Self::GuardNotLoaded(PacketFilter::Iptables) => {
                Some("iptables-save -t mangle; ip6tables-save -t mangle".to_owned())
            }
            Self::NotReady { name, .. } => Some(format!("docker logs {name}")),
            Self::File { path, source } => denied(path, source),
            Self::Unit { source, .. } => source.remedy(),
            Self::Kernel { .. } => None,
        }
    }
}

/// What would mend that `path` cannot be used.
fn denied(path: &Path, source: &io::Error) -> Option<String> {
    match (source.kind(), geteuid().is_root()) {
        (io::ErrorKind::PermissionDenied, false) => Some("run this as root".to_owned()),
        // What root may not do is EPERM; EACCES is said by others, as SELinux, in a log of their own.
        (io::ErrorKind::PermissionDenied, true)
            if source.raw_os_error() == Some(nix::libc::EPERM) =>
        {
            let (path, above) = (path.display(), path.parent().unwrap_or(path).display());
            Some(format!("see whether it or its directory is immutable: lsattr -d {path} {above}"))
        }
        _ => None,
    }
}

/// The machine under our care.
pub trait Host {
    /// What is there now, ours and foreign.
    fn observe(&self, query: &Query) -> impl Future<Output = Result<Observed, Error>>;

    /// What containers that may be removed hold.
    fn layers(
        &self,
        wanted: &BTreeMap<ContainerName, LayerQuery>,
    ) -> impl Future<Output = Result<BTreeMap<ContainerName, Layer>, Error>>;

    /// What those of `names` tell whose containers are not well.
    fn autopsies(
        &self,
        names: &[ContainerName],
    ) -> impl Future<Output = Result<BTreeMap<ContainerName, Autopsy>, Error>>;

    /// What went wrong with containers before.
    fn troubles(&self) -> BTreeMap<ContainerName, Trouble>;

    /// Keeps what went wrong with the container of `name`.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn keep_trouble(&self, name: &ContainerName, trouble: &Trouble) -> Result<(), Error>;

    /// The canonical specs from which containers of ours were made, as far as remembered.
    fn recall(&self, names: &[ContainerName]) -> BTreeMap<ContainerName, Value>;

    /// The identity of the store from which the containers here were made, when it is remembered.
    fn known_store(&self) -> Option<String>;

    /// Remembers it.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn remember_store(&self, identity: &str) -> Result<(), Error>;

    /// Does one step. Done already is done: no error.
    fn perform(&self, step: &Step) -> impl Future<Output = Result<(), Error>>;

    /// Why the engine is not asked any more, when it was found to answer nobody since it was looked
    /// at last.
    fn engine_away(&self) -> Option<engine::Away>;

    /// Whether the engine answers now.
    fn engine_answers(&self) -> impl Future<Output = bool>;

    /// Writes down that these steps begin.
    fn begin(&self, steps: &[(StepId, &Step)]);

    /// Writes down that a step has ended, well or not.
    fn end(&self, step: StepId);

    /// Writes down that nothing is under way.
    fn quiet(&self);

    /// Waits until the engine has ended what a pass that was cut has asked of it.
    fn settle(&self) -> impl Future<Output = ()>;

    /// Takes away what a pass that was cut has left unfinished beside `targets`, and forgets it.
    fn tidy(&self, targets: &BTreeSet<PathBuf>);

    /// The steps that were under way when a pass was cut, until the next step begins.
    fn interrupted(&self) -> Vec<String>;
}

/// Whether `step` asks something of the engine.
pub const fn asks_engine(step: &Step) -> bool {
    !matches!(
        step,
        Step::WriteFile { .. }
            | Step::LoadGuard { .. }
            | Step::RemoveGuard
            | Step::SetBridgeFilter
            | Step::SetForwarding
            | Step::RestoreForwarding
            | Step::LeaveForwarding(_)
            | Step::Adjust(_)
            | Step::RemoveFile(_)
    )
}

/// The real machine.
#[derive(Debug)]
pub struct System {
    engine: engine::Engine,
    memory: memory::Memory,
    firewall: firewall::Firewall,
    journal: journal::Journal,
    root: Root,
    ready_timeout: Duration,
}

impl System {
    /// The machine below `root`, with the engine at `engine`.
    pub fn new(engine: engine::Engine, root: Root, ready_timeout: Duration) -> Self {
        let memory = memory::Memory::new(root.at("/var/lib/wharf"));
        let firewall = firewall::Firewall::new(memory.clone(), &root);
        let journal = journal::Journal::new(root.at("/var/lib/wharf/journal"));
        Self { engine, memory, firewall, journal, root, ready_timeout }
    }

    /// The guard table.
    pub const fn firewall(&self) -> &firewall::Firewall {
        &self.firewall
    }

    /// Adds which of the engine's rules are gone.
    async fn miss_rules(
        &self,
        bridge: &Bridge,
        note: bool,
        observed: &mut Observed,
    ) -> Result<(), Error> {
        if self.firewall.is_beside_untouched(bridge) {
            return Ok(());
        }
        let is_podman = self.engine.is_podman().await?;
        let others: Vec<(&str, &BTreeSet<Ipv4Net>)> = observed
            .foreign
            .iter()
            .filter(|foreign| is_podman && foreign.status.starts_with("Up"))
            .map(|foreign| (foreign.name.as_str(), &foreign.networks))
            .collect();
        let facts = &observed.facts;
        let expected = if is_podman {
            firewall::Expected::While(!facts.on_bridge.is_empty(), &others)
        } else {
            firewall::Expected::AsBefore
        };
        let missed = self.firewall.missed_rules(bridge, &expected, note).await?;
        observed.facts.is_podman = is_podman;
        observed.facts.lost_rules = missed.tables;
        observed.facts.foreign_without_rules = missed.others;
        Ok(())
    }

    /// The engine itself.
    pub const fn engine(&self) -> &engine::Engine {
        &self.engine
    }
}

impl Host for System {
    async fn observe(&self, query: &Query) -> Result<Observed, Error> {
        // The kernel and the files are read while the engine makes its list.
        let filter = firewall::filter(query.filter);
        let (engine, guard) =
            tokio::join!(self.engine.observe(query), self.firewall.observe(filter, query.note));
        let engine = engine?;
        let mut observed = Observed {
            guard: guard?,
            forwarding: sysctl::forwarding()?,
            bridge_filter: sysctl::bridge_filter()?,
            ..engine
        };
        if query.in_force {
            observed.in_force = self.firewall.in_force(&observed.guard).await?;
        }
        // A guard that is gone comes first; the look after its load sees the rest.
        if let Some(bridge) = &query.bridge
            && observed.network == ObservedNetwork::Right
            && matches!(observed.guard, ObservedGuard::Loaded(_))
        {
            self.miss_rules(bridge, query.note, &mut observed).await?;
        }
        observed.files = file::observe(&query.targets, &self.memory)?;
        health::Findings::below(&self.root).tell(&mut observed);
        network::facts(query, &self.root, &mut observed)?;
        observed.facts.filter = filter;
        observed.facts.memory_bytes = machine::memory_bytes();
        observed.facts.now = Some(jiff::Zoned::now());
        observed.facts.forwarding_is_ours =
            self.memory.forwarding_is_ours() || !observed.forwarding;
        Ok(observed)
    }

    async fn layers(
        &self,
        wanted: &BTreeMap<ContainerName, LayerQuery>,
    ) -> Result<BTreeMap<ContainerName, Layer>, Error> {
        Box::pin(self.engine.layers(wanted)).await
    }

    async fn autopsies(
        &self,
        names: &[ContainerName],
    ) -> Result<BTreeMap<ContainerName, Autopsy>, Error> {
        let mut found = BTreeMap::new();
        for name in names {
            found.insert(name.clone(), self.engine.autopsy(name).await?);
        }
        Ok(found)
    }

    fn troubles(&self) -> BTreeMap<ContainerName, Trouble> {
        self.memory.troubles()
    }

    fn keep_trouble(&self, name: &ContainerName, trouble: &Trouble) -> Result<(), Error> {
        self.memory.keep_trouble(name, trouble)
    }

    fn recall(&self, names: &[ContainerName]) -> BTreeMap<ContainerName, Value> {
        names.iter().filter_map(|name| Some((name.clone(), self.memory.spec(name)?))).collect()
    }

    fn known_store(&self) -> Option<String> {
        self.memory.store()
    }

    fn remember_store(&self, identity: &str) -> Result<(), Error> {
        self.memory.remember_store(identity)
    }

    async fn perform(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::WriteFile { file, keep_old } => file::write(file, *keep_old, &self.memory).await,
            Step::LoadGuard { file, hash } => self.firewall.load(file, hash).await,
            Step::SetBridgeFilter => sysctl::set_bridge_filter().await,
            Step::SetForwarding => {
                self.memory.remember_forwarding()?;
                sysctl::set_forwarding()
            }
            Step::Adjust(adjust) => unit::adjust(adjust, &self.root).await,
            Step::CreateNetwork(bridge) => self.engine.create_network(bridge).await,
            Step::RemoveNetwork(id) => self.engine.remove_network(id).await,
            Step::EnsureImage { image, source } => self.engine.ensure_image(image, source).await,
            Step::RemoveLeftover { id, .. } => self.engine.remove(id).await,
            Step::RestoreName { id, name } => self.engine.rename(id, name.as_str()).await,
            Step::StopContainer { id, .. } => self.engine.stop(id).await,
            Step::RemoveContainer { id, name } => {
                self.engine.stop(id).await?;
                self.engine.remove(id).await?;
                self.memory.keep_trouble(name, &Trouble::default())?;
                self.memory.forget_spec(name)
            }
            Step::CreateContainer(new) => {
                file::make_directories(&new.directories)?;
                self.engine.create(new).await?;
                self.memory.remember_spec(&new.spec)
            }
            Step::ReplaceContainer { old, old_is_up, new, proof } => {
                replace::replace(self, old, *old_is_up, new, proof.as_ref()).await
            }
            Step::FinishReplacement { previous, name, proof } => {
                replace::finish(self, name, previous, true, proof).await
            }
            Step::StartContainer(name) => self.engine.start(name.as_str()).await,
            Step::RestartContainer(name) => {
                self.engine.restart(name.as_str()).await?;
                health::Findings::below(&self.root).forget(name)
            }
            Step::RemoveGuard => self.firewall.remove().await,
            Step::RestoreForwarding => {
                sysctl::unset_forwarding()?;
                self.memory.forget_forwarding()
            }
            Step::LeaveForwarding(_) => self.memory.forget_forwarding(),
            Step::RemoveFile(path) => file::remove(path),
            Step::ReloadRules(names) => podman::reload(names).await,
            Step::AwaitReady { name, readiness } => {
                ready::wait(&self.engine, name, readiness, self.ready_timeout).await
            }
        }
    }

    fn engine_away(&self) -> Option<engine::Away> {
        self.engine.away()
    }

    async fn engine_answers(&self) -> bool {
        self.engine.answers().await
    }

    fn begin(&self, steps: &[(StepId, &Step)]) {
        // Waiting changes nothing, so there is nothing to be found half done.
        let lines: Vec<_> = steps
            .iter()
            .filter(|(_, step)| !matches!(step, Step::AwaitReady { .. }))
            .map(|(id, step)| (*id, step.to_string()))
            .collect();
        if !lines.is_empty() {
            self.journal.begin(&lines);
        }
    }

    fn end(&self, step: StepId) {
        self.journal.end(step);
    }

    fn quiet(&self) {
        self.journal.clear();
    }

    async fn settle(&self) {
        self.engine.settle().await;
    }

    fn tidy(&self, targets: &BTreeSet<PathBuf>) {
        self.memory.clear_left();
        let directories: BTreeSet<&Path> =
            targets.iter().filter_map(|path| path.parent()).collect();
        directories.into_iter().for_each(file::clear_left);
        self.journal.clear();
    }

    fn interrupted(&self) -> Vec<String> {
        self.journal.interrupted()
    }
}
