// SPDX-License-Identifier: GPL-2.0-or-later

//! Data that nobody has declared: what a container has written into its own layer or into a volume
//! without a name, and what would go with the container. Pure.
//!
//! A declared mount covers a path when it has something in it already: the data was brought over. An
//! empty one does not, since the data would be lost all the same at the change.
//!
//! Not counted: [`PASSING`], which no program relies on after a restart; what was deleted; and what a
//! container has written within [`START`] of its making or its last start and not changed since, as programs do that
//! prepare their configuration: the next start writes it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::db::value::ContainerName;
use crate::plan::cost::first_paths;
use crate::plan::{Given, Plan, Step};
use crate::state::ContainerSpec;
use crate::state::layer::{Layer, LayerQuery};

/// Directories and files whose content is made again, or that the engine writes.
///
/// `/var/log` is among them: else every program with a log file of its own would hold each change.
/// Whoever wants to keep such logs mounts the directory. The single files are the engines' own (Podman
/// counts them, Docker does not).
pub const PASSING: &[&str] = &[
    "/run",
    "/tmp",
    "/var/run",
    "/var/tmp",
    "/var/lock",
    "/var/log",
    "/var/cache",
    "/dev",
    "/proc",
    "/sys",
    "/.dockerenv",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
];

/// How long after a start what is written counts as a part of it.
pub const START: SignedDuration = SignedDuration::from_secs(10);

/// Whether a file that was changed at `modified` was written by the start at `started`.
pub fn is_of_start(modified: Timestamp, started: Timestamp) -> bool {
    // A file system counts in coarser steps than the engine.
    let after = modified.duration_since(started);
    after >= -SignedDuration::from_secs(1) && after <= START
}

/// What comes in the place of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Successor<'a> {
    /// One that takes over volumes without a name.
    TakesOver(&'a ContainerSpec),
    /// One that does not.
    BeginsAnew(&'a ContainerSpec),
    /// None.
    Nobody,
}

/// The containers that `plan` would remove or replace, and what their successors mount.
pub fn to_look_at(plan: &Plan, given: &Given<'_>) -> BTreeMap<ContainerName, LayerQuery> {
    let of = |step: &Step| match step {
        Step::ReplaceContainer { old, new, .. } => {
            let query = LayerQuery { id: old.clone(), mounts: new.spec.mounts.clone() };
            Some((new.spec.name.clone(), query))
        }
        Step::RemoveContainer { id, name } => {
            let container = given.desired.containers.get(name);
            let mounts = container.map(|container| container.spec.mounts.clone());
            let query = LayerQuery { id: id.clone(), mounts: mounts.unwrap_or_default() };
            Some((name.clone(), query))
        }
        Step::WriteFile { .. }
        | Step::LoadGuard { .. }
        | Step::SetBridgeFilter
        | Step::SetForwarding
        | Step::RemoveNetwork(_)
        | Step::CreateNetwork(_)
        | Step::Adjust(_)
        | Step::EnsureImage { .. }
        | Step::RemoveLeftover { .. }
        | Step::RestoreName { .. }
        | Step::FinishReplacement { .. }
        | Step::StopContainer { .. }
        | Step::CreateContainer(_)
        | Step::StartContainer(_)
        | Step::RestartContainer(_)
        | Step::UpdateContainer { .. }
        | Step::RemoveGuard
        | Step::RestoreForwarding
        | Step::LeaveForwarding(_)
        | Step::RemoveFile(_)
        | Step::ReloadRules(_)
        | Step::EnableUnit(_)
        | Step::AwaitReady { .. } => None,
    };
    plan.steps.iter().filter_map(|planned| of(&planned.step)).collect()
}

/// The paths that are lost with the container of `name`.
pub(crate) fn at_risk(
    given: &Given<'_>,
    name: &ContainerName,
    successor: Successor<'_>,
) -> BTreeSet<PathBuf> {
    given.layers.get(name).map(|layer| lost(layer, successor)).unwrap_or_default()
}

/// The same without what the admin has given up.
pub(crate) fn not_given_up(
    given: &Given<'_>,
    name: &ContainerName,
    successor: Successor<'_>,
) -> BTreeSet<PathBuf> {
    if given.given_up.contains(name) { BTreeSet::new() } else { at_risk(given, name, successor) }
}

/// The first container that cannot go without a loss, and what would be lost.
pub fn first_lost(layers: &BTreeMap<ContainerName, Layer>) -> Option<(ContainerName, String)> {
    layers.iter().find_map(|(name, layer)| {
        let paths = lost(layer, Successor::Nobody);
        (!paths.is_empty()).then(|| (name.clone(), first_paths(&paths)))
    })
}

/// The paths of `layer` that are lost.
pub(crate) fn lost(layer: &Layer, successor: Successor<'_>) -> BTreeSet<PathBuf> {
    let spec = match successor {
        Successor::TakesOver(spec) | Successor::BeginsAnew(spec) => Some(spec),
        Successor::Nobody => None,
    };
    let is_covered = |path: &Path| {
        spec.is_some_and(|spec| {
            let filled =
                |target: &PathBuf| path.starts_with(target) && layer.filled.contains(target);
            spec.mounts.iter().any(|mount| filled(&mount.target))
                || spec.tmpfs.keys().any(|target| path.starts_with(target))
        })
    };
    let is_mounted_over =
        |path: &Path| spec.is_none_or(|spec| spec.mounts.iter().any(|mount| mount.target == path));
    let volumes = layer.unnamed.iter().filter(|path| match successor {
        Successor::TakesOver(_) => is_mounted_over(path),
        Successor::BeginsAnew(_) | Successor::Nobody => true,
    });
    let anything = layer.is_unknown.then(|| PathBuf::from("/"));
    let known = written(layer).chain(volumes).filter(|path| !is_covered(path)).cloned();
    known.chain(anything).collect()
}

/// What was written into the layer itself: the ends of paths, without mount points, what passes and what
/// is made again.
pub fn written(layer: &Layer) -> impl Iterator<Item = &PathBuf> {
    let is_directory = |path: &PathBuf| {
        // In the order of paths what is in a directory follows it directly.
        let next = layer.changed.range::<PathBuf, _>((
            std::ops::Bound::Excluded(path.clone()),
            std::ops::Bound::Unbounded,
        ));
        next.into_iter().next().is_some_and(|next| next.starts_with(path))
    };
    let is_mount_point =
        |path: &PathBuf| layer.mounted.iter().any(|mounted| mounted.starts_with(path));
    let is_remade = |path: &PathBuf| layer.remade.contains(path);
    let passes = |path: &PathBuf| PASSING.iter().any(|passing| path.starts_with(passing));
    layer
        .changed
        .iter()
        .filter(move |path| !is_directory(path) && !is_mount_point(path) && !passes(path))
        .filter(move |path| !is_remade(path))
}

/// Why a container with `paths` at risk is not replaced.
pub(crate) fn held(name: &ContainerName, paths: &BTreeSet<PathBuf>) -> String {
    let from = paths.iter().next().and_then(|path| path.parent()).unwrap_or(Path::new("/"));
    let from = from.display();
    format!(
        "it holds data in no declared mount, which would be lost: {}; to keep it, copy it and declare the copy as a mount: docker cp {name}:{from}/. DIRECTORY, MountPath DIRECTORY:{from}; to give it up: wharf apply --accept-data-loss {name}",
        first_paths(paths)
    )
}

/// Why a container without a record is not removed.
pub(crate) fn kept(name: &ContainerName, paths: &BTreeSet<PathBuf>) -> String {
    format!(
        "its record is deleted; it is stopped and kept, because it holds data in no declared mount: {}; bring it out with docker cp, or give it up: wharf apply --accept-data-loss {name}",
        first_paths(paths)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(texts: &[&str]) -> BTreeSet<PathBuf> {
        texts.iter().map(PathBuf::from).collect()
    }

    fn lost_of(layer: &Layer) -> Vec<String> {
        let lost = lost(layer, Successor::Nobody);
        lost.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn only_the_ends_of_paths_count() {
        let changed = paths(&["/srv", "/srv/a", "/srv/a/file", "/srv/a-b", "/srv/b"]);
        let layer = Layer { changed, ..Layer::default() };
        assert_eq!(lost_of(&layer), ["/srv/a/file", "/srv/a-b", "/srv/b"]);
    }

    #[test]
    fn what_passes_and_what_is_a_place_for_a_mount_does_not_count() {
        let layer = Layer {
            changed: paths(&[
                "/run/app.pid",
                "/var",
                "/var/log",
                "/var/log/app.log",
                "/var/cached",
                "/home",
                "/home/data",
                "/etc/hosts",
            ]),
            mounted: paths(&["/home/data"]),
            ..Layer::default()
        };
        assert_eq!(lost_of(&layer), ["/var/cached"]);
    }

    #[test]
    fn what_a_start_has_written_is_made_again_and_what_was_there_before_or_came_later_is_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(is_of_start(at(1000), at(1000)) && is_of_start(at(1010), at(1000)));
        assert!(!is_of_start(at(1011), at(1000)) && !is_of_start(at(998), at(1000)));
        let layer = Layer {
            changed: paths(&["/etc", "/etc/app", "/etc/app/conf", "/srv", "/srv/x"]),
            remade: paths(&["/etc/app/conf"]),
            ..Layer::default()
        };
        assert_eq!(lost_of(&layer), ["/srv/x"]);
    }

    #[test]
    fn what_cannot_be_looked_at_may_be_anything() {
        let layer = Layer { is_unknown: true, mounted: paths(&["/kept"]), ..Layer::default() };
        assert_eq!(lost_of(&layer), ["/"]);
    }

    #[test]
    fn a_volume_without_a_name_is_lost_with_the_last_container_only() {
        let layer =
            Layer { mounted: paths(&["/kept"]), unnamed: paths(&["/kept"]), ..Layer::default() };
        assert_eq!(lost_of(&layer), ["/kept"]);
    }

    #[test]
    fn what_the_successor_mounts_and_has_is_not_lost() {
        let mut spec = crate::plan::parameters::tests::spec();
        let mount = |target: &str| crate::state::container::Mount {
            source: crate::state::container::MountedFrom::Volume("volume".to_owned()),
            target: target.into(),
            read_only: false,
        };
        spec.mounts = vec![mount("/full"), mount("/empty"), mount("/volume")];
        spec.tmpfs = [("/memory".into(), None)].into();
        let layer = Layer {
            changed: paths(&["/full/a", "/empty/b", "/memory/c", "/other/d"]),
            filled: paths(&["/full", "/other"]),
            unnamed: paths(&["/unnamed", "/volume"]),
            ..Layer::default()
        };
        let lost = |successor| -> Vec<String> {
            lost(&layer, successor).iter().map(|path| path.display().to_string()).collect()
        };
        let all = ["/empty/b", "/full/a", "/memory/c", "/other/d", "/unnamed", "/volume"];
        assert_eq!(lost(Successor::Nobody), all);
        assert_eq!(
            lost(Successor::BeginsAnew(&spec)),
            ["/empty/b", "/other/d", "/unnamed", "/volume"]
        );
        assert_eq!(lost(Successor::TakesOver(&spec)), ["/empty/b", "/other/d", "/volume"]);
    }
}
