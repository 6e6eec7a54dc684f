// SPDX-License-Identifier: GPL-2.0-or-later

//! Wharf on a real engine: what a person types, and what the host then is.
//!
//! Each test has a host of its own (see [`crate::lab`]), talks to wharf by its command line, and
//! asks the engine, the kernel or a client on the network what came of it. Of wharf's messages only
//! what they must name is asked for: the record, the property, the value.

mod alert;
mod chains;
mod chaos;
mod daemon;
mod doctor;
mod drift;
mod echo;
mod event;
mod exact;
mod exposure;
mod faults;
mod guard;
mod image;
mod journald;
mod kill;
mod liar;
mod loss;
mod matrix;
mod neighbours;
mod network;
mod orphan;
mod pass;
mod progress;
mod quiet;
mod roll_back;
mod status;
mod tell;
mod way_back;
mod web;
mod well;

use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Page, wait_until};

/// For something that takes a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Sets record `words[0]` of the database of containers.
fn set(lab: &Lab, words: &str) {
    let mut args = vec!["docker_containers", "set"];
    args.extend(words.split(' '));
    lab.db(&args);
}

/// Sets properties of record `words[0]`.
fn setprop(lab: &Lab, words: &str) {
    let mut args = vec!["docker_containers", "setprop"];
    args.extend(words.split(' '));
    lab.db(&args);
}

/// The two records of the README.
fn street(lab: &Lab) {
    set(lab, "mysql service status enabled Image demo-db TCPPort 3306 MaxMemory 64");
    set(
        lab,
        "wordpress service status enabled Image demo-web TCPPort 80 PortMapping custom \
         PortMappingPorts 8080:80 access private Interlinked mysql:db MaxMemory 128 WebAlias blog \
         DataMount host DataMountPath /var/www",
    );
}

/// A record of a web server on host port `port`.
fn web(name: &str, port: u16) -> String {
    format!(
        "{name} service status enabled Image demo-web TCPPort 80 PortMapping custom \
         PortMappingPorts {port}:80"
    )
}

/// Applies, which must succeed.
fn apply(lab: &Lab) {
    lab.wharf(&["apply"]).succeeded();
}

/// When the engine started container `name`; comparable as text.
fn started_at(lab: &Lab, name: &str) -> String {
    let container = lab.inspect(name).unwrap_or_else(|| panic!("no container {name}"));
    let text = container["State"]["StartedAt"].as_str().unwrap().to_owned();
    // The engine leaves zeros at the end of the fraction out.
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((&text, "0"));
    format!("{seconds}.{fraction:0<9}")
}

/// Waits until `get` gives a page with `text`.
fn until_page(text: &str, mut get: impl FnMut() -> Result<Page, String>) {
    let mut last = None;
    let deadline = std::time::Instant::now() + SOON;
    while std::time::Instant::now() < deadline {
        match get() {
            Ok(page) if page.status == 200 && page.body.contains(text) => return,
            other => last = Some(other),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no page with {text:?}, last was {last:?}");
}

/// Whether `get` ends without any answer of a web server.
fn closed(get: &Result<Page, String>) -> bool {
    get.is_err()
}

/// The names of all containers, sorted.
fn containers(lab: &Lab) -> Vec<String> {
    let list = lab.docker_get("/containers/json?all=true");
    let mut names: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|container| container["Names"][0].as_str())
        .map(|name| name.trim_start_matches('/').to_owned())
        .collect();
    names.sort();
    names
}

/// `wharf status --json`, and the objects in it that mention `name`, the smallest first.
fn in_status<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    match status {
        Value::Object(fields) => fields
            .values()
            .find_map(|value| in_status(value, name))
            .or_else(|| fields.values().any(|value| value == name).then_some(status)),
        Value::Array(items) => items.iter().find_map(|item| in_status(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Waits until container `name` runs.
fn until_runs(lab: &Lab, name: &str) {
    wait_until(SOON, &format!("{name} runs"), || lab.runs(name));
}
