// SPDX-License-Identifier: GPL-2.0-or-later

//! What a container holds that goes away with it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::state::container::Mount;

/// A container that is about to be removed, and what its successor mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerQuery {
    /// The engine's id.
    pub id: String,
    /// Mounts of the one that comes; none when none comes.
    pub mounts: Vec<Mount>,
}

/// What the engine knows of what a container has written outside of its named mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Whether the engine cannot say what was written: it may be anything.
    pub is_unknown: bool,
    /// Paths in its own layer that were made or changed since it was created; directories are among
    /// them, the engine does not tell them from files.
    pub changed: BTreeSet<PathBuf>,
    /// Those of them that are directories, or were written by the first or the last start of the container:
    /// the next start makes them again.
    pub remade: BTreeSet<PathBuf>,
    /// Where something is mounted: what is there is not in the layer.
    pub mounted: BTreeSet<PathBuf>,
    /// Where a volume without a name is mounted, which is not known to be empty.
    pub unnamed: BTreeSet<PathBuf>,
    /// Targets of [`LayerQuery::mounts`] whose source holds something already.
    pub filled: BTreeSet<PathBuf>,
}
