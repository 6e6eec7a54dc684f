// SPDX-License-Identifier: GPL-2.0-or-later

//! What containers have written outside of named volumes and host directories; asked only of those
//! that are about to be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bollard::models::{ChangeType, ContainerInspectResponse, FilesystemChange};
use bollard::query_parameters::InspectContainerOptions;

use super::{Engine, is_unnamed};
use crate::db::value::ContainerName;
use crate::host::Error as HostError;
use crate::state::container::{Mount, MountedFrom};
use crate::state::layer::{Layer, LayerQuery};

impl Engine {
    /// What the containers of `wanted` hold; one that is gone holds nothing.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn layers(
        &self,
        wanted: &BTreeMap<ContainerName, LayerQuery>,
    ) -> Result<BTreeMap<ContainerName, Layer>, HostError> {
        let mut layers = BTreeMap::new();
        for (name, query) in wanted {
            let inspect =
                self.client().inspect_container(&query.id, None::<InspectContainerOptions>);
            let found = self.call("inspect container", self.limit, inspect).await?;
            let Some(found) = found else { continue };
            let changes = self.client().container_changes(&query.id);
            let doing = format!("look what container {name} has written");
            let changes = self.call(doing, self.limit, changes).await?.flatten();
            let mut layer = layer(&found, changes.unwrap_or_default());
            for mount in &query.mounts {
                if self.is_filled(mount).await? {
                    layer.filled.insert(mount.target.clone());
                }
            }
            layers.insert(name.clone(), layer);
        }
        Ok(layers)
    }

    /// Whether there is something in what `mount` brings.
    async fn is_filled(&self, mount: &Mount) -> Result<bool, HostError> {
        match &mount.source {
            MountedFrom::Host(path) => Ok(is_filled(path)),
            MountedFrom::Volume(name) => {
                let inspect = self.client().inspect_volume(name);
                let volume = self.call("inspect volume", self.limit, inspect).await?;
                Ok(volume.is_some_and(|volume| is_filled(Path::new(&volume.mountpoint))))
            }
        }
    }
}

/// Whether `path` is a file, or a directory with something in it.
fn is_filled(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists() && !path.is_dir(),
    }
}

/// Whether `path` can be seen, and nothing is in it.
fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn layer(found: &ContainerInspectResponse, changes: Vec<FilesystemChange>) -> Layer {
    let mut layer = Layer {
        changed: changes
            .into_iter()
            .filter(|change| change.kind != ChangeType::_2)
            .map(|change| PathBuf::from(change.path))
            .collect(),
        mounted: tmpfs(found),
        ..Layer::default()
    };
    for mount in found.mounts.iter().flatten() {
        let Some(target) = mount.destination.as_ref().map(PathBuf::from) else { continue };
        let source = mount.source.as_deref().map(Path::new);
        // Of an engine elsewhere nothing can be seen, and it may be full.
        let is_unnamed = mount.name.as_deref().is_some_and(is_unnamed);
        if is_unnamed && !source.is_some_and(is_empty) {
            layer.unnamed.insert(target.clone());
        }
        layer.mounted.insert(target);
    }
    layer
}

/// The list of mounts is without the file systems in memory.
fn tmpfs(found: &ContainerInspectResponse) -> BTreeSet<PathBuf> {
    let tmpfs = found.host_config.as_ref().and_then(|config| config.tmpfs.as_ref());
    tmpfs.into_iter().flat_map(|tmpfs| tmpfs.keys()).map(PathBuf::from).collect()
}
