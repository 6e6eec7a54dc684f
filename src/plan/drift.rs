// SPDX-License-Identifier: GPL-2.0-or-later

//! What somebody has changed at a container behind our back: its spec against what an inspect shows. Pure.
//!
//! Compared is what we have said. What an engine adds by itself is left out: a container that is made
//! anew would show the same again. Podman shows what it made of a request, so less of it is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use crate::db::value::ContainerName;
use crate::plan::reason::{MASK, megabytes};
use crate::plan::verdict::misplaced;
use crate::plan::{Difference, Given, Plan};
use crate::state::container::{Attachment, Listen, Masked, Mount, MountedFrom};
use crate::state::settings::{Settings, published};
use crate::state::{
    ContainerSpec, Drift, DriftKind, FileKind, IdleUnit, ObservedFile, ObservedNetwork,
    RenderedFile,
};

/// Limits that an engine can change while the container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Most processes; -1 for no limit.
    pub pids: Option<i64>,
    /// Whether the engine is to start it no more by itself.
    pub restart_policy: bool,
}

/// Variables that Podman gives to every container, or takes over from itself.
const OF_PODMAN: &[&str] = &[
    "HOME",
    "HOSTNAME",
    "TERM",
    "container",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
];

/// Variable that engines set where nobody says it.
const PATH: &str = "PATH";

/// The properties in which a container is not what its spec made of it: what it is, and what it should be.
pub fn differences(spec: &ContainerSpec, found: &Settings) -> Vec<Difference> {
    let mut all = variables(spec, found);
    let mut add = |property: &str, old: Option<String>, new: Option<String>| {
        if old != new {
            all.push(Difference { property: property.to_owned(), old, new });
        }
    };
    let limit = |bytes: u64| (bytes > 0).then(|| megabytes(bytes));
    add("MaxMemory", limit(found.memory_bytes), spec.memory_bytes.and_then(limit));
    add("limit of swap", strange_swap(spec, found), None);
    if is_other_cpu(spec, found) {
        let cpu = |cpus: u64| (cpus > 0).then(|| cpus.to_string());
        add("MaxCpu", cpu(found.nano_cpus), spec.nano_cpus.and_then(cpu));
    }
    if spec.pids.is_some() || !found.is_podman {
        let some = |pids: i64| (pids > 0).then(|| pids.to_string());
        add("MaxPids", some(found.pids), spec.pids.and_then(some));
    }
    let policy = &found.restart_policy;
    add("restart policy", (!policy.is_empty()).then(|| policy.clone()), None);
    add("published ports", joined(&found.published), joined(&wanted_ports(spec)));
    add("mounts", mounts(&found.mounts), mounts(&spec.mounts));
    add("Privileged", found.privileged.then(|| "yes".to_owned()), None);
    let yes = |is: bool| is.then(|| "yes".to_owned());
    add("ReadOnly", yes(found.read_only), yes(spec.read_only));
    let is_host = matches!(spec.attachment, Attachment::Host { .. });
    let network = |host: bool| Some(if host { "host" } else { "bridge" }.to_owned());
    add("network", network(found.network_mode == "host"), network(is_host));
    capabilities(spec, found, &mut add);
    process(spec, found, &mut add);
    if !found.is_podman {
        let paths = |all: &mut dyn Iterator<Item = &PathBuf>| {
            joined(&all.map(|path| path.display().to_string()).collect())
        };
        let devices = |spec: &[crate::state::container::Device]| {
            paths(&mut spec.iter().map(|device| &device.host))
        };
        add("Devices", devices(&found.devices), devices(&spec.devices));
        add("Tmpfs", paths(&mut found.tmpfs.iter()), paths(&mut spec.tmpfs.keys()));
    }
    all
}

/// The limit of swap that nobody of us has set: unlimited is what engines make of none.
fn strange_swap(spec: &ContainerSpec, found: &Settings) -> Option<String> {
    let memory = spec.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok())?;
    let is_usual = [0, -1, memory.saturating_mul(2)].contains(&found.swap_bytes);
    (!is_usual).then(|| found.swap_bytes.to_string())
}

/// Podman shows the quota that it made of the limit, which is rounded.
fn is_other_cpu(spec: &ContainerSpec, found: &Settings) -> bool {
    let wanted = spec.nano_cpus.unwrap_or_default();
    wanted.abs_diff(found.nano_cpus) > wanted / 100
}

fn wanted_ports(spec: &ContainerSpec) -> BTreeSet<String> {
    let ports = spec.published().iter();
    ports
        .map(|port| {
            let address = match port.listen {
                Listen::Everywhere => "",
                Listen::Loopback => "127.0.0.1",
            };
            let inside = format!("{}/{}", port.container, port.protocol);
            published(address, &port.host.to_string(), &inside)
        })
        .collect()
}

fn joined(texts: &BTreeSet<String>) -> Option<String> {
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

fn mounts(all: &[Mount]) -> Option<String> {
    let text = |mount: &Mount| {
        let source = match &mount.source {
            // In its parts, so that a slash more at the end is no difference.
            MountedFrom::Host(path) => path.components().collect::<PathBuf>().display().to_string(),
            MountedFrom::Volume(name) => name.clone(),
        };
        let target = mount.target.components().collect::<PathBuf>();
        let read_only = if mount.read_only { ":ro" } else { "" };
        format!("{source}:{}{read_only}", target.display())
    };
    joined(&all.iter().map(text).collect())
}

/// Podman tells only those that are not among its own anyway.
fn capabilities(
    spec: &ContainerSpec,
    found: &Settings,
    add: &mut impl FnMut(&str, Option<String>, Option<String>),
) {
    let (added, dropped) = (&found.capabilities_added, &found.capabilities_dropped);
    let short = |all: &BTreeSet<String>| -> BTreeSet<String> {
        all.iter().map(|name| name.trim_start_matches("CAP_").to_owned()).collect()
    };
    let (wants, drops) = (short(&spec.capabilities_added), short(&spec.capabilities_dropped));
    if found.is_podman {
        if !wants.contains("ALL") && !added.is_subset(&wants) {
            add("Capabilities", joined(added), joined(&wants));
        }
        return;
    }
    add("Capabilities", joined(added), joined(&wants));
    add("Capabilities (dropped)", joined(dropped), joined(&drops));
}

/// What is run, and as whom.
fn process(
    spec: &ContainerSpec,
    found: &Settings,
    add: &mut impl FnMut(&str, Option<String>, Option<String>),
) {
    let image = found.image.as_ref().filter(|_| !found.is_podman);
    let wanted = match (spec.command.is_empty(), image) {
        (false, _) => Some(&spec.command),
        (true, image) => image.map(|image| &image.command),
    };
    if wanted.is_some_and(|wanted| *wanted != found.command)
        || image.is_some_and(|image| image.entrypoint != found.entrypoint)
    {
        // Command lines hold passwords.
        add("Command", Some(MASK.to_owned()), None);
    }
    let user = spec.user.as_ref().or_else(|| image.map(|image| &image.user));
    if let Some(user) = user {
        add("User", Some(found.user.clone()), Some(user.clone()));
    }
}

/// The variables that differ; never their values.
fn variables(spec: &ContainerSpec, found: &Settings) -> Vec<Difference> {
    let mut wanted: BTreeMap<&String, &Masked> = BTreeMap::new();
    wanted.extend(found.image.iter().flat_map(|image| &image.environment));
    wanted.extend(&spec.environment);
    // Of an image that is gone nobody knows what it has said.
    let is_known = found.image.is_some();
    let is_of_engine = |name: &str| name == PATH || (found.is_podman && OF_PODMAN.contains(&name));
    let names: BTreeSet<&String> = wanted.keys().copied().chain(found.environment.keys()).collect();
    let masked = |there: bool| there.then(|| MASK.to_owned());
    names
        .into_iter()
        .filter(|name| wanted.contains_key(name) || (is_known && !is_of_engine(name)))
        .filter(|name| wanted.get(name).copied() != found.environment.get(*name))
        .map(|name| Difference {
            property: format!("Env_{name}"),
            old: masked(found.environment.contains_key(name)),
            new: masked(wanted.contains_key(name)),
        })
        .collect()
}

/// What an engine is to be told, when it can mend all of `differences` while the container runs.
pub fn limits(
    spec: &ContainerSpec,
    found: &Settings,
    differences: &[Difference],
) -> Option<Limits> {
    let mut limits = Limits::default();
    for difference in differences {
        match difference.property.as_str() {
            // An engine cannot be told to have no limit any more.
            "MaxMemory" | "limit of swap" => limits.memory_bytes = Some(spec.memory_bytes?),
            "MaxCpu" => limits.nano_cpus = Some(spec.nano_cpus?),
            "MaxPids" => limits.pids = Some(spec.pids.unwrap_or(-1)),
            "restart policy" => limits.restart_policy = true,
            _ => return None,
        }
    }
    (!found.is_podman).then_some(limits)
}

/// Writes down what somebody has changed and is left so.
pub(crate) fn tell(plan: &mut Plan, given: &Given<'_>) {
    let is_told = |kind| given.desired.only_told.contains(&kind);
    for (name, found) in &given.observed.containers {
        let container =
            given.desired.containers.get(name).filter(|container| {
                container.wanted.is_up() && container.hash.as_str() == found.hash
            });
        let Some(container) = container.filter(|_| !given.desired.only_told.is_empty()) else {
            continue;
        };
        let mut add = |kind, how: String, at| {
            plan.drift.push(Drift { kind, what: format!("container {name}: {how}"), at });
        };
        if let Some(how) =
            misplaced(given, container, found).filter(|_| is_told(DriftKind::Networks))
        {
            add(DriftKind::Networks, how, None);
        }
        let settings = found.settings.as_ref().filter(|_| is_told(DriftKind::Containers));
        if let Some(settings) = settings {
            let all = differences(&container.spec, settings);
            let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
            if !shown.is_empty() {
                add(DriftKind::Containers, shown.join(", "), settings.changed_at);
            }
        }
    }
    if !given.observed.forwarding && is_left_off(given) {
        let what = "net.ipv4.ip_forward is 0, and containers are on a bridge".to_owned();
        plan.drift.push(Drift { kind: DriftKind::Sysctls, what, at: None });
    }
    if let Some(unit) = idle_guard(given).filter(|unit| !is_enabled_again(*unit, given)) {
        let how = if unit.is_masked { "masked" } else { "disabled" };
        let what = format!(
            "{} is {how}: after a boot nothing is guarded until the first pass; systemctl enable {}",
            unit.name, unit.name
        );
        plan.drift.push(Drift { kind: DriftKind::Units, what, at: None });
    }
    for file in given.files {
        let observed = given.observed.files.get(&file.target);
        if observed.is_some_and(|observed| is_left(file, observed, given)) {
            let what = format!("{} is not as it was written", file.target.display());
            plan.drift.push(Drift { kind: DriftKind::Files, what, at: None });
        }
    }
}

/// The unit that should load the guard at the next boot and will not; none is needed without a container.
pub(crate) fn idle_guard(given: &Given<'_>) -> Option<IdleUnit> {
    given.observed.facts.idle_guard.filter(|_| !given.desired.containers.is_empty())
}

/// Whether a pass enables it. What is masked was forbidden, not forgotten.
pub(crate) fn is_enabled_again(unit: IdleUnit, given: &Given<'_>) -> bool {
    !unit.is_masked && !given.desired.only_told.contains(&DriftKind::Units)
}

/// Whether forwarding stays off that was on before: there is a bridge already.
pub(crate) fn is_left_off(given: &Given<'_>) -> bool {
    given.desired.only_told.contains(&DriftKind::Sysctls)
        && given.observed.network == ObservedNetwork::Right
}

/// Whether a file stays as somebody has changed it; never the guard's.
pub(crate) fn is_left(file: &RenderedFile, observed: &ObservedFile, given: &Given<'_>) -> bool {
    let is_changed = observed.written.as_ref().is_some_and(|written| *written != observed.hash);
    given.desired.only_told.contains(&DriftKind::Files)
        && file.kind != FileKind::Guard
        && is_changed
        && observed.hash != file.hash()
}

/// The containers that were looked into and are as they should be, with their ids.
pub fn right(given: &Given<'_>) -> BTreeMap<ContainerName, String> {
    let is_right = |name: &ContainerName, settings: &Settings, hash: &str| {
        given.desired.containers.get(name).is_some_and(|container| {
            container.hash.as_str() == hash && differences(&container.spec, settings).is_empty()
        })
    };
    given
        .observed
        .containers
        .iter()
        .filter(|(name, found)| {
            found.settings.as_ref().is_some_and(|settings| is_right(name, settings, &found.hash))
        })
        .map(|(name, found)| (name.clone(), found.id.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
