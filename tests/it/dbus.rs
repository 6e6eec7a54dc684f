// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharfd` on a bus of the test's own, called by `busctl` as several users, with the policy files that
//! are installed and the real polkitd.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::process::{Daemon, Ran, command, find, run};
use crate::lab::{Lab, wait_until};

const SOON: Duration = Duration::from_secs(30);

const NAME: &str = "io.github.wharfd.Manager1";
const OBJECT: [&str; 3] = [NAME, "/io/github/wharfd/Manager1", NAME];

/// As `/usr/share/dbus-1/system.conf`, with a place of its own.
const CONFIG: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=@DIR@/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <includedir>@DIR@/system.d</includedir>
</busconfig>
"#;

/// A user who is in the group that may look, in this test; every distribution has him.
const READER: &str = "games";

/// A bus.
struct Bus {
    dir: tempfile::TempDir,
    daemon: Option<Daemon>,
    _polkit: Option<Daemon>,
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Bus {
    /// None, where it cannot be.
    fn new(with_polkit: bool) -> Option<Self> {
        let has = |program: &&str| find(program).is_some();
        let is_able = nix::unistd::geteuid().is_root()
            && ["dbus-daemon", "busctl", "setpriv", "unshare"].iter().all(has);
        let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
        assert!(is_able || !required, "WHARF_REQUIRE_ENGINE is set, but there is no dbus-daemon");
        if !is_able {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Other users come here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir(at("system.d")).unwrap();
        let policy = "io.github.wharfd.Manager1.conf";
        fs::copy(source("systemd").join(policy), at("system.d").join(policy)).unwrap();
        for polkits in ["/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d"] {
            let name = "org.freedesktop.PolicyKit1.conf";
            fs::copy(Path::new(polkits).join(name), at("system.d").join(name)).unwrap_or_default();
        }
        let config = CONFIG.replace("@DIR@", &dir.path().display().to_string());
        fs::write(at("bus.conf"), config).unwrap();
        let daemon = Self::begin(dir.path());
        let bus = Self { dir, daemon: Some(daemon), _polkit: None };
        if !with_polkit {
            return Some(bus);
        }
        let Some(polkit) = bus.polkit() else {
            assert!(
                !required,
                "WHARF_REQUIRE_ENGINE is set, but there is no polkitd; tests/setup.sh installs it"
            );
            // Past the test runner's capture, which hides what a test that passes prints.
            drop(writeln!(std::io::stderr(), "skipped: polkitd is not installed"));
            return None;
        };
        Some(Self { _polkit: Some(polkit), ..bus })
    }

    fn begin(dir: &Path) -> Daemon {
        let mut bus = command("dbus-daemon");
        bus.arg("--nofork").arg(format!("--config-file={}", dir.join("bus.conf").display()));
        let daemon = Daemon::spawn(&mut bus, dir.join("bus.log"));
        wait_until(SOON, "there is a bus", || dir.join("bus").exists());
        daemon
    }

    /// Ends it, does something, and begins it again in the same place.
    fn away(&mut self, meanwhile: impl FnOnce()) {
        drop(self.daemon.take());
        drop(fs::remove_file(self.dir.path().join("bus")));
        meanwhile();
        self.daemon = Some(Self::begin(self.dir.path()));
    }

    /// The real one, with our actions and our rule, which is about another group here.
    fn polkit(&self) -> Option<Daemon> {
        let places =
            ["/usr/lib/polkit-1/polkitd", "/usr/libexec/polkit-1/polkitd", "/usr/libexec/polkitd"];
        let polkitd = places.into_iter().find(|place| Path::new(place).exists())?;
        let at = |path: &str| self.dir.path().join(path);
        for path in ["actions", "rules"] {
            fs::create_dir(at(path)).unwrap();
        }
        let policy = "io.github.wharfd.policy";
        fs::copy(source("systemd").join(policy), at("actions").join(policy)).unwrap();
        let rule = fs::read_to_string(source("systemd/50-wharf.rules")).unwrap();
        let rule = rule.replace("isInGroup(\"wharf\")", &format!("isInGroup(\"{READER}\")"));
        fs::write(at("rules/50-wharf.rules"), rule).unwrap();
        let script = format!(
            "mount --bind {0}/actions /usr/share/polkit-1/actions && \
             mount --bind {0}/rules /usr/share/polkit-1/rules.d && exec {polkitd} --no-debug",
            self.dir.path().display()
        );
        let mut polkit = command("unshare");
        polkit.args(["--mount", "--", "sh", "-c", &script]);
        polkit.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        let daemon = Daemon::spawn(&mut polkit, at("polkit.log"));
        wait_until(SOON, "there is polkit", || {
            let words = ["status", "org.freedesktop.PolicyKit1"];
            run(self.busctl(None).args(words), 10).code == 0
        });
        Some(daemon)
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    /// `busctl`, run by `user`.
    fn busctl(&self, user: Option<&str>) -> Command {
        let mut busctl = match user {
            None => command("busctl"),
            Some(user) => {
                let mut busctl = command("setpriv");
                busctl.args(["--reuid", user, "--clear-groups", "busctl"]);
                busctl
            }
        };
        busctl.arg(format!("--address={}", self.address())).arg("--timeout=60");
        busctl
    }

    /// Calls a method: its name, signature and arguments.
    fn call(&self, user: Option<&str>, words: &[&str]) -> Ran {
        let mut busctl = self.busctl(user);
        run(busctl.args(["--json=short", "--", "call"]).args(OBJECT).args(words), 90)
    }

    /// What it answers.
    #[track_caller]
    fn answer(&self, user: Option<&str>, words: &[&str]) -> Value {
        let answer = self.call(user, words).succeeded().stdout;
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        answer["data"].take()
    }

    /// The one string that it answers, which is JSON.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(self.answer(None, words)[0].as_str().unwrap()).unwrap()
    }

    fn property(&self, name: &str) -> Value {
        let mut busctl = self.busctl(None);
        let words = ["--json=short", "get-property"];
        let answer = run(busctl.args(words).args(OBJECT).arg(name), 60).succeeded().stdout;
        serde_json::from_str::<Value>(&answer).unwrap()["data"].take()
    }

    /// Waits until `wharfd` is there.
    fn until_there(&self) {
        wait_until(SOON, "wharfd is on the bus", || {
            run(self.busctl(None).args(["status", NAME]), 10).code == 0
        });
    }

    /// A `wharfd` without an engine, that keeps its records in flat files.
    fn wharfd(&self) -> Daemon {
        let at = |path: &str| self.dir.path().join(path);
        fs::create_dir_all(at("root/db")).unwrap();
        drop(UnixListener::bind(at("engine")).unwrap());
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wharf"), at("wharfd")).unwrap();
        let mut command = command("unshare");
        command.args(["--net", "--mount", "--"]).arg(at("wharfd"));
        for name in ["DBPATH", "ESMITH_ROOT", "RUST_LOG", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        command.env("WHARF_ROOT", at("root")).env("WHARF_INTERVAL", "3600");
        command.env("WHARF_ENGINE_TIMEOUT", "8");
        command.env("WHARF_STORE", format!("esmith:{}", at("root/db").display()));
        command.env("DOCKER_HOST", format!("unix://{}", at("engine").display()));
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        let daemon = Daemon::spawn(&mut command, at("log"));
        self.until_there();
        daemon
    }
}

/// `set KEY TYPE PROPERTY VALUE...` of `docker_containers`.
fn set<'a>(key: &'a str, properties: &'a [&'a str]) -> Vec<&'a str> {
    const COUNTS: [&str; 5] = ["0", "1", "2", "3", "4"];
    let head = ["SetRecord", "sssa{ss}", "docker_containers", key, "service"];
    [&head[..], &[COUNTS[properties.len() / 2]], properties].concat()
}

#[test]
fn records_are_read_without_secrets_and_changed_with_the_check_of_the_schema() {
    let Some(bus) = Bus::new(false) else { return };
    let _daemon = bus.wharfd();
    let properties = ["Image", "demo", "Env_DB_PASSWORD", "hunter2", "status", "disabled"];
    bus.call(None, &set("shop", &properties)).succeeded();
    assert_eq!(bus.answer(None, &["Keys", "s", "docker_containers"])[0][0], "shop");

    let get = ["GetRecord", "ss", "docker_containers", "shop"];
    let record = bus.answer(None, &get);
    assert_eq!((&record[0], &record[1]["Image"]), (&"service".into(), &"demo".into()));
    assert_eq!(record[2][0], "Env_DB_PASSWORD");
    for answer in [bus.call(None, &get), bus.call(None, &["History", "u", "9"])] {
        assert!(!answer.stdout.contains("hunter2"), "{}", answer.stdout);
    }
    let history = bus.json(&["History", "u", "9"]);
    let sender = history[0]["sender"].as_str();
    assert!(sender.is_some_and(|name| name.starts_with(":1.")), "{history:#}");

    let wrong = bus.call(None, &set("shop", &["Image", "demo", "MaxMemory", "much"]));
    wrong.ended_with(1).complains_of(&["MaxMemory", "much"]);
    bus.call(None, &["Hold", "sb", "shop", "true"]).succeeded();
    assert_eq!(bus.answer(None, &get)[1]["Hold"], "yes");
    let take = ["DeleteProperties", "ssas", "docker_containers", "shop", "1", "Hold"];
    bus.call(None, &take).succeeded();
    let more = ["SetProperties", "ssa{ss}", "docker_containers", "shop", "1", "MaxMemory", "64"];
    bus.call(None, &more).succeeded();
    let record = bus.answer(None, &get);
    assert_eq!((&record[1]["Hold"], &record[1]["MaxMemory"]), (&Value::Null, &"64".into()));
    bus.call(None, &["DeleteRecord", "ss", "docker_containers", "shop"]).succeeded();
    bus.call(None, &get).ended_with(1).complains_of(&["there is no record 'shop'"]);
    let elsewhere = ["GetRecord", "ss", "/etc/passwd", "root"];
    bus.call(None, &elsewhere).ended_with(1).complains_of(&["no name of a database"]);
    let option = ["Schema", "s", "--help"];
    bus.call(None, &option).ended_with(1).complains_of(&["has no schema"]);
}

#[test]
fn without_polkit_nobody_but_root_may_and_who_tried_is_in_the_log() {
    let Some(bus) = Bus::new(false) else { return };
    let daemon = bus.wharfd();
    for words in [&["Status"][..], &["Apply"], &["Stop", "s", "shop"], &set("shop", &[])] {
        bus.call(Some("65534"), words).ended_with(1).complains_of(&["only root may"]);
    }
    let log = daemon.log();
    assert!(log.contains("uid=65534") && log.contains("io.github.wharfd.records"), "{log}");
    assert_eq!(bus.answer(None, &["Keys", "s", "docker_containers"])[0], serde_json::json!([]));
}

#[test]
fn polkit_lets_members_of_the_group_look_and_nobody_change() {
    let Some(bus) = Bus::new(true) else { return };
    let _daemon = bus.wharfd();
    bus.call(None, &set("shop", &["Image", "demo"])).succeeded();
    let keys = ["Keys", "s", "docker_containers"];
    assert_eq!(bus.answer(Some(READER), &keys)[0][0], "shop");
    bus.call(Some("65534"), &keys).ended_with(1).complains_of(&["polkit does not allow it"]);
    for words in [&["Apply"][..], &["Restart", "s", "shop"], &set("shop", &[])] {
        bus.call(Some(READER), words).ended_with(1).complains_of(&["polkit does not allow it"]);
    }
}

/// Kilobytes that `pid` has in memory.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn twenty_clients_at_once_lose_nothing_and_leave_no_memory_behind() {
    const CLIENTS: usize = 20;
    const CALLS: usize = 6;
    let Some(bus) = Bus::new(false) else { return };
    let daemon = bus.wharfd();
    let hammer = || {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let bus = &bus;
                scope.spawn(move || {
                    for call in 0..CALLS {
                        let key = format!("c{client}x{call}");
                        bus.call(None, &set(&key, &["Image", "demo", "status", "disabled"]))
                            .succeeded();
                        bus.call(None, &["Schema", "s", "docker_images"]).succeeded();
                        // Refused, as there is no engine, and answered.
                        bus.call(None, &["Apply"]).ended_with(1).complains_of(&["engine"]);
                    }
                });
            }
        });
    };
    hammer();
    let before = resident(daemon.id());
    hammer();
    let keys = bus.answer(None, &["Keys", "s", "docker_containers"]);
    assert_eq!(keys[0].as_array().unwrap().len(), CLIENTS * CALLS);
    let after = resident(daemon.id());
    assert!(after < before + 4096, "{before} kB, then {after} kB");
}

#[test]
fn records_are_changed_while_questions_wait_for_an_engine_that_is_silent() {
    let Some(bus) = Bus::new(false) else { return };
    let _daemon = bus.wharfd();
    let engine = bus.dir.path().join("engine");
    fs::remove_file(&engine).unwrap();
    // Takes every call and answers none.
    let _engine = UnixListener::bind(&engine).unwrap();
    std::thread::scope(|scope| {
        let ask = || scope.spawn(|| bus.call(None, &["Status"]));
        let questions: Vec<_> = (0..6).map(|_| ask()).collect();
        std::thread::sleep(Duration::from_millis(500));
        bus.call(None, &set("shop", &["Image", "demo"])).succeeded();
        assert_eq!(bus.answer(None, &["Keys", "s", "docker_containers"])[0][0], "shop");
        assert!(!questions.iter().any(std::thread::ScopedJoinHandle::is_finished), "nobody waits");
        for question in questions {
            question.join().unwrap().ended_with(1).complains_of(&["engine"]);
        }
    });
}

#[test]
fn firewalld_is_heard_again_on_a_bus_that_was_away_and_wharfd_is_on_it() {
    let Some(mut bus) = Bus::new(false) else { return };
    let mut daemon = bus.wharfd();
    let reload = |bus: &Bus| {
        // As firewalld does: who says it does not matter.
        let name = "org.fedoraproject.FirewallD1";
        let words = ["emit", "/org/fedoraproject/FirewallD1", name, "Reloaded"];
        run(bus.busctl(None).args(words), 10).succeeded();
    };
    reload(&bus);
    daemon.wait_for(SOON, "it is heard", |log| log.contains("firewalld reloaded"));
    bus.away(|| {
        daemon.wait_for(SOON, "the end is told", |log| log.contains("the bus is gone; what"));
    });
    daemon.wait_for(SOON, "it listens", |log| log.contains("the bus is there again"));
    reload(&bus);
    let twice = |log: &str| log.matches("firewalld reloaded; looking").count() == 2;
    daemon.wait_for(SOON, "it is heard again", twice);
    bus.until_there();
    assert_eq!(daemon.log().matches("the bus is gone; what").count(), 1, "{}", daemon.log());
}

/// Names of `kind` in what the object tells of itself.
fn told(xml: &str, kind: &str) -> BTreeSet<String> {
    let ours = xml.split(&format!("<interface name=\"{NAME}\">")).nth(1).unwrap();
    let ours = ours.split("</interface>").next().unwrap();
    let beginning = format!("<{kind} name=\"");
    let named = ours.split(&beginning).skip(1);
    named.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn the_object_tells_what_the_documentation_does() {
    let Some(bus) = Bus::new(false) else { return };
    let _daemon = bus.wharfd();
    let mut busctl = bus.busctl(None);
    let xml = run(busctl.args(["introspect", "--xml-interface"]).args(&OBJECT[..2]), 60);
    let xml = xml.succeeded().stdout;
    let docs = fs::read_to_string(source("docs/DBUS.md")).unwrap();
    let found: BTreeSet<String> =
        ["method", "property", "signal"].iter().flat_map(|kind| told(&xml, kind)).collect();
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '(']).next());
    let described: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(found, described);
    assert!(xml.contains("Starts a container until the next boot"), "{xml}");
}

/// A record whose container says two lines and ignores SIGTERM.
fn shop(lab: &Lab) {
    let record = ["service", "status", "enabled", "Image", "demo-db", "TCPPort", "3306"];
    lab.db(&[&["docker_containers", "set", "shop"], &record[..]].concat());
    let command = "sh -c 'echo one; echo two >&2; exec /bin/demo-db'";
    let more = ["PortMapping", "none", "Command", command];
    lab.db(&[&["docker_containers", "setprop", "shop"], &more[..]].concat());
}

#[test]
fn a_container_is_started_and_stopped_and_a_long_pass_holds_up_no_question() {
    let Some(lab) = Lab::new() else { return };
    let Some(bus) = Bus::new(false) else { return };
    shop(&lab);
    let address = bus.address();
    let _daemon =
        lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), ("DBUS_SYSTEM_BUS_ADDRESS", &address)]);
    bus.until_there();
    let report = bus.json(&["Apply"]);
    assert_eq!(report["remaining"], serde_json::json!([]), "{report:#}");
    assert!(lab.runs("shop"));
    assert_eq!(bus.property("AsDesired"), true);
    assert_eq!(bus.property("Containers"), 1);

    let said = || bus.answer(None, &["Logs", "su", "shop", "9"])[0].as_str().unwrap().to_owned();
    wait_until(SOON, "it has spoken", || said().lines().count() == 2);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        format!("{} {}", row["stream"], row["text"])
    };
    let rows: BTreeSet<String> = said().lines().map(row).collect();
    let wanted = [r#""stderr" "two\n""#, r#""stdout" "one\n""#].map(str::to_owned);
    assert_eq!(rows, BTreeSet::from(wanted));
    assert_eq!(bus.answer(None, &["Logs", "su", "shop", "0"])[0], "");
    let nobody = ["Logs", "su", "nobody", "9"];
    bus.call(None, &nobody).ended_with(1).complains_of(&["no record 'nobody'"]);

    bus.call(None, &["Stop", "s", "shop"]).succeeded();
    assert!(!lab.runs("shop"));
    bus.call(None, &["Start", "s", "shop"]).succeeded();
    assert!(lab.runs("shop"));
    bus.call(None, &["Start", "s", "nobody"]).ended_with(1).complains_of(&["no record 'nobody'"]);
    assert_eq!(bus.json(&["Status"])["containers"][0]["state"], "running");
    assert_eq!(bus.json(&["Plan", "as", "1", "shop"])["plan"], serde_json::json!([]));

    // The grace of a container that ignores SIGTERM is ten seconds.
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| bus.call(None, &["Stop", "s", "shop"]));
        bus.call(None, &["Schema", "s", "docker_images"]).succeeded();
        bus.call(None, &["Keys", "s", "docker_containers"]).succeeded();
        assert!(!stop.is_finished(), "a question waited for the pass");
        stop.join().unwrap().succeeded();
    });
}

#[test]
fn how_far_a_pass_is_is_told_in_numbers_to_all_and_in_names_to_who_may_ask() {
    let Some(lab) = Lab::new() else { return };
    let Some(bus) = Bus::new(false) else { return };
    shop(&lab);
    // Its stop takes more than the time between two signals.
    let deaf = "sh -c 'trap \"\" TERM; while :; do sleep 1; done'";
    lab.db(&["docker_containers", "setprop", "shop", "Command", deaf, "StopGrace", "2"]);
    let address = bus.address();
    let _daemon =
        lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), ("DBUS_SYSTEM_BUS_ADDRESS", &address)]);
    bus.until_there();
    bus.json(&["Apply"]);
    let none = ["pass", "ended", "planned"].map(|name| bus.json(&["Progress"])[name].clone());
    assert_eq!(none, [Value::from(false), 0.into(), 0.into()]);
    let mut signals = bus.busctl(None);
    signals.args(["monitor", "--json=short", "--match"]);
    signals.arg(format!("type='signal',interface='{NAME}',member='PassProgress'"));
    let mut signals = Daemon::spawn(&mut signals, lab.scratch("signals"));
    signals.wait_for(SOON, "it listens", |log| log.contains("Monitoring"));
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| bus.call(None, &["Stop", "s", "shop"]));
        wait_until(SOON, "the step is told", || {
            bus.json(&["Progress"])["under_way"]["0"]["kind"] == "stop-container"
        });
        let progress = bus.json(&["Progress"]);
        assert_eq!((&progress["pass"], &progress["planned"]), (&true.into(), &1.into()));
        assert_eq!(progress["under_way"]["0"]["record"], "shop");
        signals.wait_for(SOON, "it is told to all", |log| log.contains("\"data\":[0,1,1]"));
        stop.join().unwrap().succeeded();
    });
    let told = signals.log();
    assert!(told.lines().count() < 8, "without end: {told}");
    assert!(!told.contains("shop"), "a name that all can see: {told}");
    assert_eq!(bus.json(&["Progress"])["under_way"], serde_json::json!({}));
    let reader = bus.call(Some(READER), &["Progress"]);
    reader.ended_with(1).complains_of(&["io.github.wharfd.read"]);
}

#[test]
fn a_pass_over_some_records_leaves_the_others_as_they_are() {
    let Some(lab) = Lab::new() else { return };
    let Some(bus) = Bus::new(false) else { return };
    let address = bus.address();
    let on_bus = ("DBUS_SYSTEM_BUS_ADDRESS", address.as_str());
    let wait = ("WHARF_ON_CHANGE", "wait");
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), wait, on_bus]);
    bus.until_there();
    bus.json(&["Apply"]);
    let record = ["service", "status", "enabled", "Image", "demo-db", "TCPPort", "3306"];
    let is_kept_apart = (0..5).any(|round| {
        let [one, two] = ["one", "two"].map(|name| format!("{name}{round}"));
        for name in [&one, &two] {
            lab.db(&[&["docker_containers", "set", name], &record[..]].concat());
            lab.db(&["docker_containers", "setprop", name, "PortMapping", "none"]);
        }
        let before = bus.property("Containers");
        let report = bus.json(&["ApplyRecords", "as", "1", &one]);
        assert_eq!(report["only"], serde_json::json!([one]), "{report:#}");
        assert!(lab.runs(&one));
        // What others mount is a reason for a pass over all, which may come in between.
        lab.inspect(&two).is_none() && bus.property("Containers") == before
    });
    assert!(is_kept_apart, "both are applied");
    let none = ["ApplyRecords", "as", "0"];
    bus.call(None, &none).ended_with(1).complains_of(&["no record is named"]);
    let bad = ["ApplyRecords", "as", "1", "a b"];
    bus.call(None, &bad).ended_with(1).complains_of(&["a b"]);
    let nobody = ["ApplyRecords", "as", "2", "one0", "nobody"];
    bus.call(None, &nobody).ended_with(1).complains_of(&["no record 'nobody'"]);
    bus.json(&["Apply"]);
    assert!(lab.runs("two0"));
}

/// The sum of the metrics whose line begins like this.
fn metric(lab: &Lab, beginning: &str) -> f64 {
    let text = lab.wharf(&["metrics"]).stdout;
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn a_pass_over_some_records_is_counted_and_its_health_checks_begin() {
    let Some(lab) = Lab::new() else { return };
    let Some(bus) = Bus::new(false) else { return };
    let address = bus.address();
    let on_bus = ("DBUS_SYSTEM_BUS_ADDRESS", address.as_str());
    let wait = ("WHARF_ON_CHANGE", "wait");
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), wait, on_bus]);
    bus.until_there();
    bus.json(&["Apply"]);
    let passes = || metric(&lab, "wharf_passes_total");
    // In the host's network it changes no address, which would be a reason for a pass over all.
    let record = "docker_containers set shop service status enabled Image demo-web network host";
    let is_seen_alone = (0..5).any(|_| {
        lab.db(&record.split(' ').collect::<Vec<_>>());
        let health = ["Health", "http:80/index.html", "HealthInterval", "1"];
        lab.db(&[&["docker_containers", "setprop", "shop"], &health[..]].concat());
        let before = passes();
        let report = bus.json(&["ApplyRecords", "as", "1", "shop"]);
        assert_eq!(report["remaining"], serde_json::json!([]), "{report:#}");
        assert!(passes() > before, "{}", lab.wharf(&["metrics"]).stdout);
        let status = || lab.wharf(&["status", "--json"]).stdout;
        let status = || serde_json::from_str::<Value>(&status()).unwrap();
        wait_until(SOON, "it is checked", || status()["containers"][0]["health"] == "healthy");
        // What came in between would have done both.
        let is_alone = passes() <= before + 1.0;
        if !is_alone {
            lab.db(&["docker_containers", "delete", "shop"]);
            bus.json(&["Apply"]);
        }
        is_alone
    });
    assert!(is_seen_alone, "{}", daemon.log());
    let done = "wharf_steps_total{result=\"done\",step=\"create-container\"}";
    assert!(
        metric(&lab, done) >= 1.0 && metric(&lab, "wharf_containers{state=\"running\"}") >= 1.0
    );
}

/// Much less than who watches waits for by itself when the daemon is on the bus (ten seconds).
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn who_watches_the_status_sees_the_end_of_a_pass_at_once() {
    let Some(lab) = Lab::new() else { return };
    let Some(bus) = Bus::new(false) else { return };
    let address = bus.address();
    let on_bus = ("DBUS_SYSTEM_BUS_ADDRESS", address.as_str());
    let wait = ("WHARF_ON_CHANGE", "wait");
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), wait, on_bus]);
    bus.until_there();
    bus.json(&["Apply"]);
    let mut watch = lab.spawn_wharf_with(&[on_bus], &["status", "--watch", "--json"]);
    watch.wait_for(SOON, "the first look", |log| log.lines().count() == 1);
    // Its own looks, every ten seconds, could hit one of these moments, and not all.
    for name in ["one", "two", "three"] {
        let disabled = ["service", "status", "disabled", "Image", "demo-db", "TCPPort", "3306"];
        lab.db(&[&["docker_containers", "set", name], &disabled[..]].concat());
        bus.json(&["Apply"]);
        let row = format!("\"record\":\"{name}\"");
        watch.wait_for(AT_ONCE, name, |log| {
            log.lines()
                .last()
                .is_some_and(|line| line.contains(&row) && line.contains("\"unapplied\":false"))
        });
    }
}
