// SPDX-License-Identifier: GPL-2.0-or-later
#![expect(clippy::disallowed_types, reason = "the engine's client takes HashMaps")]

//! A container's spec → what the engine is told. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings,
    HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType, NetworkingConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};

use crate::host::engine::KeptVolume;
use crate::host::engine::list::{LABEL_GENERATION, LABEL_HASH, LABEL_RECORD};
use crate::plan::{Limits, NewContainer};
use crate::state::ContainerSpec;
use crate::state::container::{Attachment, Listen, MountedFrom, Publish};

/// Rotated log files that are kept beside the one in use.
const LOG_FILES: &str = "3";

/// What the engine is told about a new container.
pub(super) fn body(new: &NewContainer, kept: &[KeptVolume]) -> ContainerCreateBody {
    let spec = &new.spec;
    let labels = HashMap::from([
        (LABEL_RECORD.to_owned(), spec.name.to_string()),
        (LABEL_HASH.to_owned(), spec.hash().as_str().to_owned()),
        (LABEL_GENERATION.to_owned(), new.generation.to_string()),
    ]);
    let environment =
        spec.environment.iter().map(|(name, value)| format!("{name}={}", value.reveal())).collect();
    ContainerCreateBody {
        image: Some(spec.image.to_string()),
        hostname: match &spec.attachment {
            Attachment::Bridge { .. } => Some(spec.name.to_string()),
            Attachment::Host { .. } => None,
        },
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(environment),
        user: spec.user.clone(),
        labels: Some(labels),
        stop_timeout: i64::try_from(spec.stop_grace).ok(),
        exposed_ports: Some(spec.published().iter().copied().map(inside).collect()),
        healthcheck: spec.health.as_ref().map(|health| HealthConfig {
            test: Some(vec!["CMD-SHELL".to_owned(), health.command.clone()]),
            interval: nanoseconds(health.interval),
            timeout: nanoseconds(health.timeout),
            retries: Some(health.retries),
            start_period: nanoseconds(health.start_period),
            ..HealthConfig::default()
        }),
        networking_config: network(new),
        host_config: Some(host_config(new, kept)),
        ..ContainerCreateBody::default()
    }
}

/// What the engine is told about limits of a container that is there.
pub(super) fn update(limits: &Limits) -> ContainerUpdateBody {
    let memory = limits.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    let no = || RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
    ContainerUpdateBody {
        memory,
        // What engines take when told nothing; a limit of swap below that of memory is refused.
        memory_swap: memory.map(|bytes| bytes.saturating_mul(2)),
        nano_cpus: limits.nano_cpus.and_then(|cpus| i64::try_from(cpus).ok()),
        pids_limit: limits.pids,
        restart_policy: limits.restart_policy.then(no),
        ..ContainerUpdateBody::default()
    }
}

fn nanoseconds(time: std::time::Duration) -> Option<i64> {
    i64::try_from(time.as_nanos()).ok()
}

/// `80/tcp`.
fn inside(publish: Publish) -> String {
    format!("{}/{}", publish.container, publish.protocol)
}

/// The endpoint on the bridge: its fixed address, and the names by which it knows others. Those are
/// links of the endpoint and not aliases of the other container, so that two containers may each
/// have a `db` of their own. They are for programs that ask Docker's name server past `/etc/hosts`; Podman
/// leaves them out.
fn network(new: &NewContainer) -> Option<NetworkingConfig> {
    let network = new.network.clone()?;
    let Attachment::Bridge { address, aliases, .. } = &new.spec.attachment else { return None };
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        links: Some(aliases.iter().map(|(alias, target)| format!("{target}:{alias}")).collect()),
        ..EndpointSettings::default()
    };
    Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(network, endpoint)])) })
}

fn host_config(new: &NewContainer, kept: &[KeptVolume]) -> HostConfig {
    let spec = &new.spec;
    let (Attachment::Bridge { names, .. } | Attachment::Host { names }) = &spec.attachment;
    let names = names.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    HostConfig {
        network_mode: Some(new.network.clone().unwrap_or_else(|| "host".to_owned())),
        extra_hosts: Some(names),
        port_bindings: Some(bindings(spec)),
        // The guard must be there before a container is, and links have an order: wharf starts them.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        memory: spec.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
        nano_cpus: spec.nano_cpus.and_then(|cpus| i64::try_from(cpus).ok()),
        pids_limit: spec.pids,
        mounts: Some(mounts(spec, kept)),
        cap_add: list(&spec.capabilities_added),
        cap_drop: list(&spec.capabilities_dropped),
        readonly_rootfs: Some(spec.read_only),
        devices: Some(
            spec.devices
                .iter()
                .map(|device| DeviceMapping {
                    path_on_host: Some(device.host.to_string_lossy().into_owned()),
                    path_in_container: Some(device.container.to_string_lossy().into_owned()),
                    cgroup_permissions: Some(device.permissions.clone()),
                })
                .collect(),
        ),
        tmpfs: Some(
            spec.tmpfs
                .iter()
                .map(|(path, size)| {
                    let options = size.map(|bytes| format!("size={bytes}")).unwrap_or_default();
                    (path.to_string_lossy().into_owned(), options)
                })
                .collect(),
        ),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), spec.log_max_bytes.to_string()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

fn list(names: &std::collections::BTreeSet<String>) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.iter().cloned().collect())
}

fn bindings(spec: &ContainerSpec) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for publish in spec.published() {
        let host_ip = match publish.listen {
            Listen::Everywhere => String::new(),
            Listen::Loopback => "127.0.0.1".to_owned(),
        };
        let binding =
            PortBinding { host_ip: Some(host_ip), host_port: Some(publish.host.to_string()) };
        bindings.entry(inside(*publish)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

/// What the record names, and what the old container had of volumes at places that it does not.
fn mounts(spec: &ContainerSpec, kept: &[KeptVolume]) -> Vec<Mount> {
    let is_free = |volume: &&KeptVolume| {
        let target = std::path::Path::new(&volume.target);
        spec.mounts.iter().all(|mount| mount.target != target) && !spec.tmpfs.contains_key(target)
    };
    let taken_over = kept.iter().filter(is_free).map(|volume| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.name.clone()),
        target: Some(volume.target.clone()),
        ..Mount::default()
    });
    spec.mounts.iter().map(mount).chain(taken_over).collect()
}

/// By the mount interface, not by binds: a source that is missing is an error there, and not an empty
/// directory that the engine makes.
fn mount(mount: &crate::state::container::Mount) -> Mount {
    let (typ, source) = match &mount.source {
        MountedFrom::Host(path) => (MountType::BIND, path.to_string_lossy().into_owned()),
        MountedFrom::Volume(name) => (MountType::VOLUME, name.clone()),
    };
    Mount {
        typ: Some(typ),
        source: Some(source),
        target: Some(mount.target.to_string_lossy().into_owned()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}
