// SPDX-License-Identifier: GPL-2.0-or-later

//! A host with a LAN side, an Internet side and a real engine of its own, for one test.
//!
//! ```text
//!   NAME-lan 10.77.0.50 ── lan0 10.77.0.1 ┐
//!                                         ├ NAME: dockerd, containerd, wharf
//!   NAME-wan 198.51.100.50 ── wan0 198.51.100.1 ┘
//! ```
//!
//! Three network namespaces, and one temporary directory with everything that wharf and the engine
//! write. No route leads out of them. Dropping a [`Lab`], also by a panic, ends what runs in it and
//! removes what is left of it: processes (by pid, those of its control group and those whose command
//! line names its directory), mounts, namespaces, control groups, files.
//!
//! A test that cannot run must not look like one that passed: where `WHARF_REQUIRE_ENGINE` is set,
//! as `make test` does, being unable is a failure.
//!
//! The engine is entered with `nsenter --net`, never with `ip netns exec`: that one mounts a new
//! /sys, in which the control groups are hidden.

mod engine;
mod filter;
mod http;
mod liar;
pub(crate) mod net;
mod podman;
pub(crate) mod probe;
pub(crate) mod process;
mod proxy;
mod terminal;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use engine::Engine;
pub(crate) use filter::Filter;
pub(crate) use liar::{Fault, Liar, Lie};
pub(crate) use net::Mode;
pub(crate) use process::{Daemon, Ran};
pub(crate) use proxy::Proxy;
pub(crate) use terminal::Terminal;

use process::{command, run};

/// The host's address on the LAN side.
pub(crate) const HOST_LAN: &str = "10.77.0.1";
/// The host's address on the Internet side.
pub(crate) const HOST_WAN: &str = "198.51.100.1";
/// The client on the LAN.
pub(crate) const LAN_CLIENT: &str = "10.77.0.50";
/// The client on the Internet.
pub(crate) const WAN_CLIENT: &str = "198.51.100.50";

/// What the first page of a `demo-web` says.
pub(crate) const WEB_TEXT: &str = "demo-web: it works";
/// What a `demo-db` answers to each connection.
pub(crate) const DB_TEXT: &str = "demo-db ready";

/// What a laboratory calls; without one of them it cannot be made.
const PROGRAMS: &[&str] = &["ip", "nft", "nsenter", "setpriv", "timeout", "curl", "tar"];

/// How many laboratories may exist at one time; an engine each is heavy for small machines.
const AT_A_TIME: usize = 3;

/// A page, whatever its status.
#[derive(Debug)]
pub(crate) struct Page {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The text.
    pub(crate) body: String,
}

/// A host with two sides and an engine.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Name of the host's namespace and of its control group.
    name: String,
    /// Everything this laboratory writes.
    dir: PathBuf,
    kind: Engine,
    filter: Filter,
    /// What runs for the engine: containerd, or who keeps the places of Podman.
    beside: Option<Child>,
    engine: Option<Child>,
    /// Given back after everything else is gone.
    _slot: Slot,
}

impl Lab {
    /// Makes the host, starts its engine and imports the images `demo-web` and `demo-db`; none, with
    /// the reason printed, where that cannot be done.
    pub(crate) fn new() -> Option<Self> {
        Self::with(Engine::of_environment(), Mode::Gateway)
    }

    /// The same with another engine, connected in another way.
    pub(crate) fn with(engine: Engine, mode: Mode) -> Option<Self> {
        Self::filtered(engine, mode, Filter::of_environment())
    }

    /// The same with another packet filter.
    pub(crate) fn filtered(engine: Engine, mode: Mode, filter: Filter) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return unavailable("a laboratory needs root");
        }
        let mut programs = PROGRAMS.iter().chain(engine.programs());
        if let Some(program) = programs.find(|program| process::find(program).is_none()) {
            return unavailable(&format!("{program} is not installed; tests/setup.sh installs it"));
        }

        let slot = Slot::take();
        let mut lab = Self::with_networks(slot, engine, mode);
        lab.filter = filter;
        filter.prepare(&lab.programs());
        match engine {
            Engine::Docker => lab.start_containerd(),
            Engine::Podman => lab.start_places(),
        }
        lab.start_engine();
        lab.import("demo-web", "CMD [\"/bin/demo-web\"]");
        lab.import("demo-db", "CMD [\"/bin/demo-db\"]");
        Some(lab)
    }

    fn with_networks(slot: Slot, kind: Engine, mode: Mode) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("wh-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Short, because the path of a socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix(&format!("{name}.")).tempdir().unwrap().keep();
        let filter = Filter::Nftables;
        let lab = Self { name, dir, kind, filter, beside: None, engine: None, _slot: slot };

        for namespace in &lab.namespaces() {
            run(command("ip").args(["netns", "add", namespace]), 10).succeeded();
        }
        net::connect(mode, &lab.dir, &lab.namespaces());
        fs::create_dir(lab.root()).unwrap();
        lab
    }

    /// Namespaces of the host, the LAN client and the Internet client.
    fn namespaces(&self) -> [String; 3] {
        [self.name.clone(), format!("{}-lan", self.name), format!("{}-wan", self.name)]
    }

    /// The files of these namespaces.
    pub(crate) fn namespace_files(&self) -> [String; 3] {
        self.namespaces().map(|name| format!("/run/netns/{name}"))
    }

    /// The directory that wharf takes for `/`.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The engine's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// `DOCKER_HOST` for the engine's socket.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A new path in the laboratory's directory, gone with it.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    // ---- programs

    /// `program`, to be run on the host.
    fn on_host(&self, program: impl AsRef<Path>) -> Command {
        within(&self.name, program)
    }

    /// Runs `argv` on the host.
    pub(crate) fn host(&self, argv: &[&str]) -> Ran {
        run(self.on_host(argv[0]).args(&argv[1..]), 60)
    }

    /// Runs `wharf` on the host, with the laboratory's root and engine.
    pub(crate) fn wharf(&self, args: &[&str]) -> Ran {
        self.wharf_with(&[], args)
    }

    /// The same, with variables of the environment changed.
    pub(crate) fn wharf_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        let mut command = self.ours(env!("CARGO_BIN_EXE_wharf"));
        self.environment(&mut command);
        command.envs(variables.iter().copied());
        run(command.args(args), 120)
    }

    /// The same, where no other program can be found.
    pub(crate) fn wharf_alone(&self, args: &[&str]) -> Ran {
        let mut command = self.on_host("env");
        self.environment(&mut command);
        run(command.args(["PATH=/nonexistent", env!("CARGO_BIN_EXE_wharf")]).args(args), 120)
    }

    fn environment(&self, command: &mut Command) {
        for name in ["DBPATH", "WHARF_STORE", "ESMITH_ROOT", "NOTIFY_SOCKET", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env("WHARF_ROOT", self.root()).env("DOCKER_HOST", self.docker_host());
    }

    /// `wharf db ARGS`, which must succeed.
    pub(crate) fn db(&self, args: &[&str]) -> String {
        self.wharf(&[&["db"], args].concat()).succeeded().stdout
    }

    /// `wharf signal-event ARGS`.
    pub(crate) fn signal_event(&self, args: &[&str]) -> Ran {
        self.wharf(&[&["signal-event"], args].concat())
    }

    /// Starts `wharfd` on the host, with variables of the environment changed; it ends with the value
    /// that is returned, or before.
    pub(crate) fn spawn_wharfd(&self, variables: &[(&str, &str)]) -> Daemon {
        let program = self.dir.join("wharfd");
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wharf"), &program).unwrap();
        }
        let mut command = self.ours(program);
        self.environment(&mut command);
        command.envs(variables.iter().copied());
        Daemon::spawn(&mut command, self.dir.join("wharfd.log"))
    }

    /// Starts `argv` on the host; it ends with the value that is returned.
    pub(crate) fn spawn(&self, argv: &[&str]) -> Daemon {
        let name = Path::new(argv[0]).file_name().unwrap_or_default().to_string_lossy();
        let log = self.dir.join(format!("{name}.log"));
        Daemon::spawn(self.on_host(argv[0]).args(&argv[1..]), log)
    }

    /// The same, with variables of the environment changed.
    pub(crate) fn spawn_wharf_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Daemon {
        let mut command = self.on_host(env!("CARGO_BIN_EXE_wharf"));
        self.environment(&mut command);
        command.envs(variables.iter().copied());
        Daemon::spawn(command.args(args), self.dir.join("wharf.log"))
    }

    /// Starts `wharf` on the host and on a terminal; it ends with the value that is returned, or before.
    pub(crate) fn on_terminal(&self, variables: &[(&str, &str)], args: &[&str]) -> Terminal {
        let mut command = self.ours(env!("CARGO_BIN_EXE_wharf"));
        self.environment(&mut command);
        command.envs(variables.iter().copied());
        Terminal::spawn(command.args(args))
    }

    /// Starts `wharf` on the host; it ends with the value that is returned, or before.
    pub(crate) fn spawn_wharf(&self, args: &[&str]) -> Daemon {
        let mut command = self.ours(env!("CARGO_BIN_EXE_wharf"));
        self.environment(&mut command);
        Daemon::spawn(command.args(args), self.dir.join("wharf.log"))
    }

    /// The busybox of this distribution.
    pub(crate) fn busybox(&self) -> String {
        let names = ["busybox", "busybox-static"];
        let found = names.iter().find_map(|name| process::find(name));
        found.unwrap_or_else(|| panic!("{} has no busybox", self.name)).display().to_string()
    }

    /// `nft ARGS` on the host, which must succeed.
    pub(crate) fn nft(&self, args: &[&str]) -> String {
        self.host(&[&["nft"], args].concat()).succeeded().stdout
    }

    // ---- the network, seen from each side

    /// Fetches `url` from the LAN.
    pub(crate) fn lan_get(&self, url: &str) -> Result<Page, String> {
        fetch(&self.namespaces()[1], url)
    }

    /// Fetches `url` from the Internet.
    pub(crate) fn wan_get(&self, url: &str) -> Result<Page, String> {
        fetch(&self.namespaces()[2], url)
    }

    /// Fetches `url` from the host itself.
    pub(crate) fn host_get(&self, url: &str) -> Result<Page, String> {
        fetch(&self.name, url)
    }

    // ---- the engine

    /// What the engine answers to `GET path`, which must be 200.
    pub(crate) fn docker_get(&self, path: &str) -> Value {
        let answer = self.docker("GET", path, None);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// What the engine answers to `method path` with a JSON body, whatever the status.
    pub(crate) fn docker(&self, method: &str, path: &str, body: Option<&Value>) -> http::Answer {
        let body = body.map(|body| body.to_string().into_bytes());
        http::request(&self.socket(), method, path, "application/json", body.as_deref()).unwrap()
    }

    /// What the engine knows of container `name`, none when there is no such container.
    pub(crate) fn inspect(&self, name: &str) -> Option<Value> {
        let answer = self.docker("GET", &format!("/containers/{name}/json"), None);
        match answer.status {
            200 => Some(answer.json()),
            404 => None,
            other => panic!("inspect {name}: {other}: {}", answer.text()),
        }
    }

    /// The engine's number for container `name`, which must exist.
    pub(crate) fn id(&self, name: &str) -> String {
        let container = self.inspect(name).unwrap_or_else(|| panic!("no container {name}"));
        container["Id"].as_str().unwrap().to_owned()
    }

    /// Whether container `name` exists and runs.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.inspect(name).is_some_and(|container| container["State"]["Running"] == true)
    }

    /// Container `name`'s address on the bridge `wharf0`.
    pub(crate) fn address(&self, name: &str) -> String {
        let container = self.inspect(name).unwrap_or_else(|| panic!("no container {name}"));
        let networks = container["NetworkSettings"]["Networks"].as_object().unwrap().clone();
        let addresses: Vec<&str> =
            networks.values().filter_map(|network| network["IPAddress"].as_str()).collect();
        assert_eq!(addresses.len(), 1, "{name} has not one address: {networks:?}");
        addresses[0].to_owned()
    }

    /// Creates and starts a container that is none of wharf's.
    pub(crate) fn run_foreign(&self, name: &str, image: &str, host_config: &Value) {
        let bindings = host_config["PortBindings"].as_object();
        let exposed: serde_json::Map<String, Value> = bindings
            .into_iter()
            .flat_map(|ports| ports.keys())
            .map(|port| (port.clone(), json!({})))
            .collect();
        let body = json!({ "Image": image, "ExposedPorts": exposed, "HostConfig": host_config });
        self.create_and_start(name, &body);
    }

    /// The same on `network`, at `address`.
    pub(crate) fn run_foreign_at(&self, name: &str, image: &str, network: &str, address: &str) {
        let at = json!({ network: { "IPAMConfig": { "IPv4Address": address } } });
        let body = json!({
            "Image": image,
            "HostConfig": { "NetworkMode": network },
            "NetworkingConfig": { "EndpointsConfig": at },
        });
        self.create_and_start(name, &body);
    }

    fn create_and_start(&self, name: &str, body: &Value) {
        let created = self.docker("POST", &format!("/containers/create?name={name}"), Some(body));
        assert_eq!(created.status, 201, "{}", created.text());
        let started = self.docker("POST", &format!("/containers/{name}/start"), None);
        assert_eq!(started.status, 204, "{}", started.text());
    }

    /// Runs `argv` in container `name`; both outputs in `stdout`.
    pub(crate) fn exec(&self, name: &str, argv: &[&str]) -> Ran {
        let body = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": argv });
        let made = self.docker("POST", &format!("/containers/{name}/exec"), Some(&body));
        assert_eq!(made.status, 201, "exec in {name}: {}", made.text());
        let id = made.json()["Id"].as_str().unwrap().to_owned();
        let body = json!({ "Detach": false, "Tty": false });
        let output = self.docker("POST", &format!("/exec/{id}/start"), Some(&body));
        assert_eq!(output.status, 200, "exec in {name}: {}", output.text());
        let code = self.docker_get(&format!("/exec/{id}/json"))["ExitCode"].as_i64().unwrap();
        Ran {
            code: i32::try_from(code).unwrap(),
            stdout: http::without_stream_heads(&output.body),
            stderr: String::new(),
        }
    }

    /// What container `from` reads from `port` of `host` within two seconds, empty when nothing.
    pub(crate) fn read_from(&self, from: &str, host: &str, port: u16) -> String {
        let line = format!("timeout 3 nc -w 2 {host} {port} </dev/null 2>/dev/null");
        self.exec(from, &["sh", "-c", &line]).stdout
    }

    /// The pid of the running container `name`, as the host sees it.
    pub(crate) fn pid(&self, name: &str) -> u64 {
        let container = self.inspect(name).unwrap_or_else(|| panic!("no container {name}"));
        let pid = container["State"]["Pid"].as_u64().unwrap();
        assert_ne!(pid, 0, "container {name} does not run");
        pid
    }

    /// The memory limit that the kernel holds for container `name`, in bytes.
    pub(crate) fn memory_limit(&self, name: &str) -> u64 {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid(name))).unwrap();
        let file = groups
            .lines()
            .find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                match (parts.next()?, parts.next()?) {
                    ("memory", path) => {
                        Some(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
                    }
                    ("", path) => Some(format!("/sys/fs/cgroup{path}/memory.max")),
                    (_, _) => None,
                }
            })
            .filter(|file| Path::new(file).exists())
            .unwrap_or_else(|| panic!("no control group for the memory of {name} in\n{groups}"));
        fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    /// Stands before the engine's socket and notes each request; `hook` sees it before the engine does.
    pub(crate) fn proxy(&self, hook: impl Fn(&str) + Send + Sync + 'static) -> Proxy {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("proxy{}.sock", COUNT.fetch_add(1, Ordering::Relaxed));
        Proxy::start(self.dir.join(name), self.socket(), hook)
    }
}

impl Lab {
    /// Stands before the engine's socket and lies when it is told to.
    pub(crate) fn liar(&self) -> Liar {
        Liar::start(self.dir.join("liar.sock"), self.socket())
    }
}

impl Drop for Lab {
    /// Collects no failures: whatever is there is removed, and a rest is printed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the engine's log ends:\n{}", self.engine_log());
        }
        if self.kind == Engine::Podman {
            podman::remove_containers(&self.socket());
        }
        // Known only while containerd's state is there; these live outside of our directory.
        let shim_sockets = process::shim_sockets(&self.dir.join("ctrd-run"));
        for child in [self.engine.take(), self.beside.take()].into_iter().flatten() {
            process::end(child);
        }
        process::kill_rest(&self.dir, &self.name);
        for mount in process::mounts_below(&self.dir) {
            run(command("umount").args(["-l", &mount]), 10);
        }
        for namespace in self.namespaces() {
            run(command("ip").args(["netns", "del", &namespace]), 10);
        }
        process::remove_control_groups(&self.name);
        for socket in shim_sockets {
            drop(fs::remove_file(socket));
        }
        if process::mounts_below(&self.dir).is_empty() {
            drop(fs::remove_dir_all(&self.dir));
        }
        if self.dir.exists() {
            eprintln!("left behind: {}", self.dir.display());
        }
    }
}

/// Kills process `pid`; no error when it is gone.
pub(crate) fn kill(pid: u32) {
    process::signal(pid, nix::sys::signal::Signal::SIGKILL);
}

/// Waits until `condition` holds; a failure when it does not within `limit`.
pub(crate) fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// `program`, to be run in network namespace `namespace`.
fn within(namespace: &str, program: impl AsRef<Path>) -> Command {
    let mut command = command("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program.as_ref());
    command
}

fn fetch(namespace: &str, url: &str) -> Result<Page, String> {
    let mut curl = within(namespace, "curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--connect-timeout", "2"]);
    curl.args(["--max-time", "3", "--write-out", "\n%{http_code}", url]);
    let ran = run(&mut curl, 10);
    if ran.code != 0 {
        return Err(ran.stderr);
    }
    let (body, status) = ran.stdout.rsplit_once('\n').unwrap();
    Ok(Page { status: status.parse().unwrap(), body: body.to_owned() })
}

fn unavailable(why: &str) -> Option<Lab> {
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    assert!(!required, "WHARF_REQUIRE_ENGINE is set, but {why}");
    // Past the test runner's capture, which hides what a test that passes prints.
    drop(writeln!(std::io::stderr(), "skipped: {why}"));
    None
}

/// The root file system of the demo's images as a tar file, built once.
pub(crate) fn root_file_system() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("root.tar");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/image/build.sh");
        run(command(script).arg(&file), 60).succeeded();
        fs::read(file).unwrap()
    })
}

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to have one laboratory.
#[derive(Debug)]
struct Slot;

impl Slot {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = GIVEN_BACK
            .wait_while(taken, |taken| *taken >= AT_A_TIME)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}
