// SPDX-License-Identifier: GPL-2.0-or-later

//! Why a step is in a plan: in the admin's words, with the property that causes it.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::db::value::ContainerName;
use crate::state::exposure::HostPort;

/// Why a step is in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The record is enabled and has no container.
    NoContainer,
    /// The container was made from another spec.
    Differs(Vec<Difference>),
    /// Somebody has changed the container: how, and when, if that is known.
    Drifted(Vec<Difference>, Option<Timestamp>),
    /// The image's name stands for another image now.
    ImageMoved,
    /// The container should run and does not; the engine's own words.
    NotRunning(String),
    /// The container should run and has ended; its own words, or the engine's.
    Ended(String),
    /// It runs, and its health check fails; its own words.
    Unhealthy(String),
    /// The record is disabled.
    Disabled,
    /// Somebody said so by hand.
    ByHand,
    /// An event that the record names said so.
    ByEvent,
    /// It is not between the record's `StartAt` and `StopAt`.
    ByClock,
    /// There is no such record any more.
    RecordDeleted,
    /// A step of this container needs it.
    NeededBy(ContainerName),
    /// This container gets its address or a port of it.
    GivesWay(ContainerName),
    /// An interrupted replacement.
    Interrupted,
    /// The bridge must be made anew.
    BridgeAnew,
    /// The guard cannot be loaded, and does not keep these ports of the host.
    NotGuarded(BTreeSet<HostPort>),
    /// The file or table is not there.
    Absent,
    /// The records or the template have changed.
    Changed,
    /// Somebody else has changed it.
    Altered,
    /// Its file has changed.
    FileChanged,
    /// A setting of the host is not as it must be.
    Setting(String),
}

/// One property that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The property of the record.
    pub property: String,
    /// What the container was made with; `None` when it was not said.
    pub old: Option<String>,
    /// What the record says now.
    pub new: Option<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoContainer => f.write_str("record is enabled and has no container"),
            Self::Differs(differences) if differences.is_empty() => {
                f.write_str("was made from another record")
            }
            Self::Differs(differences) => {
                let shown: Vec<String> = differences.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join(", "))
            }
            Self::Drifted(differences, at) => {
                let shown: Vec<String> = differences.iter().map(ToString::to_string).collect();
                let at = at.map(|at| at.strftime(" at %Y-%m-%d %H:%M:%S UTC").to_string());
                let at = at.unwrap_or_default();
                write!(f, "somebody has changed it{at}: {}", shown.join(", "))
            }
            Self::ImageMoved => f.write_str("Image stands for another image now"),
            Self::NotRunning(status) | Self::Ended(status) => {
                write!(f, "should run, is: {status}")
            }
            Self::Unhealthy(words) if words.is_empty() => f.write_str("its health check fails"),
            Self::Unhealthy(words) => write!(f, "its health check fails; {words}"),
            Self::Disabled => f.write_str("status is not enabled"),
            Self::ByHand => f.write_str("asked for by hand"),
            Self::ByEvent => f.write_str("asked for by an event in StopOn"),
            Self::ByClock => f.write_str("it is not between StartAt and StopAt"),
            Self::RecordDeleted => f.write_str("there is no such record any more"),
            Self::NeededBy(name) => write!(f, "'{name}' needs it"),
            Self::GivesWay(name) => write!(f, "'{name}' gets its address or a port of it"),
            Self::Interrupted => f.write_str("a replacement was interrupted"),
            Self::BridgeAnew => f.write_str("the bridge must be made anew"),
            Self::NotGuarded(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, "the guard does not keep {}, and cannot be loaded", ports.join(", "))
            }
            Self::Absent => f.write_str("is not there"),
            Self::Changed => f.write_str("records or template have changed"),
            Self::Altered => f.write_str("somebody else has changed it"),
            Self::FileChanged => f.write_str("its file has changed"),
            Self::Setting(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(f, "{} {} -> {}", self.property, show(&self.old), show(&self.new))
    }
}

impl Reason {
    /// The properties that differ, where it is about them.
    pub fn differences(&self) -> &[Difference] {
        match self {
            Self::Differs(differences) | Self::Drifted(differences, _) => differences,
            Self::NoContainer
            | Self::ImageMoved
            | Self::NotRunning(_)
            | Self::Ended(_)
            | Self::Unhealthy(_)
            | Self::Disabled
            | Self::ByHand
            | Self::ByEvent
            | Self::ByClock
            | Self::RecordDeleted
            | Self::NeededBy(_)
            | Self::GivesWay(_)
            | Self::Interrupted
            | Self::BridgeAnew
            | Self::NotGuarded(_)
            | Self::Absent
            | Self::Changed
            | Self::Altered
            | Self::FileChanged
            | Self::Setting(_) => &[],
        }
    }

    /// One word for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoContainer => "no-container",
            Self::Differs(_) => "differs",
            Self::Drifted(..) => "drifted",
            Self::ImageMoved => "image-moved",
            Self::NotRunning(_) => "not-running",
            Self::Ended(_) => "ended",
            Self::Unhealthy(_) => "unhealthy",
            Self::Disabled => "disabled",
            Self::ByHand => "by-hand",
            Self::ByEvent => "by-event",
            Self::ByClock => "by-clock",
            Self::RecordDeleted => "record-deleted",
            Self::NeededBy(_) => "needed-by",
            Self::GivesWay(_) => "gives-way",
            Self::Interrupted => "interrupted",
            Self::BridgeAnew => "bridge-anew",
            Self::NotGuarded(_) => "not-guarded",
            Self::Absent => "absent",
            Self::Changed => "changed",
            Self::Altered => "altered",
            Self::FileChanged => "file-changed",
            Self::Setting(_) => "setting",
        }
    }
}

/// The words of the causes for which a step mends what somebody has changed.
pub const MENDING: [&str; 3] = ["drifted", "altered", "file-changed"];

/// What stands for a value that nobody must see.
pub(crate) const MASK: &str = "***";

/// The properties in which two canonical specs differ; what may hold a secret is masked.
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = variables(old, new);
    for (field, property) in FIELDS {
        let (was, is) = (old.pointer(field), new.pointer(field));
        if was != is {
            found.push(Difference {
                property: (*property).to_owned(),
                old: was.map(|value| shown(field, value)),
                new: is.map(|value| shown(field, value)),
            });
        }
    }
    found
}

/// The variables that differ, each by its own property; never their values.
fn variables(old: &Value, new: &Value) -> Vec<Difference> {
    let of = |spec: &Value| {
        let all = spec.get("environment").and_then(Value::as_object).cloned();
        all.unwrap_or_default()
    };
    let (old, new) = (of(old), of(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let masked = |there: bool| there.then(|| MASK.to_owned());
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Difference {
            property: format!("Env_{name}"),
            old: masked(old.contains_key(name)),
            new: masked(new.contains_key(name)),
        })
        .collect()
}

/// Fields of the canonical spec by the property that says them.
const FIELDS: &[(&str, &str)] = &[
    ("/image", "Image"),
    ("/command", "Command"),
    ("/user", "User"),
    ("/attachment/bridge/address", "Address"),
    ("/attachment/bridge/published", "published ports"),
    ("/attachment/bridge/aliases", "Interlinked"),
    ("/attachment/bridge/names", "addresses of Interlinked"),
    ("/attachment/host", "network"),
    ("/mounts", "mounts"),
    ("/memory_bytes", "MaxMemory"),
    ("/nano_cpus", "MaxCpu"),
    ("/pids", "MaxPids"),
    ("/health", "Health"),
    ("/stop_grace", "StopGrace"),
    ("/capabilities_added", "Capabilities"),
    ("/capabilities_dropped", "Capabilities"),
    ("/read_only", "ReadOnly"),
    ("/devices", "Devices"),
    ("/tmpfs", "Tmpfs"),
    ("/log_max_bytes", "LogMaxSize"),
];

fn shown(field: &str, value: &Value) -> String {
    match (field, value) {
        // Command lines hold passwords.
        ("/command", _) => MASK.to_owned(),
        ("/health", Value::Object(fields)) => {
            let masked = |(name, value): (&String, &Value)| {
                let value = if name == "command" { MASK.into() } else { value.clone() };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(masked).collect()).to_string()
        }
        ("/memory_bytes" | "/log_max_bytes", Value::Number(bytes)) => {
            bytes.as_u64().map_or_else(|| bytes.to_string(), megabytes)
        }
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

/// `64m`, or the bytes when they are no whole megabytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    match bytes % MEGABYTE {
        0 => format!("{}m", bytes / MEGABYTE),
        _ => bytes.to_string(),
    }
}

/// The unit of `MaxMemory`, in bytes.
const MEGABYTE: u64 = 1024 * 1024;
