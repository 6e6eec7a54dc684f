// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharfd` as a service, without an engine: what it tells who started it, and what makes it look.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::process::{Daemon, command, find, run};
use crate::lab::wait_until;

/// For something that takes a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A root, and the socket of the one who starts `wharfd`.
struct Place {
    root: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(root.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        // Where nobody listens any more.
        drop(UnixListener::bind(root.path().join("engine")).unwrap());
        Self { root, socket }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn start(&self, variables: &[(&str, &str)]) -> Daemon {
        let program = self.path("wharfd");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wharf"), &program).unwrap();
        // Nobody in these namespaces changes addresses, rules or mounts behind our back.
        let mut command = command("unshare");
        command.args(["--net", "--mount", "--"]).arg(program).env("WHARF_ROOT", self.root.path());
        for name in ["DBPATH", "WHARF_STORE", "ESMITH_ROOT", "RUST_LOG", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        let engine = format!("unix://{}", self.path("engine").display());
        command.env("DOCKER_HOST", engine).env("WHARF_INTERVAL", "3600");
        command.env("NOTIFY_SOCKET", self.path("notify"));
        command.envs(variables.iter().copied());
        Daemon::spawn(&mut command, self.path("log"))
    }

    /// The next word that is told.
    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// What is told until a word begins like this.
    #[track_caller]
    fn until(&self, beginning: &str) -> Vec<String> {
        let deadline = Instant::now() + SOON;
        let mut words = vec![self.next()];
        while !words.last().unwrap().starts_with(beginning) {
            assert!(Instant::now() < deadline, "no {beginning} in {words:#?}");
            words.push(self.next());
        }
        words
    }
}

fn can_unshare() -> bool {
    let can = nix::unistd::geteuid().is_root()
        && run(command("unshare").args(["--net", "true"]), 10).code == 0;
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    assert!(can || !required, "WHARF_REQUIRE_ENGINE is set, but there are no namespaces");
    can
}

#[test]
fn it_is_ready_before_its_first_pass_and_tells_what_it_does() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let daemon = place.start(&[]);
    assert_eq!(place.next(), "READY=1");
    let status = place.until("STATUS=").pop().unwrap();
    assert!(status.starts_with("STATUS=the engine does not answer (start, "), "{status}");

    daemon.signal(Signal::SIGHUP);
    let words = place.until("READY=1");
    let reload = words.iter().position(|word| word.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let words = &words[reload.unwrap()..];
    assert!(words[words.len() - 2].starts_with("STATUS="), "ready before the pass: {words:?}");

    daemon.signal(Signal::SIGTERM);
    place.until("STOPPING=1");
    assert_eq!(daemon.ended(SOON), Some(0));
}

#[test]
fn a_pass_that_is_stuck_gives_no_sign_of_life() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let _daemon = place.start(&[("WATCHDOG_USEC", "1000000")]);
    let begun = Instant::now();
    for _ in 0..8 {
        place.until("WATCHDOG=1");
    }
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());

    // Who reads it waits for somebody who writes.
    fs::remove_file(place.path("run/wharf/overrides.json")).unwrap_or_default();
    let fifo = place.path("run/wharf/overrides.json");
    run(command("mkfifo").arg(&fifo), 10).succeeded();
    let is_silent = || {
        place.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        place.socket.recv(&mut [0; 64]).is_err()
    };
    // The engine that is not there is asked again and again, each time in a pass.
    wait_until(SOON * 2, "it is silent", is_silent);

    fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    fs::remove_file(&fifo).unwrap();
    place.socket.set_read_timeout(Some(SOON)).unwrap();
    place.until("WATCHDOG=1");
}

/// Passes that were begun for changed records so far.
fn passes(daemon: &Daemon) -> usize {
    daemon.log().matches("records changed").count()
}

#[test]
fn several_commands_in_a_row_make_one_pass_in_both_stores_whoever_writes() {
    if !can_unshare() {
        return;
    }
    for kind in ["sqlite", "esmith"] {
        let place = Place::new();
        fs::create_dir(place.path("db")).unwrap();
        let file = if kind == "sqlite" { "db/config.sqlite" } else { "db" };
        let store = format!("{kind}:{}", place.path(file).display());
        let db = |words: &str| {
            let mut db = command(env!("CARGO_BIN_EXE_db"));
            db.env("WHARF_ROOT", place.root.path()).env("WHARF_STORE", &store).env_remove("DBPATH");
            run(db.args(words.split(' ')), 20).succeeded();
        };
        db("docker_containers set shop service status disabled Image demo");
        let daemon = place.start(&[("WHARF_STORE", &store)]);
        place.until("STATUS=");

        for number in 1..6 {
            db(&format!("docker_containers setprop shop MaxMemory {}", 64 + number));
        }
        wait_until(SOON, "it looks", || passes(&daemon) > 0);
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(passes(&daemon), 1, "{kind}");

        if kind == "esmith" {
            // As e-smith's own tools do: a new file in the place of the old one.
            let (new, old) = (place.path("db/containers.new"), place.path("db/docker_containers"));
            let text = fs::read_to_string(&old).unwrap().replace("MaxMemory|69", "MaxMemory|70");
            fs::write(&new, text).unwrap();
            fs::rename(&new, &old).unwrap();
            wait_until(SOON, "it looks", || passes(&daemon) > 1);
        }
    }
}

#[test]
fn records_that_are_not_to_be_applied_at_once_are_told() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("db")).unwrap();
    let store = format!("esmith:{}", place.path("db").display());
    let daemon = place.start(&[("WHARF_STORE", &store), ("WHARF_ON_CHANGE", "wait")]);
    place.until("STATUS=the engine");
    fs::write(place.path("db/docker_containers"), "shop=service|Image|demo\n").unwrap();
    let status = place.until("STATUS=records").pop().unwrap();
    assert!(status.ends_with(", not applied since"), "{status}");
    assert!(!daemon.log().contains("no pass cause=records"), "{}", daemon.log());
}

#[test]
fn a_file_system_that_is_mounted_is_looked_at_when_it_is_where_a_record_wants_something() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    for directory in ["db", "data", "elsewhere"] {
        fs::create_dir(place.path(directory)).unwrap();
    }
    let store = format!("esmith:{}", place.path("db").display());
    let source = place.path("data/shop").display().to_string();
    let record = format!("shop=service|Image|demo|MountPath|{source}:/mnt|status|enabled\n");
    fs::write(place.path("db/docker_containers"), record).unwrap();
    let daemon = place.start(&[("WHARF_STORE", &store)]);
    place.until("STATUS=");
    let namespace = format!("--mount=/proc/{}/ns/mnt", daemon.id());
    let mount = |path: &str| {
        let mut mount = command("nsenter");
        mount.args([&namespace, "mount", "-t", "tmpfs", "none"]).arg(place.path(path));
        run(&mut mount, 10).succeeded();
    };
    mount("elsewhere");
    // Without an engine it looks by itself after one, two and four seconds, and says why.
    std::thread::sleep(Duration::from_secs(8));
    assert!(!daemon.log().contains("mounts changed"), "{}", daemon.log());
    mount("data");
    wait_until(SOON, "it looks", || daemon.log().contains("mounts changed"));
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

#[test]
fn systemd_has_nothing_against_the_units() {
    if find("systemd-analyze").is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let names = [
        "wharfd.service",
        "wharf-guard.service",
        "wharf-guard-iptables.service",
        "wharf-reconcile.service",
        "wharf-reconcile.timer",
    ];
    let files = names.map(|name| {
        // What is not installed here would be complained of.
        let text = fs::read_to_string(source(name)).unwrap();
        let is_program =
            |line: &str| line.starts_with("ExecStart=") || line.starts_with("ExecReload=");
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some((key, _)) if is_program(line) => format!("{key}=/bin/true\n"),
            _ => format!("{line}\n"),
        });
        let file = place.path().join(name);
        fs::write(&file, lines.collect::<String>()).unwrap();
        file
    });
    let ran = run(command("systemd-analyze").args(["verify", "--man=no"]).args(&files), 60);
    let complaints = ran.stdout + &ran.stderr;
    let ours = |line: &&str| line.contains("wharf") && !line.contains("bad unit file setting path");
    let ours: Vec<&str> = complaints.lines().filter(ours).collect();
    assert_eq!(ours, [""; 0]);
}

#[test]
fn systemd_finds_little_that_the_daemon_may_do() {
    if find("systemd-analyze").is_none() {
        return;
    }
    let unit = source("wharfd.service");
    let judged = run(
        command("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
            .arg(unit),
        60,
    );
    // systemd before 250 judges loaded units only.
    if judged.stderr.contains("unrecognized option") {
        return;
    }
    judged.succeeded();
}

#[test]
fn the_init_script_starts_one_daemon_and_stops_it() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let program = place.path("wharfd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wharf"), &program).unwrap();
    let init = |word: &str| {
        let mut init = command("unshare");
        init.args(["--net", "--"]).arg(source("sysv/wharfd")).arg(word);
        init.env("WHARFD", &program)
            .env("PIDFILE", place.path("pid"))
            .env("LOG", place.path("log"));
        let engine = format!("unix://{}", place.path("engine").display());
        init.env("WHARF_ROOT", place.root.path()).env("DOCKER_HOST", engine);
        run(&mut init, 60)
    };
    init("status").ended_with(3);
    init("start").succeeded();
    let pid = fs::read_to_string(place.path("pid")).unwrap();
    init("start").succeeded();
    assert_eq!(fs::read_to_string(place.path("pid")).unwrap(), pid);
    init("reload").succeeded();
    wait_until(SOON, "it looks", || {
        fs::read_to_string(place.path("log")).unwrap().contains("cause=signal")
    });
    init("stop").succeeded();
    init("status").ended_with(3);
    // Its number stays for as long as nobody asks for its status.
    assert!(fs::read_link(Path::new("/proc").join(pid.trim()).join("exe")).is_err());
    init("halt").ended_with(2).complains_of(&["usage"]);
}
