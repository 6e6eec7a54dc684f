// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine of a laboratory: its start, its end, its images.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Lab, http, podman, process, root_file_system};

/// How long the engine gets to answer after its start, on a busy machine.
const ENGINE_START: Duration = Duration::from_secs(60);

/// No bus for an engine: it would give its rules to the firewalld of the machine, which puts them into
/// the machine's own network.
pub(super) const BUS: (&str, &str) = ("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");

/// Which engine a laboratory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Docker,
    Podman,
}

impl Engine {
    /// What `WHARF_TEST_ENGINE` says, so that tests can be run with another engine than Docker.
    pub(super) fn of_environment() -> Self {
        match std::env::var("WHARF_TEST_ENGINE").as_deref() {
            Ok("podman") => Self::Podman,
            Ok("docker") | Err(_) => Self::Docker,
            Ok(other) => panic!("WHARF_TEST_ENGINE '{other}' is neither docker nor podman"),
        }
    }

    /// What must be installed for it.
    pub(super) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["dockerd", "containerd"],
            Self::Podman => podman::PROGRAMS,
        }
    }
}

impl Lab {
    /// The pid of the engine, which must have been started.
    pub(crate) fn engine_pid(&self) -> u32 {
        self.engine.as_ref().unwrap().id()
    }

    /// Starts what runs the containers for the engine.
    pub(super) fn start_containerd(&mut self) {
        let dir = self.dir.display();
        let file = self.dir.join("containerd.toml");
        let config = format!(
            "version = 2\n\
             root = \"{dir}/ctrd-data\"\n\
             state = \"{dir}/ctrd-run\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n\
             address = \"{dir}/ctrd.sock\"\n\
             [ttrpc]\n\
             address = \"{dir}/ctrd.sock.ttrpc\"\n"
        );
        fs::write(&file, config).unwrap();
        let mut command = self.on_host("setpriv");
        command.args(["--pdeathsig", "TERM", "containerd", "--config"]).arg(&file);
        self.beside = Some(process::start(&mut command, &self.dir.join("containerd.log")));
    }

    /// Starts the engine, again or for the first time, and waits until it answers.
    pub(crate) fn start_engine(&mut self) {
        self.begin_engine();
        let deadline = Instant::now() + ENGINE_START;
        while !self.engine_answers() {
            let ended = self.engine.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the engine did not start ({ended:?}), its log ends:\n{}",
                self.engine_log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the engine and does not wait for it.
    pub(crate) fn begin_engine(&mut self) {
        self.reap_engine();
        self.engine = Some(match self.kind {
            Engine::Docker => self.begin_docker(),
            Engine::Podman => self.begin_podman(),
        });
    }

    fn begin_docker(&self) -> Child {
        let dir = &self.dir;
        let config = json!({
            "hosts": [self.docker_host()],
            "containerd": dir.join("ctrd.sock"),
            "data-root": dir.join("data"),
            "exec-root": dir.join("exec"),
            "pidfile": dir.join("dockerd.pid"),
            "cgroup-parent": format!("/{}", self.name),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            // Neither 10.0.3.0/24, the LAN nor the test networks of the RFCs.
            "bip": "172.31.250.1/24",
            "default-address-pools": [{ "base": "172.31.240.0/21", "size": 24 }],
        });
        let file = dir.join("dockerd.json");
        fs::write(&file, config.to_string()).unwrap();
        let mut command = self.on_host("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd", "--config-file"]).arg(&file);
        command.env(BUS.0, BUS.1);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}:{}", self.programs().display(), process::ALSO));
        process::start(&mut command, &dir.join("dockerd.log"))
    }

    fn engine_answers(&self) -> bool {
        http::request(&self.socket(), "GET", "/_ping", "text/plain", None)
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Ends the engine as its service would: its containers are stopped.
    pub(crate) fn stop_engine(&mut self) {
        process::signal(self.engine_pid(), nix::sys::signal::Signal::SIGTERM);
        self.reap_engine();
    }

    /// Kills the engine: it has no time to do anything.
    pub(crate) fn kill_engine(&mut self) {
        process::signal(self.engine_pid(), nix::sys::signal::Signal::SIGKILL);
        self.reap_engine();
    }

    /// Waits for the end of an engine that was told, or happened, to end.
    fn reap_engine(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            engine.wait().unwrap();
        }
    }

    /// The end of the engine's log.
    pub(crate) fn engine_log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("dockerd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("[core]")).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Makes image `repo` of the demo's root file system.
    pub(crate) fn import(&self, repo: &str, change: &str) {
        let path = format!(
            "/images/create?fromSrc=-&repo={repo}&tag=latest&changes={}",
            http::query_value(change)
        );
        let body = Some(root_file_system());
        let answer = http::request(&self.socket(), "POST", &path, "application/x-tar", body);
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "import {repo}: {}", answer.text());
        assert!(!answer.text().contains("\"error\""), "import {repo}: {}", answer.text());
    }
}
