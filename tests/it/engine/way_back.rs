// SPDX-License-Identifier: GPL-2.0-or-later

//! A replacement that does not serve: the old container comes back by itself, and is left alone until
//! something changes or somebody asks.

use serde_json::{Value, json};
use wharf::db::value;
use wharf::state::Role;

use super::{apply, containers, set, setprop, until_page, web};
use crate::lab::{Engine, HOST_LAN, Lab, Mode, WEB_TEXT};

/// A web server on port 8080, and its page from the LAN.
fn shop(lab: &Lab) -> String {
    set(lab, &format!("{} access private", web("shop", 8080)));
    apply(lab);
    let url = format!("http://{HOST_LAN}:8080/");
    until_page(WEB_TEXT, || lab.lan_get(&url));
    url
}

/// What is remembered of what went wrong with `name`.
fn trouble(lab: &Lab, name: &str) -> Option<Value> {
    let file = lab.root().join(format!("var/lib/wharf/trouble/{name}.json"));
    Some(serde_json::from_slice(&std::fs::read(file).ok()?).unwrap())
}

#[test]
fn an_image_that_ends_at_once_brings_the_old_container_back() {
    let Some(lab) = Lab::new() else { return };
    let url = shop(&lab);
    let id = lab.id("shop");
    lab.db(&[
        "docker_containers",
        "setprop",
        "shop",
        "Command",
        "sh -c 'echo no such table; exit 3'",
    ]);

    let told = lab.wharf(&["apply"]).ended_with(1);
    told.complains_of(&["shop", "exit code 3", "no such table", "the old one is back"]);
    assert_eq!(lab.id("shop"), id);
    assert!(lab.runs("shop"));
    assert_eq!(containers(&lab), ["shop"], "nothing is left of the new one");
    until_page(WEB_TEXT, || lab.lan_get(&url));

    // It is not tried again, and that is said.
    let proxy = lab.proxy(|_| {});
    let again = lab.wharf_with(&[("DOCKER_HOST", &proxy.docker_host())], &["apply"]).ended_with(1);
    again.complains_of(&["shop", "its replacement failed at", "wharf retry shop"]);
    let written: Vec<String> =
        proxy.requests().into_iter().filter(|request| !request.starts_with("GET")).collect();
    assert_eq!(written, [""; 0]);
    let status = lab.wharf(&["status"]).ended_with(1).stdout;
    assert!(status.contains("hold shop: its replacement failed at"), "{status}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &lab.root().join("var/lib/wharf/trouble/shop.json").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    lab.wharf(&["retry", "shop"]).ended_with(1).complains_of(&["the old one is back"]);
    assert_eq!(lab.id("shop"), id);

    // Another record is another try, and forgets the old one.
    lab.db(&["docker_containers", "delprop", "shop", "Command"]);
    setprop(&lab, "shop MaxMemory 48");
    apply(&lab);
    assert_ne!(lab.id("shop"), id);
    assert_eq!(trouble(&lab, "shop"), None);
    until_page(WEB_TEXT, || lab.lan_get(&url));
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn one_that_runs_and_never_serves_goes_back_after_the_limit() {
    let Some(lab) = Lab::new() else { return };
    let url = shop(&lab);
    let id = lab.id("shop");
    setprop(&lab, "shop Health http:80/nothing-here");

    let short = [("WHARF_READY_TIMEOUT", "2")];
    apply(&lab);
    assert_eq!(lab.id("shop"), id, "a health check by us needs no other container");

    setprop(&lab, "shop MaxMemory 48");
    lab.wharf_with(&short, &["apply"]).ended_with(1).complains_of(&["shop", "404", "is back"]);
    assert_eq!(lab.id("shop"), id);
    until_page(WEB_TEXT, || lab.lan_get(&url));
}

#[test]
fn a_port_on_which_the_old_container_did_not_listen_is_not_asked_of_the_new_one() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "box1 service status enabled Image demo-db TCPPort 3307 PortMapping none");
    apply(&lab);
    let id = lab.id("box1");
    setprop(&lab, "box1 MaxMemory 48");
    apply(&lab);
    assert_ne!(lab.id("box1"), id);

    // One that did listen has to go on.
    setprop(&lab, "box1 TCPPort 3306 MaxMemory 32");
    apply(&lab);
    let id = lab.id("box1");
    lab.db(&["docker_containers", "setprop", "box1", "Command", "sleep 100"]);
    let short = [("WHARF_READY_TIMEOUT", "2")];
    lab.wharf_with(&short, &["apply"]).ended_with(1).complains_of(&["3306", "is back"]);
    assert_eq!(lab.id("box1"), id);
}

#[test]
fn an_image_that_cannot_be_had_interrupts_nothing() {
    let Some(lab) = Lab::new() else { return };
    shop(&lab);
    let started = super::started_at(&lab, "shop");
    setprop(&lab, "shop Image no-such-image");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["no-such-image"]);

    assert_eq!(super::started_at(&lab, "shop"), started);
    assert_eq!(trouble(&lab, "shop"), None, "that is no fault of a container");
}

#[test]
fn a_record_called_as_a_temporary_name_is_not_touched() {
    let Some(lab) = Lab::new() else { return };
    for name in ["box1", "box1.next", "box1.prev"] {
        set(&lab, &format!("{name} service status enabled Image demo-db PortMapping none"));
    }
    apply(&lab);
    let before = ["box1.next", "box1.prev"].map(|name| lab.id(name));

    setprop(&lab, "box1 MaxMemory 48");
    apply(&lab);

    assert_eq!(["box1.next", "box1.prev"].map(|name| lab.id(name)), before);
    assert_eq!(containers(&lab), ["box1", "box1.next", "box1.prev"]);
    lab.wharf(&["plan"]).succeeded();
}

/// What a kill leaves that came when the new container had its name, and the old one was not gone.
fn interrupted(lab: &Lab, command: &str) -> (String, String) {
    set(lab, "box1 service status enabled Image demo-db PortMapping none network host");
    apply(lab);
    let old = lab.id("box1");
    setprop(lab, &format!("box1 Command {command}"));
    let plan: Value =
        serde_json::from_str(&lab.wharf(&["plan", "--json"]).ended_with(3).stdout).unwrap();
    let new = &plan["plan"][0]["parameters"]["new"];
    let found = lab.inspect("box1").unwrap();
    let mut body = found["Config"].clone();
    body["HostConfig"] = found["HostConfig"].clone();
    body["Cmd"] = json!([command]);
    body["Labels"]["io.github.wharfd.hash"] = new["hash"].clone();
    body["Labels"]["io.github.wharfd.generation"] = new["generation"].to_string().into();
    let previous = Role::Previous.name(&value::container_name("box1").unwrap());
    lab.docker("POST", "/containers/box1/stop?t=0", None);
    let renamed = lab.docker("POST", &format!("/containers/{old}/rename?name={previous}"), None);
    assert_eq!(renamed.status, 204, "{}", renamed.text());
    let made = lab.docker("POST", "/containers/create?name=box1", Some(&body));
    assert_eq!(made.status, 201, "{}", made.text());
    (old, lab.id("box1"))
}

#[test]
fn an_interrupted_replacement_is_finished_when_the_new_container_serves() {
    let Some(lab) = Lab::new() else { return };
    let (_, new) = interrupted(&lab, "/bin/demo-db");
    let plan = lab.wharf(&["plan"]).ended_with(3).stdout;
    assert!(plan.contains("finish the replacement of container box1"), "{plan}");

    apply(&lab);

    assert_eq!(containers(&lab), ["box1"]);
    assert_eq!(lab.id("box1"), new);
    assert!(lab.runs("box1"));
}

#[test]
fn an_interrupted_replacement_goes_back_when_the_new_container_does_not_serve() {
    let Some(lab) = Lab::new() else { return };
    let (old, _) = interrupted(&lab, "false");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["box1", "exit code 1", "is back"]);

    assert_eq!(containers(&lab), ["box1"]);
    assert_eq!(lab.id("box1"), old);
    assert!(lab.runs("box1"));
}

#[test]
fn a_foreign_container_with_the_temporary_name_stays() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "box1 service status enabled Image demo-db PortMapping none");
    apply(&lab);
    let next = Role::Next.name(&value::container_name("box1").unwrap());
    lab.run_foreign(&next, "demo-db", &json!({}));
    let (id, started) = (lab.id(&next), super::started_at(&lab, "box1"));
    setprop(&lab, "box1 MaxMemory 48");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["box1", "in use"]);

    assert_eq!(lab.id(&next), id);
    assert!(lab.runs(&next));
    assert_eq!(super::started_at(&lab, "box1"), started, "nothing was stopped for it");
}

#[test]
fn on_podman_too_the_old_container_comes_back_and_undeclared_data_holds() {
    let Some(lab) = Lab::with(Engine::Podman, Mode::Gateway) else { return };
    set(&lab, "box1 service status enabled Image demo-db PortMapping none");
    apply(&lab);
    let id = lab.id("box1");
    lab.db(&[
        "docker_containers",
        "setprop",
        "box1",
        "Command",
        "sh -c 'echo no such table; exit 3'",
    ]);

    let told = lab.wharf(&["apply"]).ended_with(1);
    told.complains_of(&["box1", "exit code 3", "no such table", "the old one is back"]);
    assert_eq!(lab.id("box1"), id);
    assert!(lab.runs("box1"));
    assert_eq!(containers(&lab), ["box1"]);

    lab.db(&["docker_containers", "delprop", "box1", "Command"]);
    setprop(&lab, "box1 MaxMemory 48");
    apply(&lab);
    let id = lab.id("box1");
    assert!(lab.runs("box1"));

    let line = "mkdir -p /srv && echo precious > /srv/table && touch -t 202601010000 /srv/table";
    lab.exec("box1", &["sh", "-c", line]).succeeded();
    setprop(&lab, "box1 MaxMemory 64");
    let told = lab.wharf(&["apply"]).ended_with(1);
    told.complains_of(&["would be lost: /srv/table;"]);
    assert_eq!(lab.id("box1"), id);
    lab.wharf(&["apply", "--accept-data-loss", "box1"]).succeeded();
    assert_ne!(lab.id("box1"), id);
}
