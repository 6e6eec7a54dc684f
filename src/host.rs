// SPDX-License-Identifier: GPL-2.0-or-later

//! The machine: two verbs, observe and perform, and the parts behind them.
//!
//! [`System`] is the real one. Everything here has effects and no opinion: what to look at comes in
//! as a [`Query`], what to do as a [`Step`]; a step that is done already is no error.

pub mod alive;
pub mod checkup;
pub mod command;
pub mod engine;
mod error;
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
mod system;
pub mod target;
mod tcp;
pub mod turn;
pub mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::db::value::ContainerName;
use crate::plan::{Step, StepId};
use crate::state::layer::{Layer, LayerQuery};
use crate::state::trouble::{Autopsy, Trouble};
use crate::state::{Observed, Query};

use progress::Progress;

pub use error::Error;
pub use system::{System, asks_engine};

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

    /// Takes away what passes that were cut have left unfinished of our own files: also between two steps,
    /// where nothing is under way.
    fn clear_left(&self);

    /// Takes away what a pass that was cut has left unfinished beside `targets`, and forgets it.
    fn tidy(&self, targets: &BTreeSet<PathBuf>);

    /// The steps that were under way when a pass was cut, until the next step begins.
    fn interrupted(&self) -> Vec<String>;

    /// Where it is told how far a pass is, if anywhere.
    fn progress(&self) -> Option<&Arc<Progress>> {
        None
    }
}
