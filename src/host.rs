// SPDX-License-Identifier: GPL-2.0-or-later

//! The machine: two verbs, observe and perform, and the parts behind them.
//!
//! [`System`] is the real one. Everything here has effects and no opinion: what to look at comes in
//! as a [`Query`], what to do as a [`Step`]; a step that is done already is no error.

pub mod alive;
pub mod checkup;
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
pub mod journald;
pub mod lock;
mod look;
pub mod machine;
pub mod memory;
pub mod monitor;
pub mod mounts;
mod netlink;
pub mod network;
pub mod notify;
pub mod outside;
pub mod overrides;
pub mod owed;
pub mod past;
mod podman;
pub mod presence;
pub mod probe;
pub mod process;
pub mod progress;
pub mod ready;
pub mod records;
pub mod rendered;
mod replace;
pub mod seen;
pub mod socket;
pub mod sysctl;
pub mod syslog;
pub mod target;
pub mod turn;
pub mod unit;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bollard::models::ContainerSummary;
use futures_util::future::{LocalBoxFuture, ready};
use ipnet::Ipv4Net;
use nix::unistd::geteuid;
use serde_json::Value;

use crate::db::value::ContainerName;
use crate::plan::{Step, StepId};
use crate::settings::{Root, zone};
use crate::state::layer::{Layer, LayerQuery};
use crate::state::trouble::{Autopsy, Trouble};
use crate::state::{Bridge, Observed, ObservedGuard, ObservedNetwork, PacketFilter, Query};

use progress::Progress;

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

    /// Whether a new container did not serve, and the old one is back.
    pub fn is_taken_back(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if matches!(**source, engine::Error::WentBack { .. }))
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
    /// Begins the next [`Self::observe`] with what needs no query, so that the engine is at its answer while
    /// the records are read.
    fn look_ahead(&self) -> impl Future<Output = ()>;

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

    /// The containers `right` were looked into and are as they should be, with their ids: they need no
    /// look any more, until somebody changes them.
    fn trust(&self, right: &BTreeMap<ContainerName, String>, observed: &Observed);

    /// The canonical specs from which containers of ours were made, as far as remembered.
    fn recall(&self, names: &[ContainerName]) -> BTreeMap<ContainerName, Value>;

    /// What was rendered into `target` from the material with this hash, by this program; `None` when that
    /// is not remembered.
    fn rendered(&self, target: &Path, source: &str) -> Option<Vec<u8>>;

    /// Remembers it, where that can be done.
    fn keep_rendered(&self, target: &Path, source: &str, content: &[u8]);

    /// The identity of the store from which the containers here were made, when it is remembered.
    fn known_store(&self) -> Option<String>;

    /// Remembers it.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn remember_store(&self, identity: &str) -> Result<(), Error>;

    /// Which records were applied last, when it is remembered.
    fn applied_records(&self) -> Option<String> {
        None
    }

    /// Remembers it; only a note of `status` hangs on it, so no pass fails for it.
    fn remember_records(&self, _fingerprint: &str) {}

    /// Does one step. Done already is done: no error.
    fn perform(&self, step: &Step) -> impl Future<Output = Result<(), Error>>;

    /// Why the engine is not asked any more, when it was found to answer nobody since it was looked
    /// at last.
    fn engine_away(&self) -> Option<engine::Away>;

    /// Whether the engine answers now.
    fn engine_answers(&self) -> impl Future<Output = bool>;

    /// How many calls the engine did not answer, or refused, since the beginning.
    fn engine_errors(&self) -> u64 {
        0
    }

    /// Writes down that these steps begin.
    fn begin(&self, steps: &[(StepId, &Step)]);

    /// Writes down that a step has ended, well or not.
    fn end(&self, step: StepId);

    /// Writes down that nothing is under way.
    fn quiet(&self);

    /// Waits until the engine is through with what it does to the containers of `only`, else of all records:
    /// what a pass that was cut has asked of it, or what it does after one has ended.
    fn settle(&self, only: Option<&BTreeSet<String>>) -> impl Future<Output = ()>;

    /// Takes away what a pass that was cut has left unfinished beside `targets`, and forgets it.
    fn tidy(&self, targets: &BTreeSet<PathBuf>);

    /// The steps that were under way when a pass was cut, until the next step begins.
    fn interrupted(&self) -> Vec<String>;

    /// Where it is told how far a pass is, if anywhere.
    fn progress(&self) -> Option<&Arc<Progress>> {
        None
    }
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
            | Step::EnableUnit(_)
            | Step::Adjust(_)
            | Step::RemoveFile(_)
    )
}

/// The engine's list, and what has happened to its containers.
type Answers = (Result<Vec<ContainerSummary>, Error>, Option<Vec<engine::happened::Event>>);

/// The answers, when they are there.
type Asked = LocalBoxFuture<'static, Answers>;

/// A question that is on its way, until somebody waits for the answer.
#[derive(Default)]
struct Ahead(RefCell<Option<(Instant, Asked)>>);

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ahead").field(&self.0.borrow().is_some()).finish()
    }
}

/// How old a question may be whose answer is waited for.
const FRESH: Duration = Duration::from_secs(1);

/// How often the runtime gets its turn until requests are on their way: to connect, and to send.
const TURNS: usize = 8;

/// The real machine.
#[derive(Debug)]
pub struct System {
    engine: Arc<engine::Engine>,
    memory: memory::Memory,
    firewall: firewall::Firewall,
    journal: journal::Journal,
    seen: seen::Seen,
    rendered: rendered::Rendered,
    /// What was asked by [`Host::look_ahead`].
    ahead: Ahead,
    root: Root,
    ready_timeout: Duration,
}

impl System {
    /// The machine below `root`, with the engine at `engine`.
    pub fn new(engine: engine::Engine, root: Root, ready_timeout: Duration) -> Self {
        let memory = memory::Memory::new(root.at("/var/lib/wharf"));
        let firewall = firewall::Firewall::new(memory.clone(), &root);
        let journal = journal::Journal::new(root.at("/var/lib/wharf/journal"));
        let seen = seen::Seen::new(root.at("/var/lib/wharf/seen.json"));
        let rendered = rendered::Rendered::new(root.at("/var/lib/wharf/rendered"));
        Self {
            engine: Arc::new(engine),
            memory,
            firewall,
            journal,
            seen,
            rendered,
            ahead: Ahead::default(),
            root,
            ready_timeout,
        }
    }

    /// The guard table.
    pub const fn firewall(&self) -> &firewall::Firewall {
        &self.firewall
    }

    /// Asks the engine what needs no query.
    fn ask(&self) -> Asked {
        let (engine, since) = (Arc::clone(&self.engine), self.seen.since());
        Box::pin(async move { tokio::join!(engine.list(), engine.happened(since)) })
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
    pub fn engine(&self) -> &engine::Engine {
        &self.engine
    }
}

impl Host for System {
    async fn look_ahead(&self) {
        let mut asked = self.ask();
        for _ in 0..TURNS {
            if let Poll::Ready(answers) = futures_util::poll!(&mut asked) {
                asked = Box::pin(ready(answers));
                break;
            }
            tokio::task::yield_now().await;
        }
        self.ahead.0.replace(Some((Instant::now(), asked)));
    }

    async fn observe(&self, query: &Query) -> Result<Observed, Error> {
        // The kernel and the files are read while the engine makes its list.
        let filter = firewall::filter(query.filter);
        // Records that somebody kept locked may have taken longer than the engine's answer has time.
        let ahead = self.ahead.0.take().filter(|(begun, _)| begun.elapsed() < FRESH);
        let asked = ahead.map_or_else(|| self.ask(), |(_, asked)| asked);
        let around = async {
            let guard = self.firewall.observe(filter, query.note).await?;
            let files = file::observe(&query.targets, &self.memory)?;
            Ok::<_, Error>((guard, files, network::facts(query, &self.root)?))
        };
        let ((listed, happened), around) = tokio::join!(asked, around);
        let mut engine = Box::pin(self.engine.observe(listed, query)).await?;
        Box::pin(self.look_into(happened, &mut engine)).await?;
        let (guard, files, facts) = around?;
        let mut observed = Observed {
            guard,
            files,
            forwarding: sysctl::forwarding()?,
            bridge_filter: sysctl::bridge_filter()?,
            ..engine
        };
        observed.facts = facts.with_containers(observed.facts);
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
        health::Findings::below(&self.root).tell(&mut observed);
        network::taken(query, &mut observed).await?;
        observed.facts.filter = filter;
        observed.facts.idle_guard = unit::idle_guard(&self.root, filter);
        observed.facts.memory_bytes = machine::memory_bytes();
        observed.facts.now = Some(zone::now());
        observed.facts.forwarding_by = self.memory.forwarding_by(observed.forwarding);
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

    fn rendered(&self, target: &Path, source: &str) -> Option<Vec<u8>> {
        self.rendered.content(target, source)
    }

    fn keep_rendered(&self, target: &Path, source: &str, content: &[u8]) {
        self.rendered.keep(target, source, content);
    }

    fn troubles(&self) -> BTreeMap<ContainerName, Trouble> {
        self.memory.troubles()
    }

    fn keep_trouble(&self, name: &ContainerName, trouble: &Trouble) -> Result<(), Error> {
        self.memory.keep_trouble(name, trouble)
    }

    fn trust(&self, right: &BTreeMap<ContainerName, String>, observed: &Observed) {
        let is_there = |record: &ContainerName| {
            observed.containers.contains_key(record)
                || observed.renamed.iter().any(|renamed| renamed.record == *record)
        };
        self.seen.keep(right, is_there);
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

    fn applied_records(&self) -> Option<String> {
        self.memory.records()
    }

    fn remember_records(&self, fingerprint: &str) {
        if let Err(error) = self.memory.remember_records(fingerprint) {
            tracing::warn!(%error, "status will not tell whether records were changed");
        }
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
                file::make_directories(&new.directories).await?;
                let id = self.engine.create(new).await?;
                self.note_made(&new.spec.name, id);
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
            Step::UpdateContainer { id, limits, .. } => self.engine.update(id, limits).await,
            Step::RemoveGuard => self.firewall.remove().await,
            Step::RestoreForwarding => {
                sysctl::unset_forwarding()?;
                self.memory.forget_forwarding()
            }
            Step::LeaveForwarding(_) => self.memory.forget_forwarding(),
            Step::RemoveFile(path) => file::remove(path),
            Step::ReloadRules(names) => podman::reload(names).await,
            Step::EnableUnit(unit) => unit::enable(unit, &self.root).await,
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

    fn engine_errors(&self) -> u64 {
        self.engine.errors()
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

    async fn settle(&self, only: Option<&BTreeSet<String>>) {
        self.ahead.0.take();
        match only {
            None => self.engine.settle().await,
            Some(names) => self.engine.settle_of(names).await,
        }
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

    fn progress(&self) -> Option<&Arc<Progress>> {
        Some(self.engine.progress())
    }
}
