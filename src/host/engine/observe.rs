// SPDX-License-Identifier: GPL-2.0-or-later

//! What one observation asks the engine beside the list of containers.

use std::collections::BTreeMap;

use bollard::models::{ContainerSummary, ImageSummary};
use bollard::query_parameters::ListImagesOptions;

use super::{Engine, list};
use crate::db::value::ImageRef;
use crate::host::Error as HostError;
use crate::state::{Observed, ObservedNetwork, Query};

impl Engine {
    /// Everything that the engine knows and `query` asks for: what it has `listed`, and what this does not tell
    /// about images and the network.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn observe(
        &self,
        listed: Result<Vec<ContainerSummary>, HostError>,
        query: &Query,
    ) -> Result<Observed, HostError> {
        let listed = match listed {
            Err(HostError::Engine { source, .. }) if source.is_about_version() => {
                self.negotiate().await?;
                self.list().await?
            }
            other => other?,
        };
        let is_used = query.bridge.as_ref().is_some_and(|bridge| list::is_used(&listed, bridge));
        let mut observed = list::observed(listed, query.bridge.as_ref());
        let is_unknown = |image: &&ImageRef| !observed.images.contains_key(*image);
        let images = self.images(query.images.iter().filter(is_unknown).collect());
        let is_right = observed.network == ObservedNetwork::Right;
        let network = async {
            match query.bridge.as_ref().filter(|_| !is_right) {
                Some(bridge) => Ok(Some(self.network(bridge, is_used).await?)),
                None => Ok::<_, HostError>(None),
            }
        };
        let (images, network) = tokio::join!(images, network);
        observed.images.extend(images?);
        observed.network = network?.unwrap_or(observed.network);
        Ok(observed)
    }

    /// Which images the references `unknown` name, by one call where the engine's list of images says it,
    /// else by one for each.
    async fn images(
        &self,
        unknown: Vec<&ImageRef>,
    ) -> Result<BTreeMap<ImageRef, String>, HostError> {
        let listed = match unknown.as_slice() {
            [] | [_] => Vec::new(),
            _ => {
                let list = self.client().list_images(None::<ListImagesOptions>);
                self.call("list images", self.limit, list).await?.unwrap_or_default()
            }
        };
        let mut found = BTreeMap::new();
        for image in unknown {
            let id = if let Some(id) = named(&listed, image) {
                Some(id.to_owned())
            } else {
                let inspect = self.client().inspect_image(image.as_str());
                self.call("inspect image", self.limit, inspect).await?.and_then(|found| found.id)
            };
            found.extend(id.map(|id| (image.clone(), id)));
        }
        Ok(found)
    }
}

/// The image that a list of images has under this name, when there is no doubt about it.
///
/// Docker lists its own names without their registry; Podman lists all names with it, and its socket takes
/// those without for Docker's, unless one that ends so is there. `None` may still be known to the engine: as
/// another name, or an id.
fn named<'a>(listed: &'a [ImageSummary], image: &ImageRef) -> Option<&'a str> {
    let wanted = image.with_tag();
    let end = format!("/{wanted}");
    let library = if wanted.as_str().contains('/') { "" } else { "/library" };
    let in_full = format!("docker.io{library}{end}");
    let tags = || listed.iter().flat_map(|one| one.repo_tags.iter().map(move |tag| (tag, one)));
    if let Some((_, exact)) = tags().find(|(tag, _)| *tag == wanted.as_str()) {
        return Some(&exact.id);
    }
    let mut ends = tags().filter(|(tag, _)| tag.ends_with(&end));
    let (only, rest) = (ends.next(), ends.next());
    only.filter(|(tag, _)| **tag == in_full && rest.is_none()).map(|(_, one)| one.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::value::image_ref;

    #[test]
    fn a_name_is_found_as_the_engine_lists_it_or_not_at_all() {
        let image = |id: &str, tags: &[&str]| ImageSummary {
            id: id.to_owned(),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..ImageSummary::default()
        };
        let docker =
            [image("a", &["wiki:latest", "wiki:2"]), image("b", &["quay.io/me/wiki:latest"])];
        let podman = [
            image("c", &["docker.io/library/wiki:latest"]),
            image("d", &["quay.io/me/shop:1", "quay.io/you/shop:1"]),
            image("e", &["docker.io/library/blog:latest"]),
            image("f", &["localhost/blog:latest"]),
            image("g", &[]),
        ];
        for (listed, name, expected) in [
            (&docker[..], "wiki", Some("a")),
            (&docker, "wiki:latest", Some("a")),
            (&docker, "wiki:2", Some("a")),
            (&docker, "wiki:3", None),
            (&docker, "quay.io/me/wiki", Some("b")),
            (&docker, "iki", None),
            (&docker, "docker.io/library/wiki", None),
            (&podman, "wiki", Some("c")),
            (&podman, "docker.io/library/wiki", Some("c")),
            // On Docker it is another image, which `wiki` and `me/wiki` never stand for.
            (&docker[1..], "wiki", None),
            (&docker, "me/wiki", None),
            (&podman, "library/wiki", Some("c")),
            // Which one is for Podman to say.
            (&podman, "shop:1", None),
            (&podman, "blog", None),
            (&podman, "localhost/blog", Some("f")),
            (&[], "wiki", None),
        ] {
            assert_eq!(named(listed, &image_ref(name).unwrap()), expected, "{name}");
        }
        let id = format!("sha256:{}", "a".repeat(64));
        assert_eq!(named(&docker, &image_ref(&id).unwrap()), None);
    }
}
