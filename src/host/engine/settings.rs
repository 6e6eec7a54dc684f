// SPDX-License-Identifier: GPL-2.0-or-later
#![expect(clippy::disallowed_types, reason = "the engine's client gives HashMaps")]

//! What containers are made of, asked only of those about which there is a doubt.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, DeviceMapping, HostConfig, ImageConfig, MountPoint,
    PortBinding,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Engine, body, is_unnamed};
use crate::host::Error as HostError;
use crate::plan::Limits;
use crate::state::container::{Device, Masked, Mount, MountedFrom};
use crate::state::settings::{ImageDefaults, Settings, published};

/// Containers at a time that are looked into.
pub(super) const AT_A_TIME: usize = 4;

impl Engine {
    /// How the containers `ids` are made; of one that is gone, nothing.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn settings(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Settings>, HostError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let is_podman = self.is_podman().await?;
        let inspects = ids.iter().map(|id| async move { Ok((id, self.inspect(id).await?)) });
        let found: Vec<(&String, Option<ContainerInspectResponse>)> =
            stream::iter(inspects).buffered(AT_A_TIME).try_collect().await?;
        let mut images: BTreeMap<String, Option<ImageDefaults>> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for (id, found) in found {
            let Some(found) = found else { continue };
            let image = found.image.clone().unwrap_or_default();
            if !images.contains_key(&image) {
                let inspect = self.client().inspect_image(&image);
                let inspected = self.call("inspect image", self.limit, inspect).await?;
                let config = inspected.map(|image| defaults(image.config.unwrap_or_default()));
                images.insert(image.clone(), config);
            }
            let image = images.get(&image).cloned().flatten();
            all.insert(id.clone(), Settings { image, is_podman, ..settings(found) });
        }
        Ok(all)
    }

    /// Sets limits while it runs.
    pub(crate) async fn update(&self, id: &str, limits: &Limits) -> Result<(), HostError> {
        let update = self.client().update_container(id, body::update(limits));
        self.must("update container", update).await
    }
}

fn defaults(config: ImageConfig) -> ImageDefaults {
    ImageDefaults {
        environment: variables(config.env.as_deref()),
        command: config.cmd.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
    }
}

fn settings(found: ContainerInspectResponse) -> Settings {
    let config = found.config.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    Settings { mounts: mounts(found.mounts.unwrap_or_default()), ..both(config, host) }
}

fn both(config: ContainerConfig, host: HostConfig) -> Settings {
    let positive = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
    let policy = host.restart_policy.and_then(|policy| policy.name);
    let policy = policy.map(|name| name.to_string()).filter(|name| name != "no");
    let tmpfs = host.tmpfs.unwrap_or_default();
    Settings {
        environment: variables(config.env.as_deref()),
        command: config.cmd.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        memory_bytes: positive(host.memory).unwrap_or_default(),
        swap_bytes: host.memory_swap.unwrap_or_default(),
        nano_cpus: positive(host.nano_cpus).unwrap_or_default(),
        pids: host.pids_limit.unwrap_or_default().max(0),
        restart_policy: policy.unwrap_or_default(),
        published: ports(host.port_bindings.unwrap_or_default()),
        capabilities_added: capabilities(host.cap_add.as_deref()),
        capabilities_dropped: capabilities(host.cap_drop.as_deref()),
        privileged: host.privileged.unwrap_or_default(),
        read_only: host.readonly_rootfs.unwrap_or_default(),
        devices: host.devices.into_iter().flatten().filter_map(device).collect(),
        tmpfs: tmpfs.into_keys().map(PathBuf::from).collect(),
        network_mode: host.network_mode.unwrap_or_default(),
        ..Settings::default()
    }
}

fn variables(list: Option<&[String]>) -> BTreeMap<String, Masked> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), Masked::new(value.to_owned()))
    };
    list.unwrap_or_default().iter().map(pair).collect()
}

fn capabilities(list: Option<&[String]>) -> BTreeSet<String> {
    let short = |name: &String| {
        let name = name.to_ascii_uppercase();
        name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
    };
    list.unwrap_or_default().iter().map(short).collect()
}

fn ports(bindings: HashMap<String, Option<Vec<PortBinding>>>) -> BTreeSet<String> {
    let of = |(inside, list): (String, Option<Vec<PortBinding>>)| {
        let text = |binding: PortBinding| {
            let host = binding.host_port.unwrap_or_default();
            published(&binding.host_ip.unwrap_or_default(), &host, &inside)
        };
        list.unwrap_or_default().into_iter().map(text).collect::<Vec<_>>()
    };
    bindings.into_iter().flat_map(of).collect()
}

/// Without the volumes that an image declares: nobody has named them, and they are taken over.
fn mounts(points: Vec<MountPoint>) -> Vec<Mount> {
    let mount = |point: MountPoint| {
        let source = match point.typ.as_deref() {
            Some("bind") => MountedFrom::Host(point.source?.into()),
            Some("volume") => MountedFrom::Volume(point.name.filter(|name| !is_unnamed(name))?),
            _ => return None,
        };
        let read_only = !point.rw.unwrap_or(true);
        Some(Mount { source, target: point.destination?.into(), read_only })
    };
    points.into_iter().filter_map(mount).collect()
}

fn device(mapping: DeviceMapping) -> Option<Device> {
    Some(Device {
        host: mapping.path_on_host?.into(),
        container: mapping.path_in_container?.into(),
        permissions: mapping.cgroup_permissions.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_shows_is_read_in_the_terms_of_a_spec() {
        let found: ContainerInspectResponse = serde_json::from_value(serde_json::json!({
            "Config": { "Env": ["A=1=2", "B"], "Cmd": ["run"], "User": "1000" },
            "HostConfig": {
                "Memory": 1024, "MemorySwap": -1, "PidsLimit": -1,
                "RestartPolicy": { "Name": "no" }, "CapAdd": ["CAP_NET_ADMIN", "sys_time"],
                "PortBindings": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }] },
            },
            "Mounts": [
                { "Type": "bind", "Source": "/srv/a", "Destination": "/a", "RW": false },
                { "Type": "volume", "Name": "a".repeat(64), "Destination": "/unnamed", "RW": true },
                { "Type": "volume", "Name": "data", "Destination": "/data", "RW": true },
            ],
        }))
        .unwrap();
        let settings = settings(found);
        assert_eq!(settings.environment["A"].reveal(), "1=2");
        assert_eq!(settings.environment["B"].reveal(), "");
        assert_eq!((settings.memory_bytes, settings.swap_bytes, settings.pids), (1024, -1, 0));
        assert_eq!(settings.restart_policy, "");
        assert_eq!(settings.published, [":8080->80/tcp".to_owned()].into());
        let added: Vec<&str> = settings.capabilities_added.iter().map(String::as_str).collect();
        assert_eq!(added, ["NET_ADMIN", "SYS_TIME"]);
        let [bind, volume] = settings.mounts.as_slice() else { panic!("{:?}", settings.mounts) };
        assert!(bind.read_only && !volume.read_only);
        assert_eq!(volume.source, MountedFrom::Volume("data".to_owned()));
    }
}
