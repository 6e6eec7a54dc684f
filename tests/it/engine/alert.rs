// SPDX-License-Identifier: GPL-2.0-or-later

//! Mails and a program of the administrator when something has changed: with a small `sendmail` that keeps
//! what it gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SOON, set, setprop, until_runs};
use crate::lab::{Daemon, Lab, wait_until};

/// Three ends with their waits, also on a machine with much to do.
const LATER: Duration = Duration::from_secs(60);

const BOX: &str = "box service status enabled Image demo-db TCPPort 3306 PortMapping none";

/// Writes the program `name` with `script`, in the directory that it returns.
fn program(lab: &Lab, name: &str, script: &str) -> PathBuf {
    let directory = lab.scratch("programs");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// `wharfd`, which finds the programs of `directory` first.
fn wharfd(lab: &Lab, directory: &Path) -> Daemon {
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), ("PATH", &path)])
}

/// The texts of the files in `directory` whose names begin with `prefix`.
fn kept(directory: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    entries.filter(is_one).map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Whether one of the mails has all of `words`.
fn has_mail(directory: &Path, words: &[&str]) -> bool {
    kept(directory, "mail.").iter().any(|mail| words.iter().all(|word| mail.contains(word)))
}

/// Whether box runs with the limit that it was given; in one answer, because it may be made anew.
fn has_limit(lab: &Lab) -> bool {
    lab.inspect("box").is_some_and(|found| {
        found["State"]["Running"] == true && found["HostConfig"]["Memory"] == 80 << 20
    })
}

#[test]
fn a_crash_loop_its_end_and_a_repair_are_mailed_once_and_the_program_gets_json() {
    let Some(lab) = Lab::new() else { return };
    let box_dir = lab.scratch("box");
    fs::create_dir(&box_dir).unwrap();
    let to = box_dir.display();
    let programs =
        program(&lab, "sendmail", &format!("echo \"$@\" >{to}/args.$$; cat >{to}/mail.$$"));
    let script = format!("cat >{to}/json.$$; env | grep ^WHARF_ >{to}/env.$$");
    program(&lab, "tell", &script);
    let tell = programs.join("tell").display().to_string();
    let docker = ["configuration", "set", "docker", "service", "NotifyMail", "admin"];
    lab.db(&[&docker[..], &["NotifyCommand", &tell]].concat());
    set(&lab, BOX);
    lab.db(&["docker_containers", "setprop", "box", "Command", "sh -c 'echo hunter2; exit 3'"]);
    let daemon = wharfd(&lab, &programs);

    let loops = ["To: admin\n", "\ntroubled: box: ", "exit code 3", "hint: wharf why box"];
    wait_until(LATER, "the crash loop is mailed", || has_mail(&box_dir, &loops));
    lab.db(&["docker_containers", "delprop", "box", "Command"]);
    until_runs(&lab, "box");
    wait_until(SOON, "its end is mailed", || has_mail(&box_dir, &["\nrecovered: box: "]));
    lab.nft(&["flush", "ruleset"]);
    wait_until(SOON, "the repair is mailed", || has_mail(&box_dir, &["\ndrift-repaired: host: "]));
    let count = kept(&box_dir, "mail.").len();
    // A second one in the hour, over a restart.
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(SOON), Some(0));
    let _daemon = wharfd(&lab, &programs);
    let guarded = || lab.host(&["nft", "list", "table", "inet", "wharf"]).code == 0;
    wait_until(SOON, "wharfd listens", || lab.wharf(&["metrics"]).code == 0);
    lab.nft(&["flush", "ruleset"]);
    wait_until(SOON, "it is repaired", guarded);
    setprop(&lab, "box MaxMemory 80");
    wait_until(SOON, "a pass was made", || has_limit(&lab));
    assert_eq!(kept(&box_dir, "mail.").len(), count, "{:?}", kept(&box_dir, "mail."));

    let all = [kept(&box_dir, "mail."), kept(&box_dir, "json."), kept(&box_dir, "env.")].concat();
    assert!(all.iter().all(|text| !text.contains("hunter2")), "{all:?}");
    assert!(kept(&box_dir, "args.").iter().all(|args| args == "-i -t\n"));
    let events: Vec<Value> =
        kept(&box_dir, "json.").iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let troubled = events.iter().find(|event| event["event"] == "troubled").unwrap();
    assert_eq!(troubled["record"], "box");
    let has_words = |text: &String| text.contains("WHARF_EVENT=recovered\n");
    assert!(kept(&box_dir, "env.").iter().any(has_words));
}

#[test]
fn a_mailer_that_hangs_or_fails_holds_up_no_pass_and_not_the_end() {
    let Some(lab) = Lab::new() else { return };
    let hangs = lab.scratch("hangs");
    let script = format!("touch {}; exec sleep 1000", hangs.display());
    let programs = program(&lab, "sendmail", &script);
    lab.db(&["configuration", "set", "docker", "service", "NotifyMail", "admin"]);
    set(&lab, BOX);
    let bad = ["--no-check", "docker_containers", "set", "bad", "service", "TCPPort", "99999"];
    lab.db(&bad);
    let daemon = wharfd(&lab, &programs);
    wait_until(SOON, "the mailer hangs", || hangs.exists());
    setprop(&lab, "box MaxMemory 80");
    wait_until(SOON, "the change is made", || has_limit(&lab));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(SOON), Some(0));

    program(&lab, "sendmail", "echo no mailbox >&2; exit 75");
    fs::remove_file(lab.root().join("var/lib/wharf/alerts.json")).unwrap();
    let mut daemon = wharfd(&lab, &programs);
    daemon.wait_for(SOON, "the failure is logged", |log| {
        log.contains("mail not sent") && log.contains("no mailbox")
    });
}

#[test]
fn an_address_that_could_be_more_than_one_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for address in ["a@b,c@d", "a b", "-oQ/tmp", "a\nBcc: b", "@b", "a@", "a@b@c", ""] {
        let ran = crate::lab::process::run(
            crate::lab::process::command(env!("CARGO_BIN_EXE_wharf"))
                .args(["db", "configuration", "set", "docker", "service", "NotifyMail", address])
                .env("WHARF_ROOT", root.path()),
            20,
        );
        // Nothing is nobody.
        let expected = i32::from(!address.is_empty());
        assert_eq!(ran.code, expected, "{address:?}: {}", ran.stderr);
    }
}
