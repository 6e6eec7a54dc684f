// SPDX-License-Identifier: GPL-2.0-or-later

//! Events with real handlers below a temporary root: what is run, in which order, with which answer,
//! what the log and the history then hold, and what is left when something is killed.

mod faults;
mod kin;
mod owed;
mod turns;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::lab::process::{Ran, command, run};
use crate::lab::wait_until;

/// For something that takes a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A root with a log.
struct Place {
    root: tempfile::TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        let socket = UnixDatagram::bind(root.path().join("dev/log")).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut bytes = [0; 10_000];
            while let Ok(length) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                lines.lock().unwrap().push(text);
            }
        });
        Self { root, log }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A handler of the admin's with this shell text, in which `$r` is the root.
    fn handler(&self, name: &str, text: &str) {
        self.file(&format!("etc/wharf/events/{name}"), &self.script(text), 0o755);
    }

    fn script(&self, text: &str) -> String {
        format!("#!/bin/sh\nr={}\n{text}\n", self.root.path().display())
    }

    fn file(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_wharf"));
        command.args(args).env("WHARF_ROOT", self.root.path());
        for name in ["DBPATH", "WHARF_STORE", "ESMITH_ROOT", "WHARF_EVENT", "WHARF_HANDLER_TIMEOUT"]
        {
            command.env_remove(name);
        }
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        command
    }

    fn wharf(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args), 60)
    }

    fn signal(&self, args: &[&str]) -> Ran {
        self.wharf(&[&["signal-event"], args].concat())
    }

    /// Signals an event and does not wait for it.
    fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(&[&["signal-event"], args].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn until(&self, path: &str) {
        wait_until(SOON, path, || self.path(path).exists());
    }

    /// The lines of the log so far, without time and process.
    fn logged(&self) -> Vec<String> {
        const MARK: &str = "]: mark";
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(MARK.as_bytes(), self.path("dev/log")).unwrap();
        // What was sent before the mark was read before it.
        let is_read = || self.log.lock().unwrap().last().is_some_and(|line| line == MARK);
        wait_until(SOON, "the log is read", is_read);
        self.log.lock().unwrap().pop();
        let lines = self.log.lock().unwrap();
        lines.iter().map(|line| line.split_once("]: ").unwrap().1.to_owned()).collect()
    }

    fn past(&self) -> Vec<Value> {
        let text = self.wharf(&["events", "--json"]).succeeded().stdout;
        serde_json::from_str(&text).unwrap()
    }

    fn last(&self) -> Value {
        self.past().last().cloned().unwrap()
    }

    /// `NAME RESULT` of the handlers of the last event.
    fn results(&self) -> Vec<String> {
        let last = self.last();
        let one = |handler: &Value| {
            format!("{} {}", handler["name"].as_str().unwrap(), handler["result"].as_str().unwrap())
        };
        last["handlers"].as_array().unwrap().iter().map(one).collect()
    }
}

#[test]
fn directories_are_merged_by_name_and_handlers_run_in_byte_order() {
    let place = Place::new();
    for name in ["S10a", "S20b", "S9", "S05x"] {
        let text = place.script("echo packaged ${0##*/} >> $r/out");
        place.file(&format!("usr/share/wharf/events/ev/{name}"), &text, 0o755);
    }
    place.handler("ev/S20b", "echo admin ${0##*/} >> $r/out");
    place.link("etc/wharf/events/ev/S10a", "/dev/null");
    place.signal(&["ev"]).succeeded();
    assert_eq!(place.read("out"), "packaged S05x\nadmin S20b\npackaged S9\n");
}

#[test]
fn e_smiths_directory_counts_on_its_own_server_only() {
    let place = Place::new();
    let text = place.script("echo ${0##*/} >> $r/out");
    place.file("etc/e-smith/events/ev/S10a", &text, 0o755);
    let with = |profile: &str| {
        run(place.command(&["signal-event", "ev"]).env("WHARF_PROFILE", profile), 20)
    };
    with("debian").ended_with(2).complains_of(&["ev"]);
    with("sme").succeeded();
    assert_eq!(place.read("out"), "S10a\n");
}

#[test]
fn a_handler_gets_event_arguments_environment_directory_and_input_and_nothing_reaches_the_caller() {
    let place = Place::new();
    place.handler(
        "ev/S10a",
        "printf '%s|' \"$#\" \"$@\" \"$MINE\" \"$PWD\" > $r/out; cat >> $r/out; echo to-out; echo to-err >&2",
    );
    fs::write(place.path("input"), "given").unwrap();
    let mut command = place.command(&["signal-event", "ev", "a b", "$(x)", "*"]);
    command.env("MINE", "kept").current_dir(place.path("dev"));
    command.stdin(fs::File::open(place.path("input")).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    let directory = place.path("dev");
    assert_eq!(place.read("out"), format!("4|ev|a b|$(x)|*|kept|{}|given", directory.display()));
    let last = place.last();
    assert_eq!(last["handlers"][0]["output"], "to-out\nto-err\n");
    assert_eq!(last["args"], serde_json::json!(["a b", "$(x)", "*"]));
}

#[test]
fn the_log_has_the_lines_of_the_original() {
    let place = Place::new();
    place.handler("ev/S10a", "echo one; echo two >&2; exit 3");
    place.file("etc/wharf/events/ev/S20b", "", 0o644);
    place.handler("ev/S30c", "true");
    place.signal(&["ev", "x", "y z"]).ended_with(1);
    let path = |name: &str| place.path("etc/wharf/events/ev").join(name).display().to_string();
    let logged = place.logged();
    let masked: Vec<String> = logged
        .iter()
        .map(|line| match (line.find("|Start|"), line.find("|Status|")) {
            (Some(start), Some(status)) => format!("{}...{}", &line[..start], &line[status..]),
            (Some(start), None) => format!("{}...", &line[..start]),
            _ => line.clone(),
        })
        .collect();
    assert_eq!(
        masked,
        [
            "Processing event: ev x y z".to_owned(),
            format!("Running event handler: {}", path("S10a")),
            "one".to_owned(),
            "two".to_owned(),
            "S10a=action|Event|ev|Action|S10a...|Status|768".to_owned(),
            format!("Skipping non-executable event handler: {}", path("S20b")),
            format!("Running event handler: {}", path("S30c")),
            "S30c=action|Event|ev|Action|S30c...".to_owned(),
        ]
    );
    let times = logged.last().unwrap().split('|').skip(5).map(str::to_owned).collect::<Vec<_>>();
    let [_, start, _, end, _, elapsed] = times.as_slice() else { panic!("{times:?}") };
    let micros = |text: &str| {
        let (seconds, micros) = text.split_once(' ').unwrap();
        seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap()
    };
    let (seconds, rest) = elapsed.split_once('.').unwrap();
    let took = micros(&format!("{seconds} {rest:0<6}"));
    assert!((took..=took + 1).contains(&(micros(end) - micros(start))), "{times:?}");
    let raw = place.log.lock().unwrap()[0].clone();
    assert!(raw.starts_with("<142>") && raw.contains(" esmith::event["), "{raw}");
}

#[test]
fn a_line_of_a_handler_cannot_forge_a_line_of_the_log() {
    let place = Place::new();
    place.handler("ev/S10a", r"printf 'a\rProcessing event: x\033[2J\n'");
    place.signal(&["ev"]).succeeded();
    assert!(place.logged().contains(&"a#015Processing event: x#033[2J".to_owned()));
}

#[test]
fn what_cannot_be_run_is_skipped_or_fails_and_nothing_runs_twice() {
    let place = Place::new();
    place.handler("ev/S05first", "echo first >> $r/out");
    place.file("etc/wharf/events/ev/S10idle", "#!/bin/sh\n", 0o644);
    place.link("etc/wharf/events/ev/S20dangling", "../actions/none");
    fs::create_dir_all(place.path("etc/wharf/events/ev/S30dir")).unwrap();
    place.link("etc/wharf/events/ev/S31dir", "/tmp");
    let plain = format!("echo \"plain $1\" >> {}/out\n", place.root.path().display());
    place.file("etc/wharf/events/ev/S40plain", &plain, 0o755);
    place.signal(&["ev"]).succeeded();
    place.file("etc/wharf/events/ev/S50bad", "#!/no/such/interpreter\n", 0o755);
    place.handler("ev/S60last", "echo last >> $r/out");
    place.signal(&["ev"]).ended_with(1);
    assert_eq!(place.read("out"), "first\nplain ev\nfirst\nplain ev\nlast\n");
    assert_eq!(
        place.results(),
        [
            "S05first done",
            "S10idle skipped",
            "S20dangling skipped",
            "S40plain done",
            "S50bad not-run",
            "S60last done"
        ]
    );
    let bad = &place.last()["handlers"][4];
    assert!(bad["output"].as_str().unwrap().contains("cannot run"), "{bad}");
}

#[test]
fn the_statuses_are_those_of_the_original_and_names_are_data() {
    let place = Place::new();
    place.signal(&[]).ended_with(2).complains_of(&["usage"]);
    place.signal(&["none"]).ended_with(2).complains_of(&["none"]);
    place.file("etc/wharf/events/file", "", 0o755);
    place.signal(&["file"]).ended_with(20).complains_of(&["file"]);
    place.handler("actions/S10a", "touch $r/out");
    place.signal(&["actions"]).ended_with(1).complains_of(&["actions"]);
    place.handler("a/b/S10a", "echo $1 > $r/nested");
    place.signal(&["a/b"]).succeeded();
    assert_eq!(place.read("nested"), "a/b\n");
    let outside = place.path("etc/wharf/events/actions").display().to_string();
    for name in ["", "..", "../events/actions", "a/../actions", &outside, "a\nb", "./actions"] {
        place.signal(&[name]).ended_with(2).complains_of(&["event"]);
    }
    assert!(!place.path("out").exists());
}

#[test]
fn services_are_adjusted_as_the_configuration_says_by_then() {
    let place = Place::new();
    let bin = place.path("bin");
    place.file("bin/systemctl", &place.script("echo \"$@\" >> $r/calls; test $1 != reload"), 0o755);
    for name in ["on", "late", "broken"] {
        place.file(&format!("etc/systemd/system/{name}.service"), "", 0o644);
        place.file(&format!("etc/wharf/events/ev/services2adjust/{name}"), "sighup\n", 0o644);
    }
    place.link("etc/wharf/events/ev/services2adjust/unknown", "restart");
    place.file("usr/share/wharf/events/ev/services2adjust/hidden", "restart", 0o644);
    place.link("etc/wharf/events/ev/services2adjust/hidden", "/dev/null");
    fs::remove_file(place.path("etc/wharf/events/ev/services2adjust/broken")).unwrap();
    place.link("etc/wharf/events/ev/services2adjust/broken", "reload");
    for (name, status) in [("on", "enabled"), ("late", "disabled"), ("broken", "enabled")] {
        place.wharf(&["config", "set", name, "service", "status", status]).succeeded();
    }
    place.wharf(&["config", "set", "hidden", "service", "status", "enabled"]).succeeded();
    let set = "config setprop late status enabled; config setprop on status disabled";
    let wharf = env!("CARGO_BIN_EXE_wharf");
    place.handler("ev/S10change", &set.replace("config", &format!("{wharf} config")));
    let path = format!("{}:/usr/bin:/bin", bin.display());
    run(place.command(&["signal-event", "ev"]).env("PATH", path), 20).succeeded();
    assert_eq!(
        place.read("calls"),
        "reload broken.service\nstart late.service\nreload-or-restart late.service\nstop on.service\n"
    );
    let output = place.last()["handlers"][1]["output"].as_str().unwrap().to_owned();
    assert!(output.contains("warning: reload broken.service"), "{output}");
    assert!(output.contains("no record 'unknown' in configuration"), "{output}");
}

#[test]
fn a_template_has_its_services_adjusted_when_its_target_changes() {
    let place = Place::new();
    place.file("bin/systemctl", &place.script("echo \"$@\" >> $r/calls"), 0o755);
    place.file("etc/systemd/system/web.service", "[Unit]\n", 0o644);
    place.file("etc/wharf/events/e/templates2expand/etc/app.conf", "", 0o644);
    let front = "{#---\nadjust: { web: reload, none: reload }\n---#}\n";
    let fragment = "etc/wharf/templates-custom/etc/app.conf/10";
    place.file(fragment, &format!("{front}one\n"), 0o644);
    let path = format!("{}:/usr/bin:/bin", place.path("bin").display());
    let signal = || run(place.command(&["signal-event", "e"]).env("PATH", &path), 60).succeeded();
    signal();
    assert_eq!(place.read("calls"), "reload web.service\n");
    signal();
    assert_eq!(place.read("calls"), "reload web.service\n", "nothing has changed");
    place.file(fragment, &format!("{front}two\n"), 0o644);
    signal();
    assert_eq!(place.read("calls"), "reload web.service\n".repeat(2));
}

#[test]
fn a_template_that_fails_fails_the_event_and_the_rest_goes_on() {
    let place = Place::new();
    place.file("etc/wharf/events/ev/templates2expand/etc/none.conf", "", 0o644);
    place.file("etc/wharf/events/ev/templates2expand/etc/good.conf", "", 0o644);
    place.link("etc/wharf/events/ev/templates2expand/etc/dangling", "/nowhere");
    place.file("usr/share/wharf/templates/etc/good.conf/10a", "a word\n", 0o644);
    place.wharf(&["config", "set", "SystemName", "box"]).succeeded();
    place.handler("ev/S50b", "echo b >> $r/out");
    place.signal(&["ev"]).ended_with(1);
    assert_eq!(place.read("out"), "b\n");
    assert!(place.read("etc/good.conf").contains("a word"), "{:?}", place.read("etc/good.conf"));
    assert_eq!(place.results(), ["generic_template_expand failed", "S50b done"]);
    let output = place.last()["handlers"][0]["output"].as_str().unwrap().to_owned();
    assert!(output.contains("/etc/none.conf") && !output.contains("dangling"), "{output}");
    place.link("etc/wharf/events/ev/templates2expand/etc/none.conf.new", "/dev/null");
    fs::remove_file(place.path("etc/wharf/events/ev/templates2expand/etc/none.conf")).unwrap();
    place.signal(&["ev"]).succeeded();
}

#[test]
fn copies_kept_aside_are_no_handlers_targets_or_services() {
    let place = Place::new();
    place.handler("ev/S10a", "echo a >> $r/out");
    place.handler("ev/S10a.wharf-save", "echo old >> $r/out");
    place.file("etc/wharf/events/ev/templates2expand/etc/none.conf.wharf-save", "", 0o600);
    place.file("etc/wharf/events/ev/services2adjust/none.wharf-save.1", "restart\n", 0o600);
    place.signal(&["ev"]).succeeded();
    assert_eq!(place.read("out"), "a\n");
    let results = place.results();
    assert!(results.iter().all(|line| !line.contains("wharf-save")), "{results:?}");
    assert!(!place.last().to_string().contains("none"), "{}", place.last());
}

#[test]
fn an_event_of_ours_makes_a_pass_after_its_handlers() {
    let place = Place::new();
    place.handler("docker-update/S10a", "echo a >> $r/out");
    place.signal(&["docker-update"]).ended_with(1).complains_of(&["/nowhere/docker.sock"]);
    assert_eq!(place.read("out"), "a\n");
    assert_eq!(place.results(), ["S10a done", "reconcile failed"]);
    place.link("etc/wharf/events/docker-update/S50reconcile", "/dev/null");
    place.signal(&["docker-update"]).succeeded();
}

#[test]
fn an_event_about_a_container_needs_its_record() {
    let place = Place::new();
    place.wharf(&["db", "docker_containers", "set", "wiki", "service"]).succeeded();
    for name in ["container-create", "container-modify", "container-delete"] {
        place.handler(&format!("{name}/S10a"), "echo $1 $2 >> $r/out");
        place.signal(&[name]).ended_with(2).complains_of(&[name, "KEY"]);
        place.link(&format!("etc/wharf/events/{name}/S50reconcile"), "/dev/null");
    }
    place.signal(&["container-modify", "none"]).ended_with(1).complains_of(&["'none'"]);
    place.signal(&["container-create", "none"]).ended_with(1).complains_of(&["'none'"]);
    place.signal(&["container-delete", "gone"]).succeeded();
    place.signal(&["container-modify", "wiki"]).succeeded();
    assert_eq!(place.read("out"), "container-delete gone\ncontainer-modify wiki\n");
}

#[test]
fn only_an_event_that_a_record_names_makes_a_pass() {
    let place = Place::new();
    let set = "set wiki service Image demo status enabled StartOn post-backup StopOn pre-backup";
    let words: Vec<&str> = ["db", "docker_containers"].into_iter().chain(set.split(' ')).collect();
    place.wharf(&words).succeeded();
    place.handler("console-save/S10a", "true");
    place.signal(&["console-save"]).succeeded();
    assert_eq!(place.results(), ["S10a done"]);
    // Without a directory: the record alone makes it an event. There is no engine, so the pass fails.
    place.signal(&["pre-backup"]).ended_with(1).complains_of(&["/nowhere/docker.sock"]);
    assert_eq!(place.results(), ["reconcile failed"]);
    let overrides = place.read("run/wharf/overrides.json");
    assert!(overrides.contains(r#""wiki":"stop-by-event""#), "{overrides}");
    place.signal(&["post-backup"]).ended_with(1);
    let overrides = place.read("run/wharf/overrides.json");
    assert!(!overrides.contains("wiki"), "{overrides}");
}

#[test]
fn the_last_events_are_shown_with_what_they_wrote() {
    let place = Place::new();
    place.handler("ev/S10a", "echo hello; exit 4");
    place.handler("fine/S10a", "true");
    place.signal(&["ev", "x\ty"]).ended_with(1);
    place.signal(&["fine"]).succeeded();
    let list = place.wharf(&["events"]).succeeded().stdout;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[1].starts_with('1') && lines[1].contains("failed"), "{list}");
    assert!(lines[2].contains("done") && lines[2].contains("fine"), "{list}");
    assert_eq!(place.wharf(&["events", "-n", "1"]).succeeded().stdout.lines().count(), 2);
    let shown = place.wharf(&["events", "show", "1"]).succeeded().stdout;
    for part in ["ev \"x\\ty\"", "S10a: failed (status 4)", "    hello", "result: failed"] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let json = place.wharf(&["events", "show", "1", "--json"]).succeeded().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["handlers"][0]["status"], 1024);
    assert_eq!((&json["state"], &json["who"]["uid"]), (&"failed".into(), &0.into()));
    place.wharf(&["events", "show", "9"]).ended_with(1).complains_of(&["9"]);
    let directory = fs::metadata(place.path("var/lib/wharf/events")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    place.file("var/lib/wharf/events/1.json", "{\"number\":1,", 0o600);
    assert_eq!(place.past().len(), 1);
}

#[test]
fn a_history_that_cannot_be_written_stops_no_event() {
    let place = Place::new();
    place.handler("ev/S10a", "touch $r/out");
    place.file("var/lib/wharf/events", "", 0o644);
    place.signal(&["ev"]).succeeded().complains_of(&["var/lib/wharf/events", "not remembered"]);
    assert!(place.path("out").exists());
}
