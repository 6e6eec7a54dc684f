// SPDX-License-Identifier: GPL-2.0-or-later

//! What a step is done with, for programs and for comparing two plans. Pure.
//!
//! Values of the environment, command lines and contents of files are told by hash: the hash of a spec
//! or file is over all of them, so two steps with the same parameters do the same.

use serde_json::{Value, json};

use crate::db::value::ContainerName;
use crate::plan::{NewContainer, Step};
use crate::state::ImageSource;
use crate::state::container::Readiness;

impl Step {
    /// What it is done with; never a value that may be a secret.
    pub fn parameters(&self) -> Value {
        match self {
            Self::WriteFile { file, keep_old } => json!({
                "target": file.target,
                "sha256": file.hash(),
                "mode": format!("{:04o}", file.mode),
                "keep_old": keep_old,
            }),
            Self::LoadGuard { file, hash } => json!({ "file": file, "sha256": hash }),
            Self::SetBridgeFilter
            | Self::SetForwarding
            | Self::RemoveGuard
            | Self::RestoreForwarding => json!({}),
            Self::RemoveNetwork(id) => json!({ "id": id }),
            Self::CreateNetwork(bridge) => {
                json!({ "name": bridge.name, "subnet": bridge.subnet.to_string() })
            }
            Self::Adjust(adjust) => json!({ "unit": adjust.unit, "verb": adjust.verb.as_str() }),
            Self::EnsureImage { image, source } => {
                json!({ "image": image.to_string(), "source": image_source(source) })
            }
            Self::RemoveLeftover { id, name } => json!({ "id": id, "name": name }),
            Self::RestoreName { id, name }
            | Self::StopContainer { id, name }
            | Self::RemoveContainer { id, name } => json!({ "id": id, "name": name.as_str() }),
            Self::CreateContainer(new) => container(new),
            Self::ReplaceContainer { old, old_is_up, new, proof } => json!({
                "old": old,
                "old_is_up": old_is_up,
                "new": container(new),
                "proof": proof.as_ref().map(|proof| ready(&proof.readiness)),
            }),
            Self::FinishReplacement { previous, name, proof } => json!({
                "previous": previous,
                "name": name.as_str(),
                "hash": proof.hash,
                "proof": ready(&proof.readiness),
            }),
            Self::StartContainer(name) | Self::RestartContainer(name) => {
                json!({ "name": name.as_str() })
            }
            Self::UpdateContainer { id, name, limits } => {
                json!({ "id": id, "name": name.as_str(), "limits": limits })
            }
            Self::LeaveForwarding(others) => json!({ "others": others }),
            Self::RemoveFile(path) => json!({ "path": path }),
            Self::ReloadRules(names) => {
                json!({ "names": names.iter().map(ContainerName::as_str).collect::<Vec<_>>() })
            }
            Self::EnableUnit(unit) => json!({ "unit": unit }),
            Self::AwaitReady { name, readiness } => {
                json!({ "name": name.as_str(), "readiness": ready(readiness) })
            }
        }
    }
}

fn container(new: &NewContainer) -> Value {
    let mut spec = new.spec.canonical();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("command");
        if let Some(health) = fields.get_mut("health").and_then(Value::as_object_mut) {
            health.remove("command");
        }
        let names: Vec<&String> = new.spec.environment.keys().collect();
        fields.insert("environment".to_owned(), json!(names));
    }
    json!({
        "spec": spec,
        "hash": new.spec.hash().as_str(),
        "generation": new.generation,
        "directories": new.directories,
        "network": new.network,
    })
}

fn image_source(source: &ImageSource) -> Value {
    match source {
        ImageSource::Registry => json!("registry"),
        ImageSource::Archive(path) => json!({ "archive": path }),
        ImageSource::Rootfs(path) => json!({ "rootfs": path }),
        ImageSource::Unknown(word) => json!({ "unknown": word }),
    }
}

fn ready(readiness: &Readiness) -> Value {
    match readiness {
        Readiness::Running => json!("running"),
        Readiness::Health => json!("health"),
        Readiness::Tcp(address, port) => json!({ "tcp": format!("{address}:{port}") }),
        Readiness::Http(address, port, path) => {
            json!({ "http": format!("http://{address}:{port}{path}") })
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::db::value;
    use crate::state::container::{
        Attachment, ContainerSpec, DEFAULT_LOG_BYTES, DEFAULT_STOP_GRACE, HealthCheck, Masked,
    };

    /// With a secret at each place that can hold one.
    pub(in crate::plan) fn spec() -> ContainerSpec {
        ContainerSpec {
            name: value::container_name("wiki").unwrap(),
            image: value::image_ref("wiki:1").unwrap(),
            command: vec!["server".to_owned(), "--password=geheim1".to_owned()],
            environment: BTreeMap::from([(
                "DB_PASSWORD".to_owned(),
                Masked::new("geheim2".to_owned()),
            )]),
            user: None,
            attachment: Attachment::Host { names: BTreeMap::new() },
            mounts: Vec::new(),
            memory_bytes: None,
            nano_cpus: None,
            pids: None,
            health: Some(HealthCheck {
                command: "check geheim3".to_owned(),
                interval: std::time::Duration::from_secs(10),
                timeout: std::time::Duration::from_secs(5),
                retries: 3,
                start_period: std::time::Duration::ZERO,
            }),
            stop_grace: DEFAULT_STOP_GRACE,
            capabilities_added: BTreeSet::new(),
            capabilities_dropped: BTreeSet::new(),
            read_only: false,
            devices: Vec::new(),
            tmpfs: BTreeMap::new(),
            log_max_bytes: DEFAULT_LOG_BYTES,
        }
    }

    fn new() -> NewContainer {
        NewContainer { spec: spec(), generation: 1, directories: BTreeSet::new(), network: None }
    }

    #[test]
    fn nobody_sees_a_secret_and_a_changed_one_changes_the_parameters() {
        let first = Step::CreateContainer(Box::new(new())).parameters();
        let text = first.to_string();
        assert!(!text.contains("geheim"), "{text}");
        assert!(text.contains("DB_PASSWORD") && text.contains("wiki:1"), "{text}");

        let mut other = new();
        other.spec.environment =
            BTreeMap::from([("DB_PASSWORD".to_owned(), Masked::new("other".to_owned()))]);
        assert_ne!(Step::CreateContainer(Box::new(other)).parameters(), first);
    }
}
