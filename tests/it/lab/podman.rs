// SPDX-License-Identifier: GPL-2.0-or-later

//! Podman behind its socket that speaks Docker's API, as the engine of a laboratory.
//!
//! It keeps things at fixed places below /run, and so gets a mount namespace in which these lie in
//! the laboratory's directory. Two laboratories would else share a name server. The namespace outlives
//! the service, as the machine would: mounts of containers that run are in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use super::engine::BUS;
use super::{Engine, Lab, http, process};

/// What a laboratory with Podman calls besides.
pub(super) const PROGRAMS: &[&str] = &["podman", "runc", "conmon", "unshare"];

/// Not crun, which refuses hosts with both versions of control groups; limits below the hard ones.
const CONTAINERS: &str = r#"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_backend = "netavark"
network_config_dir = "DIR/networks"
default_subnet = "172.31.250.0/24"
"#;

const STORAGE: &str = r#"
[storage]
driver = "overlay"
runroot = "DIR/run"
graphroot = "DIR/data"
"#;

const SCRIPT: &str = r#"
set -e
mkdir -p "$1/run-containers" "$1/run-netns" "$1/run-libpod" /run/containers /run/netns /run/libpod
mount --bind "$1/run-containers" /run/containers
mount --bind "$1/run-netns" /run/netns
mount --bind "$1/run-libpod" /run/libpod
touch "$1/places"
exec sleep infinity
"#;

impl Lab {
    /// Whether its engine is Podman.
    pub(crate) fn is_podman(&self) -> bool {
        self.kind == Engine::Podman
    }

    /// A `PATH` on which `podman` is the program of this laboratory's service, with its places.
    pub(crate) fn path_with_podman(&self) -> String {
        let (dir, bin) = (self.dir.display(), self.dir.join("bin"));
        let (engine, podman) =
            (self.engine_pid(), process::find("podman").unwrap().display().to_string());
        fs::create_dir_all(&bin).unwrap();
        let script = format!(
            "#!/bin/sh\nexport CONTAINERS_CONF={dir}/containers.conf CONTAINERS_STORAGE_CONF={dir}/storage.conf\n\
             exec nsenter --mount=/proc/{engine}/ns/mnt {podman} --root {dir}/data --runroot {dir}/run \
             --tmpdir {dir}/tmp \"$@\"\n"
        );
        let program = bin.join("podman");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
    }

    /// Makes the places of Podman and waits until they are there.
    pub(super) fn start_places(&mut self) {
        let mut command = self.on_host("setpriv");
        command.args(["--pdeathsig", "TERM", "unshare", "--mount", "sh", "-c", SCRIPT, "places"]);
        command.arg(&self.dir);
        self.beside = Some(process::start(&mut command, &self.dir.join("places.log")));
        let made = self.dir.join("places");
        super::wait_until(Duration::from_secs(20), "the places of Podman", || made.exists());
    }

    /// Starts Podman's service, which does not wait for it.
    pub(super) fn begin_podman(&self) -> Child {
        let dir = self.dir.display().to_string();
        let write = |name: &str, text: &str| {
            let file = self.dir.join(name);
            fs::write(&file, text.replace("DIR", &dir)).unwrap();
            file
        };
        let mut command = self.on_host("setpriv");
        let places = format!("--mount=/proc/{}/ns/mnt", self.beside.as_ref().unwrap().id());
        command.args(["--pdeathsig", "TERM", "nsenter", &places, "podman"]);
        for (option, place) in [("--root", "data"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.dir.join(place));
        }
        command.args(["system", "service", "--time", "0", &self.docker_host()]);
        command.env(BUS.0, BUS.1);
        // Its conmon leaves a word there when a container had no memory left.
        command.current_dir(&self.dir);
        // It leaves what it imports where temporary files are.
        command.env("TMPDIR", &self.dir);
        command.env("CONTAINERS_CONF", write("containers.conf", CONTAINERS));
        command.env("CONTAINERS_STORAGE_CONF", write("storage.conf", STORAGE));
        process::start(&mut command, &self.dir.join("dockerd.log"))
    }
}

/// Removes all containers behind `socket`: they are in nobody's control group and name no directory,
/// so their engine alone finds them.
pub(super) fn remove_containers(socket: &Path) {
    let ask = |method, path: &str| http::request(socket, method, path, "text/plain", None);
    let Ok(list) = ask("GET", "/containers/json?all=true") else { return };
    let Ok(list) = serde_json::from_slice::<serde_json::Value>(&list.body) else { return };
    for container in list.as_array().into_iter().flatten() {
        let id = container["Id"].as_str().unwrap_or_default();
        drop(ask("DELETE", &format!("/containers/{id}?force=true")));
    }
}
