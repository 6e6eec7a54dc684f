// SPDX-License-Identifier: GPL-2.0-or-later

//! What containers have written outside of named volumes and host directories; asked only of those
//! that are about to be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::models::{ChangeType, ContainerInspectResponse, FilesystemChange};
use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::settings::AT_A_TIME;
use super::{Engine, Error, is_unnamed};
use crate::db::value::ContainerName;
use crate::host::{Error as HostError, outside};
use crate::plan::data;
use crate::state::container::{Mount, MountedFrom};
use crate::state::layer::{Layer, LayerQuery};

/// Most paths of one container that are looked at.
const MOST_ASKED: usize = 64;

/// The bit of a directory in what the engine tells of a path. Source: `ModeDir` in Go's `io/fs`.
const DIRECTORY: u32 = 1 << 31;

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
        let looks = wanted.iter().map(|(name, query)| async move {
            let layer = Box::pin(self.layer_of(name, query)).await?;
            Ok(layer.map(|layer| (name.clone(), layer)))
        });
        let found: Vec<_> = stream::iter(looks).buffered(AT_A_TIME).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn layer_of(
        &self,
        name: &ContainerName,
        query: &LayerQuery,
    ) -> Result<Option<Layer>, HostError> {
        let Some(found) = self.inspect(&query.id).await? else { return Ok(None) };
        let changes = if self.socket.is_some() && has_written_nothing(&found) {
            Some(Vec::new())
        } else {
            self.changes(name, &query.id).await?
        };
        let is_unknown = changes.is_none();
        let mut layer = Layer { is_unknown, ..layer(&found, changes.unwrap_or_default()).await };
        layer.remade = self.remade(&query.id, &found, &layer).await?;
        for mount in &query.mounts {
            if self.is_filled(mount).await? {
                layer.filled.insert(mount.target.clone());
            }
        }
        Ok(Some(layer))
    }

    /// What the engine says was written; `None` when it does not say of this one.
    async fn changes(
        &self,
        name: &ContainerName,
        id: &str,
    ) -> Result<Option<Vec<FilesystemChange>>, HostError> {
        let changes = self.client().container_changes(id);
        let doing = format!("look what container {name} has written");
        match self.call(doing, self.limit, changes).await {
            Ok(changes) => Ok(Some(changes.flatten().unwrap_or_default())),
            // A container that is damaged must not stop the pass for all others.
            Err(HostError::Engine { source, .. }) if matches!(*source, Error::Refused { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Which of what was written is a directory, or of the first or the last start. Of very many paths only the first
    /// are looked at; the others count as data.
    async fn remade(
        &self,
        id: &str,
        found: &ContainerInspectResponse,
        layer: &Layer,
    ) -> Result<BTreeSet<PathBuf>, HostError> {
        let started = found.state.as_ref().and_then(|state| state.started_at.as_deref());
        let made = found.created.as_ref().map(ToString::to_string);
        let starts: Vec<Timestamp> = [started, made.as_deref()]
            .into_iter()
            .flatten()
            .filter_map(|at| at.parse().ok())
            .collect();
        let mut remade = BTreeSet::new();
        for path in data::written(layer).take(MOST_ASKED) {
            let options =
                ContainerArchiveInfoOptionsBuilder::default().path(&path.to_string_lossy()).build();
            let ask = self.client().get_container_archive_info(id, Some(options));
            let doing = format!("look at {} of a container", path.display());
            // What cannot be looked at counts as data.
            let Ok(Some(stat)) = self.call(doing, self.limit, ask).await else { continue };
            let modified =
                stat.modification_time.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
            let is_of_start = modified
                .is_some_and(|at| starts.iter().any(|started| data::is_of_start(at, *started)));
            if stat.file_mode & DIRECTORY != 0 || is_of_start {
                remade.insert(path.clone());
            }
        }
        Ok(remade)
    }

    /// Whether there is something in what `mount` brings.
    async fn is_filled(&self, mount: &Mount) -> Result<bool, HostError> {
        match &mount.source {
            MountedFrom::Host(path) => Ok(is_filled(path).await),
            MountedFrom::Volume(name) => {
                let inspect = self.client().inspect_volume(name);
                let volume = self.call("inspect volume", self.limit, inspect).await?;
                let Some(volume) = volume else { return Ok(false) };
                Ok(is_filled(Path::new(&volume.mountpoint)).await)
            }
        }
    }
}

/// Whether `path` is a file, or a directory with something in it.
async fn is_filled(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            outside::is_filled(path).await.unwrap_or(false)
        }
        Err(_) => path.exists() && !path.is_dir(),
    }
}

/// Whether `path` can be seen, and nothing is in it.
async fn is_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            outside::is_filled(path).await == Some(false)
        }
        Err(_) => false,
    }
}

/// Whether it is seen without asking: all that a container writes or deletes is in the upper directory of its overlay
/// (`overlayfs.rst` of the kernel), whose name is a hash that only a copy of this machine has. The engine takes ten
/// milliseconds for the comparison.
fn has_written_nothing(found: &ContainerInspectResponse) -> bool {
    let data = found.graph_driver.as_ref().map(|driver| &driver.data);
    let upper = data.and_then(|data| data.get("UpperDir"));
    upper
        .filter(|upper| Path::new(upper).is_absolute())
        .and_then(|upper| fs::read_dir(upper).ok())
        .is_some_and(|mut entries| entries.next().is_none())
}

async fn layer(found: &ContainerInspectResponse, changes: Vec<FilesystemChange>) -> Layer {
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
        let is_empty = match source.filter(|_| is_unnamed) {
            Some(source) => is_empty(source).await,
            None => false,
        };
        if is_unnamed && !is_empty {
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

#[cfg(test)]
mod tests {
    use bollard::models::DriverData;

    use super::*;

    fn with_upper(upper: &str) -> ContainerInspectResponse {
        let data = [("UpperDir".to_owned(), upper.to_owned())].into();
        let driver = DriverData { name: "overlay2".to_owned(), data };
        ContainerInspectResponse { graph_driver: Some(driver), ..Default::default() }
    }

    #[test]
    fn only_an_upper_directory_that_is_seen_to_be_empty_spares_the_question() {
        let place = tempfile::tempdir().unwrap();
        let upper = place.path().to_str().unwrap();
        assert!(has_written_nothing(&with_upper(upper)));
        fs::File::create(place.path().join("data")).unwrap();
        assert!(!has_written_nothing(&with_upper(upper)));
        for unseen in ["", "diff", "/nobody/has/this"] {
            assert!(!has_written_nothing(&with_upper(unseen)), "{unseen}");
        }
        assert!(!has_written_nothing(&ContainerInspectResponse::default()));
    }
}
