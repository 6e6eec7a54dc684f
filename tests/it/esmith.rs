// SPDX-License-Identifier: GPL-2.0-or-later

//! `db`, `config` and `signal-event` against what the original answered: the cases of `tests/esmith/`.
//!
//! A case is a line of JSON: files and commands that come before, one call, and what it printed,
//! answered and left behind. To add a case, add a line. A case in which we differ on purpose stands in
//! [`DIFFERENT`] with the reason, and has to differ: when it no longer does, the test says so.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use bstr::ByteSlice;
use serde_json::Value;

/// Where we differ from the original on purpose.
const DIFFERENT: &[(&str, &str)] = &[
    ("props/004-setprop-missing-record", "a change that was not made is never status 0"),
    ("props/026-setprop-two-one-bad", "a '|' in a value is refused; the original splits it"),
    ("set/029-pipe-in-value", "a '|' in a value is refused; the original splits it"),
    ("set/030-pipe-in-value2", "a '|' in a value is refused; the original splits it"),
    ("set/039-hash-key", "a key that would be a comment is refused; the original loses it"),
];

/// The same for events.
const DIFFERENT_EVENTS: &[(&str, &str)] =
    &[("templates/011-failure-unnoticed", "a template that cannot be expanded fails the event")];

#[test]
fn the_commands_answer_as_the_original_did() {
    let tools = tempfile::tempdir().unwrap();
    for tool in ["db", "config"] {
        symlink(env!("CARGO_BIN_EXE_db"), tools.path().join(tool)).unwrap();
    }
    let mut seen = 0;
    let mut wrong = Vec::new();
    for case in cases("db") {
        seen += 1;
        let id = text(&case["id"]);
        let differences = differences(&case, tools.path());
        let expected = DIFFERENT.iter().find(|(different, _)| *different == id);
        match (differences.is_empty(), expected) {
            (true, None) | (false, Some(_)) => {}
            (true, Some((_, reason))) => wrong.push(format!("{id}: no difference ({reason})")),
            (false, None) => wrong.push(format!("{id}:\n    {}", differences.join("\n    "))),
        }
    }
    assert!(seen >= 70, "only {seen} cases were found");
    assert!(wrong.is_empty(), "{} of {seen} cases\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn the_defaults_of_a_database_are_set_as_the_original_did() {
    let mut seen = 0;
    for case in cases("defaults") {
        seen += 1;
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join("home/e-smith/db")).unwrap();
        for (path, content) in members(&case["files"]) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.as_str() {
                Some(text) => fs::write(path, text).unwrap(),
                None => fs::create_dir_all(path).unwrap(),
            }
        }
        for (name, content) in members(&case["db"]) {
            fs::write(root.join("home/e-smith/db").join(name), bytes(&content)).unwrap();
        }
        // Twice, because it has to be safe at every boot.
        for turn in 1..=2 {
            let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
            command.arg("initialize-default-databases").env("ESMITH_ROOT", root);
            command.env_remove("WHARF_ROOT").env_remove("DBPATH").env_remove("WHARF_STORE");
            let answer = command.output().unwrap();
            let id = text(&case["id"]);
            let status = answer.status.code().map(i64::from);
            assert_eq!(status, case["exit"].as_i64(), "{id}: {}", shown(&answer.stderr));
            assert!(!answer.stderr.is_empty() && answer.stdout.is_empty(), "{id}");
            for (path, wanted) in members(&case["after"]) {
                let found = fs::read(root.join(&path)).map(|content| body(&content)).unwrap();
                assert_eq!(found.as_bstr(), text(&wanted["text"]), "{id}, turn {turn}");
            }
        }
    }
    assert!(seen >= 10, "only {seen} cases were found");
}

#[test]
fn events_do_what_they_did_in_the_original() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for case in cases("events") {
        seen += 1;
        let id = text(&case["id"]);
        let differences = differences_of_event(&case);
        let expected = DIFFERENT_EVENTS.iter().find(|(different, _)| *different == id);
        match (differences.is_empty(), expected) {
            (true, None) | (false, Some(_)) => {}
            (true, Some((_, reason))) => wrong.push(format!("{id}: no difference ({reason})")),
            (false, None) => wrong.push(format!("{id}:\n    {}", differences.join("\n    "))),
        }
    }
    assert!(seen >= 13, "only {seen} cases were found");
    assert!(wrong.is_empty(), "{} of {seen} cases\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Runs one case of an event below a root of its own and compares.
fn differences_of_event(case: &Value) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let (root, tools) = (place.path().join("root"), place.path().join("bin"));
    for directory in ["etc/e-smith/templates", "etc/e-smith/events/actions", "home/e-smith/db"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::create_dir(&tools).unwrap();
    for (path, content) in members(&case["files"]) {
        put(&root.join(path), &content);
    }
    for (name, content) in members(&case["db"]) {
        fs::write(root.join("home/e-smith/db").join(name), bytes(&content)).unwrap();
    }
    let stub = "#!/bin/sh\nmkdir -p \"$ESMITH_ROOT/var/ref\"\n\
                echo \"systemctl $*\" >> \"$ESMITH_ROOT/var/ref/systemctl.log\"\n";
    put(&tools.join("systemctl"), &serde_json::json!({"text": stub, "mode": "0755"}));

    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("signal-event").args(elements(&case["argv"]).map(text)).current_dir(&root);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("ESMITH_ROOT", &root);
    command.env_remove("WHARF_ROOT").env_remove("DBPATH").env_remove("WHARF_STORE");
    let answer = command.output().unwrap();

    let mut wrong = Vec::new();
    if answer.stdout != bytes(&case["stdout"]) {
        wrong.push(format!("stdout {}", shown(&answer.stdout)));
    }
    if answer.stderr.is_empty() != (text(&case["stderr"]) == "empty") {
        wrong.push(format!("stderr {}", shown(&answer.stderr)));
    }
    let status = i64::from(answer.status.code().unwrap());
    let is_loose = case["exit_loose"].as_bool() == Some(true);
    if if is_loose { status == 0 } else { Some(status) != case["exit"].as_i64() } {
        wrong.push(format!("status {status}"));
    }
    for (path, wanted) in members(&case["after"]) {
        let found = fs::read(root.join(&path)).ok();
        let wanted = Some(&wanted["text"]).filter(|text| !text.is_null()).map(bytes);
        if found != wanted {
            wrong.push(format!("{path} is now {}", shown(&found.unwrap_or_default())));
        }
    }
    wrong
}

/// Makes what a case says of one path.
fn put(path: &Path, content: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if let Some(target) = content["link"].as_str() {
        symlink(target, path).unwrap();
    } else if content["dir"].as_bool() == Some(true) {
        fs::create_dir_all(path).unwrap();
    } else {
        fs::write(path, content.as_str().or(content["text"].as_str()).unwrap()).unwrap();
        let mode = u32::from_str_radix(content["mode"].as_str().unwrap_or("0644"), 8).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn cases(suite: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/esmith").join(suite);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.flat_map(|text| text.lines().map(parse).collect::<Vec<_>>()).collect()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// Runs one case in a directory of its own and compares.
fn differences(case: &Value, tools: &Path) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("db");
    fs::create_dir(&directory).unwrap();
    let directory = directory.as_path();
    let files = members(&case["files"]);
    for (name, content) in &files {
        fs::write(directory.join(name), bytes(content)).unwrap();
    }
    for command in elements(&case["setup"]) {
        call(tools, "db", command, directory);
    }
    let program = case["prog"].as_str().unwrap_or("db");
    let answer = call(tools, program, &case["argv"], directory);

    let mut wrong = Vec::new();
    if answer.stdout != bytes(&case["stdout"]) {
        wrong.push(format!("stdout {}", shown(&answer.stdout)));
    }
    let status = i64::from(answer.status.code().unwrap());
    let is_right = match case["exit_loose"].as_bool() {
        Some(true) => status != 0,
        Some(false) | None => Some(status) == case["exit"].as_i64(),
    };
    if !is_right {
        wrong.push(format!("status {status}, stderr {}", shown(&answer.stderr)));
    }
    let after = members(&case["db_after"]);
    for (name, wanted) in &after {
        let found = fs::read(directory.join(name)).ok().map(|content| body(&content));
        if found != Some(wanted).filter(|wanted| !wanted.is_null()).map(bytes) {
            wrong.push(format!("{name} is now {}", shown(&found.unwrap_or_default())));
        }
    }
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !files.contains_key(&name) && !after.contains_key(&name) && name != "t" {
            wrong.push(format!("{name} was left behind"));
        }
    }
    wrong
}

fn call(tools: &Path, program: &str, argv: &Value, directory: &Path) -> Output {
    let mut command = Command::new(tools.join(program));
    command.args(elements(argv).map(|arg| OsString::from_vec(bytes(arg))));
    command.env("DBPATH", directory).output().unwrap()
}

/// A file without comments and blank lines.
fn body(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let has_meaning = |line: &&[u8]| !matches!(line.trim_ascii().first(), None | Some(b'#'));
    lines.filter(has_meaning).flatten().copied().collect()
}

fn members(value: &Value) -> BTreeMap<String, Value> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A string, or `{"b64": "…"}` where it is not UTF-8.
fn bytes(value: &Value) -> Vec<u8> {
    match value.get("b64") {
        Some(encoded) => decode_base64(text(encoded)),
        None => text(value).as_bytes().to_vec(),
    }
}

fn decode_base64(encoded: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = encoded.bytes().filter(|byte| *byte != b'=');
    let bits: Vec<u8> = digits
        .map(|digit| u8::try_from(DIGITS.iter().position(|d| *d == digit).unwrap()).unwrap())
        .flat_map(|value| (0..6).rev().map(move |bit| value >> bit & 1))
        .collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect()
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", bytes.as_bstr())
}
