// SPDX-License-Identifier: GPL-2.0-or-later

//! `initialize-default-databases` where the recorded cases say nothing: programs, roots, bad input.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::lab::process::{Ran, command, run};

fn initialize(root: &Path) -> Ran {
    let mut command = command(env!("CARGO_BIN_EXE_wharf"));
    command.arg("initialize-default-databases").env("WHARF_ROOT", root);
    command.env("DB", env!("CARGO_BIN_EXE_wharf"));
    for name in ["DBPATH", "WHARF_STORE", "ESMITH_ROOT", "ESMITH_DB_DEFAULTSDIR"] {
        command.env_remove(name);
    }
    run(&mut command, 60)
}

fn db(root: &Path, args: &[&str]) -> Ran {
    let mut command = command(env!("CARGO_BIN_EXE_wharf"));
    command.arg("db").args(args).env("WHARF_ROOT", root);
    command.env_remove("DBPATH").env_remove("WHARF_STORE");
    run(&mut command, 20)
}

fn write(root: &Path, path: &str, content: &str, mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_admins_defaults_go_before_the_packaged_ones() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let packaged = "usr/share/wharf/db/docker_containers/defaults/wiki";
    let own = "etc/wharf/db/docker_containers";
    write(root, &format!("{packaged}/type"), "service\n", 0o644);
    write(root, &format!("{packaged}/status"), "disabled\n", 0o644);
    write(root, &format!("{packaged}/TCPPort"), "80\n", 0o644);
    write(root, &format!("{own}/defaults/wiki/TCPPort"), "8080\n", 0o644);
    write(root, &format!("{own}/force/wiki/access"), "private", 0o644);
    initialize(root).succeeded();
    let expected = "wiki=service|TCPPort|8080|access|private|status|disabled\n";
    assert_eq!(db(root, &["docker_containers", "print"]).succeeded().stdout, expected);

    db(root, &["docker_containers", "setprop", "wiki", "TCPPort", "81", "access", "public"]);
    initialize(root).succeeded();
    let expected = "wiki=service|TCPPort|81|access|private|status|disabled\n";
    assert_eq!(db(root, &["docker_containers", "print"]).succeeded().stdout, expected);
    // One change by hand and two by the defaults; the second time only one was needed.
    let mut history = command(env!("CARGO_BIN_EXE_wharf"));
    history
        .args(["history"])
        .env("WHARF_ROOT", root)
        .env_remove("DBPATH")
        .env_remove("WHARF_STORE");
    let shown = run(&mut history, 20).succeeded().stdout;
    assert_eq!(shown.matches("initialize-default-databases").count(), 2, "{shown}");
}

#[test]
fn programs_run_in_order_before_the_defaults_and_one_that_fails_stops_nothing() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let migrate = "usr/share/wharf/db/t/migrate";
    let script = |line: &str| format!("#!/bin/sh\nset -e\n{line}\n");
    let rename = "old=$($DB db $DB_FILENAME getprop k Old) || exit 0\n\
                  $DB db $DB_FILENAME setprop k New \"$old\"; $DB db $DB_FILENAME delprop k Old";
    let rename = format!("echo looking for Old >&2\n{rename}");
    write(root, &format!("{migrate}/20rename"), &script(&rename), 0o755);
    write(root, &format!("{migrate}/10fails"), &script("echo no luck >&2; exit 3"), 0o755);
    write(root, &format!("{migrate}/30perl"), "$DB->get('k');", 0o644);
    write(root, &format!("{migrate}/20rename.rpmsave"), &script("exit 1"), 0o755);
    write(root, "usr/share/wharf/db/t/defaults/k/New", "default", 0o644);
    db(root, &["t", "set", "k", "service", "Old", "x y"]).succeeded();

    for _ in 0..2 {
        let ran = initialize(root).ended_with(1);
        let ran = ran.complains_of(&["10fails", "no luck", "30perl is not executable"]);
        let ran = ran.complains_of(&["20rename.rpmsave is passed over"]);
        ran.complains_of(&["note: t: ", "20rename: looking for Old"]);
        assert_eq!(db(root, &["t", "print"]).succeeded().stdout, "k=service|New|x y\n");
    }
}

#[test]
fn a_value_that_would_split_the_record_is_left_out() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    for (name, value) in [("type", "service\n"), ("a", "x|y"), ("b", "line\nline\n\n"), ("c", "")] {
        write(root, &format!("etc/wharf/db/t/defaults/k/{name}"), value, 0o644);
    }
    write(root, "etc/wharf/db/empty/README", "", 0o644);
    let ran = initialize(root).succeeded();
    ran.complains_of(&["warning: t: record 'k', property 'a' left out", "holds a '|'"]);
    let expected = "k=service|b|line\nline\n|c|\n";
    assert_eq!(db(root, &["t", "print"]).succeeded().stdout, expected);
    assert_eq!(db(root, &["empty", "keys"]).ended_with(1).stderr, "");
}
