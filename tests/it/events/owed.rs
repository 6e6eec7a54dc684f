// SPDX-License-Identifier: GPL-2.0-or-later

//! What a template wants adjusted is adjusted, whatever happens between its target and S90.

use std::fs;
use std::process::Command;

use super::Place;
use crate::lab::process::{Ran, run};

const MARKER: &str = "etc/wharf/events/e/templates2expand/etc/app.conf";
const FRAGMENT: &str = "etc/wharf/templates-custom/etc/app.conf/10";
const OWED: &str = "var/lib/wharf/owed.json";

/// A root with a service, and a template that wants it reloaded.
struct App(Place);

impl App {
    fn new() -> Self {
        let place = Place::new();
        place.file("etc/systemd/system/web.service", "[Unit]\n", 0o644);
        place.file(MARKER, "", 0o644);
        let app = Self(place);
        app.template("one", "");
        app.systemctl("");
        app
    }

    fn template(&self, text: &str, more: &str) {
        let front = format!("{{#---\nadjust: {{ web: reload }}\n{more}---#}}\n{text}\n");
        self.0.file(FRAGMENT, &front, 0o644);
    }

    /// A `systemctl` that notes what it is told, and then does `then`.
    fn systemctl(&self, then: &str) {
        self.0.file(
            "bin/systemctl",
            &self.0.script(&format!("{then}\necho \"$@\" >> $r/calls")),
            0o755,
        );
    }

    fn with_path(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.0.path("bin").display()));
        command
    }

    fn signal(&self, event: &str) -> Ran {
        run(&mut self.with_path(&["signal-event", event]), 60)
    }

    /// Signals event `e` of which something kills the process.
    fn is_killed(&self) {
        let status = self.with_path(&["signal-event", "e"]).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    }

    fn calls(&self) -> String {
        self.0.read("calls")
    }

    /// What S90 of the last event had to say.
    fn told(&self) -> String {
        let last = self.0.last();
        let handlers = last["handlers"].as_array().unwrap();
        let s90 = handlers.iter().find(|handler| handler["name"] == "adjust-services");
        s90.unwrap()["output"].as_str().unwrap().to_owned()
    }
}

#[test]
fn an_event_killed_between_target_and_service_leaves_the_next_one_to_tell_it() {
    let app = App::new();
    app.0.handler("e/S60kill", "test -e $r/fine || kill -KILL $PPID");
    app.is_killed();
    assert_eq!((app.0.read("etc/app.conf").as_str(), app.calls().as_str()), ("one\n", ""));
    fs::write(app.0.path("fine"), "").unwrap();
    // Another event, which names neither targets nor services.
    app.0.handler("other/S10a", "true");
    app.signal("other").succeeded();
    assert_eq!(app.calls(), "reload web.service\n");
    let told = app.told();
    assert!(told.contains("web is owed reload since ") && told.contains("event 'e'"), "{told}");
    assert!(!app.0.path(OWED).exists());
    app.signal("e").succeeded();
    app.signal("other").succeeded();
    assert_eq!(app.calls(), "reload web.service\n", "paid is paid");
    assert_eq!(app.0.results(), ["S10a done"]);
}

#[test]
fn an_event_killed_at_any_other_step_tells_the_service_all_the_same() {
    // Before the swap: by the program that checks, which wharf starts itself.
    let app = App::new();
    let kill = format!("check: {} {{file}}\n", app.0.path("bin/check").display());
    app.0.file("bin/check", &app.0.script("kill -KILL $PPID"), 0o755);
    app.template("one", &kill);
    app.is_killed();
    assert!(!app.0.path("etc/app.conf").exists() && app.0.path(OWED).exists());
    app.0.file("bin/check", &app.0.script("true"), 0o755);
    app.signal("e").succeeded();
    assert_eq!(app.calls(), "reload web.service\n");
    // While the service is told: before it did it, and right after.
    for (number, then) in
        ["kill -KILL $PPID; exit", "echo \"$@\" >> $r/calls; kill -KILL $PPID; exit"]
            .into_iter()
            .enumerate()
    {
        let app = App::new();
        app.systemctl(then);
        app.is_killed();
        assert_eq!(app.calls().lines().count(), number);
        app.systemctl("");
        app.signal("e").succeeded();
        assert_eq!(app.calls(), "reload web.service\n".repeat(number + 1));
        assert!(!app.0.path(OWED).exists());
    }
}

#[test]
fn a_service_that_refuses_stays_owed_until_it_does_it() {
    let app = App::new();
    app.systemctl("exit 1");
    app.signal("e").succeeded();
    let told = app.told();
    assert!(told.contains("warning: reload web.service") && told.contains("web stays owed reload"));
    assert!(!told.contains("since"), "it is this event's own: {told}");
    app.signal("e").succeeded();
    assert!(app.told().contains("web is owed reload since"));
    app.systemctl("");
    app.signal("e").succeeded();
    app.signal("e").succeeded();
    assert_eq!(app.calls(), "reload web.service\n");
}

#[test]
fn a_service_that_is_gone_is_owed_nothing() {
    let app = App::new();
    app.systemctl("exit 1");
    app.signal("e").succeeded();
    fs::remove_file(app.0.path("etc/systemd/system/web.service")).unwrap();
    app.signal("e").succeeded();
    assert!(app.told().contains("there is no unit file web.service"), "{}", app.told());
    assert!(!app.0.path(OWED).exists());
}

#[test]
fn a_target_that_is_refused_leaves_nothing_owed() {
    let app = App::new();
    app.template("one", "check: test -z {file}\n");
    app.signal("e").ended_with(1);
    let output = app.0.last()["handlers"][0]["output"].to_string();
    assert!(output.contains("would be refused"), "{output}");
    assert!(!app.0.path("etc/app.conf").exists() && !app.0.path(OWED).exists());
    assert_eq!(app.calls(), "");
}

#[test]
fn what_is_owed_in_an_event_is_told_at_its_own_s90_and_not_by_one_inside() {
    let app = App::new();
    let wharf = env!("CARGO_BIN_EXE_wharf");
    app.0.handler("e/S60inner", &format!("{wharf} signal-event inner; cp $r/calls $r/before"));
    app.0.handler("inner/S10a", "true");
    fs::write(app.0.path("calls"), "").unwrap();
    app.signal("e").succeeded();
    assert_eq!((app.0.read("before"), app.calls()), (String::new(), "reload web.service\n".into()));
    assert!(app.0.path("before").exists());
}

#[test]
fn apply_pays_what_an_event_left_but_not_in_the_middle_of_one() {
    let app = App::new();
    app.systemctl("exit 1");
    app.signal("e").succeeded();
    app.systemctl("");
    let wharf = env!("CARGO_BIN_EXE_wharf");
    app.0.file(
        "etc/wharf/events/e/S80apply",
        &app.0.script(&format!("{wharf} apply; cp $r/calls $r/early")),
        0o755,
    );
    // There is no engine, so the pass fails; services are told nevertheless.
    let ran = run(&mut app.with_path(&["apply"]), 60).ended_with(1);
    assert!(ran.stdout.contains("adjusting service web (reload)"), "{}", ran.stdout);
    assert_eq!(app.calls(), "reload web.service\n");
    app.template("two", "");
    app.signal("e").succeeded();
    assert_eq!(app.0.read("early").lines().count(), 1);
    assert_eq!(app.calls().lines().count(), 2);
}

#[test]
fn an_event_that_touches_no_service_leaves_it_to_the_next_one() {
    let app = App::new();
    app.0.file(&MARKER.replace("/e/", "/post-upgrade/"), "", 0o644);
    app.signal("post-upgrade").succeeded();
    assert_eq!((app.0.read("etc/app.conf"), app.calls()), ("one\n".to_owned(), String::new()));
    app.signal("e").succeeded();
    assert_eq!(app.calls(), "reload web.service\n");
}

#[test]
fn a_disabled_service_that_two_templates_want_adjusted_is_stopped_once() {
    let app = App::new();
    let other = "etc/wharf/events/e/templates2expand/etc/other.conf";
    app.0.file(other, "", 0o644);
    let front = "{#---\nadjust: { web: restart }\n---#}\nx\n";
    app.0.file("etc/wharf/templates-custom/etc/other.conf/10", front, 0o644);
    app.0
        .wharf(&["db", "configuration", "set", "web", "service", "status", "disabled"])
        .succeeded();
    app.signal("e").succeeded();
    assert_eq!(app.calls(), "stop web.service\n");
    assert!(!app.0.path(OWED).exists());
}
