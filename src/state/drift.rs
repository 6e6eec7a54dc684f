// SPDX-License-Identifier: GPL-2.0-or-later

//! What others may change, and whether it is mended or only told.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// A kind of things that others may change. The guard is none of them: it is always mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftKind {
    /// How a container is made.
    Containers,
    /// Which networks a container is on.
    Networks,
    /// Settings of the kernel.
    Sysctls,
    /// Files that templates render.
    Files,
    /// Units of ours that no more begin with the machine.
    Units,
}

impl DriftKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Containers, Self::Networks, Self::Sysctls, Self::Files, Self::Units];

    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Networks => "networks",
            Self::Sysctls => "sysctls",
            Self::Files => "files",
            Self::Units => "units",
        }
    }

    /// Whether it is only told when nobody says otherwise: who disables a unit mostly means it.
    pub const fn is_told_by_itself(self) -> bool {
        matches!(self, Self::Units)
    }

    /// The property of the record `docker` that decides.
    pub const fn property(self) -> &'static str {
        match self {
            Self::Containers => "DriftContainers",
            Self::Networks => "DriftNetworks",
            Self::Sysctls => "DriftSysctls",
            Self::Files => "DriftFiles",
            Self::Units => "DriftUnits",
        }
    }
}

/// Something that somebody has changed and that is left so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Of which kind.
    pub kind: DriftKind,
    /// What has changed, what it is, and what it should be.
    pub what: String,
    /// When, if that is known.
    pub at: Option<Timestamp>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(at) = self.at {
            write!(f, ", changed at {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))?;
        }
        write!(f, " (only told, as {} of record docker says)", self.kind.property())
    }
}

/// The kinds that are only told.
pub type OnlyTold = BTreeSet<DriftKind>;
