// SPDX-License-Identifier: GPL-2.0-or-later

//! The real machine.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bollard::models::ContainerSummary;
use futures_util::future::{LocalBoxFuture, ready};
use ipnet::Ipv4Net;
use serde_json::Value;

use crate::db::value::ContainerName;
use crate::host::progress::Progress;
use crate::host::{
    Error, Host, engine, file, firewall, health, journal, machine, memory, mounts, network, podman,
    ready, rendered, replace, seen, sysctl, unit,
};
use crate::plan::{Step, StepId};
use crate::settings::{Root, zone};
use crate::state::layer::{Layer, LayerQuery};
use crate::state::trouble::{Autopsy, Trouble};
use crate::state::{Bridge, Observed, ObservedGuard, ObservedNetwork, PacketFilter, Query};

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
    pub(super) engine: Arc<engine::Engine>,
    pub(super) memory: memory::Memory,
    firewall: firewall::Firewall,
    journal: journal::Journal,
    pub(super) seen: seen::Seen,
    rendered: rendered::Rendered,
    places: mounts::Places,
    /// What was asked by [`Host::look_ahead`].
    ahead: Ahead,
    root: Root,
    pub(super) ready_timeout: Duration,
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
            places: mounts::Places::below(&root),
            ahead: Ahead::default(),
            root,
            ready_timeout,
        }
    }

    /// The guard table.
    pub const fn firewall(&self) -> &firewall::Firewall {
        &self.firewall
    }

    /// Asks the engine what needs no query; the requests are on their way.
    async fn ask(&self) -> Asked {
        let (engine, since) = (Arc::clone(&self.engine), self.seen.since());
        let mut asked: Asked =
            Box::pin(async move { tokio::join!(engine.list(), engine.happened(since)) });
        for _ in 0..TURNS {
            if let Poll::Ready(answers) = futures_util::poll!(&mut asked) {
                return Box::pin(ready(answers));
            }
            tokio::task::yield_now().await;
        }
        asked
    }

    /// What the guard is, and where there is one, the rules beside it about `bridge`; whose they are is asked
    /// meanwhile, and whoever needs it hears why there was no answer.
    async fn look_at_rules(
        &self,
        filter: PacketFilter,
        bridge: Option<&Bridge>,
        note: bool,
    ) -> Result<(ObservedGuard, Option<firewall::Read>), Error> {
        let beside = async {
            // A guard that is not there comes first.
            let bridge = bridge.filter(|_| self.firewall.may_be_there())?;
            // The request first: a process is waited for until it has begun.
            Some(tokio::join!(self.engine.is_podman(), firewall::Read::about(bridge)).1)
        };
        let (beside, guard) = tokio::join!(beside, self.firewall.observe(filter, note));
        Ok((guard?, beside))
    }

    /// Adds which of the engine's rules are gone.
    async fn miss_rules(
        &self,
        bridge: &Bridge,
        read: Option<firewall::Read>,
        note: bool,
        observed: &mut Observed,
    ) -> Result<(), Error> {
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
        let is_early = read.is_some();
        let mut missed = self.firewall.missed_rules(bridge, read, &expected, note).await?;
        if is_early && missed != firewall::Missed::default() {
            // They were read before the engine told who runs; one that has begun in between has its rules by now.
            missed = self.firewall.missed_rules(bridge, None, &expected, note).await?;
        }
        observed.facts.is_podman = is_podman;
        observed.facts.lost_rules = missed.tables;
        observed.facts.foreign_without_rules = missed.others;
        Ok(())
    }

    /// The paths that the last look went by.
    pub const fn places(&self) -> &mounts::Places {
        &self.places
    }

    /// The engine itself.
    pub fn engine(&self) -> &engine::Engine {
        &self.engine
    }
}

impl Host for System {
    async fn look_ahead(&self) {
        let asked = self.ask().await;
        self.ahead.0.replace(Some((Instant::now(), asked)));
    }

    async fn observe(&self, query: &Query) -> Result<Observed, Error> {
        // First: what is mounted from now on is not sure to be seen by this look.
        self.places.ask(query);
        // The kernel and the files are read while the engine makes its list.
        let filter = firewall::filter(query.filter);
        // Records that somebody kept locked may have taken longer than the engine's answer has time.
        let ahead = self.ahead.0.take().filter(|(begun, _)| begun.elapsed() < FRESH);
        let asked = match ahead {
            Some((_, asked)) => asked,
            None => self.ask().await,
        };
        let beside = query.bridge.as_ref();
        let beside = beside.filter(|bridge| !self.firewall.is_beside_untouched(bridge));
        let around = async {
            let rules = self.look_at_rules(filter, beside, query.note).await?;
            let files = file::observe(&query.targets, &self.memory)?;
            Ok::<_, Error>((rules, files, network::facts(query, &self.root)?))
        };
        let ((listed, happened), around) = tokio::join!(asked, around);
        let mut engine = Box::pin(self.engine.observe(listed, query)).await?;
        Box::pin(self.look_into(happened, &mut engine)).await?;
        let ((guard, read), files, facts) = around?;
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
        if let Some(bridge) = beside
            && observed.network == ObservedNetwork::Right
            && matches!(observed.guard, ObservedGuard::Loaded(_))
        {
            self.miss_rules(bridge, read, query.note, &mut observed).await?;
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

    fn clear_left(&self) {
        self.memory.clear_left();
    }

    fn tidy(&self, targets: &BTreeSet<PathBuf>) {
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
