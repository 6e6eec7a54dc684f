// SPDX-License-Identifier: GPL-2.0-or-later

//! What was changed, by whom, and how it is taken back: the commands, on both stores.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::lab::process::{Ran, command, run};

/// A root directory of its own with one of the stores in it.
struct Place {
    root: tempfile::TempDir,
    store: String,
}

impl Place {
    fn each(test: impl Fn(&Self)) {
        for kind in ["sqlite:", "esmith:"] {
            let root = tempfile::tempdir().unwrap();
            let directory = root.path().join("var/lib/wharf");
            std::fs::create_dir_all(directory.join("db")).unwrap();
            let place = match kind {
                "sqlite:" => directory.join("config.sqlite"),
                _ => directory.join("db"),
            };
            let store = format!("{kind}{}", place.display());
            eprintln!("store {store}");
            test(&Self { root, store });
        }
    }

    fn wharf(&self, args: &[&str]) -> Ran {
        let mut command = command(env!("CARGO_BIN_EXE_wharf"));
        command.args(args).env("WHARF_ROOT", self.root.path()).env("WHARF_STORE", &self.store);
        command.env_remove("DBPATH").env("SUDO_USER", "bob").env("TZ", "UTC");
        run(&mut command, 20)
    }

    fn db(&self, line: &str) -> Ran {
        let words: Vec<_> = ["db"].into_iter().chain(line.split(' ')).collect();
        self.wharf(&words)
    }
}

#[test]
fn a_change_is_shown_with_its_author_and_taken_back() {
    Place::each(|place| {
        place.db("t set k service a 1").succeeded();
        place.db("t setprop k a 2 b 3").succeeded();
        place.db("u set other service").succeeded();
        let shown = place.wharf(&["history"]).succeeded().stdout;
        assert!(shown.contains("sudo bob"), "{shown}");
        assert!(shown.contains("db t setprop k a 2 b 3"), "{shown}");
        for line in ["- a = 1", "+ a = 2", "+ b = 3"] {
            assert!(shown.lines().any(|found| found.trim() == line), "{line} is not in {shown}");
        }
        let of_one = place.wharf(&["history", "u"]).succeeded().stdout;
        assert!(of_one.contains("other") && !of_one.contains("record 'k'"), "{of_one}");
        assert_eq!(place.wharf(&["history", "t", "none"]).succeeded().stdout, "");

        let undone = place.wharf(&["undo", "2"]).succeeded().stdout;
        assert!(undone.contains("- a = 2") && undone.contains("+ a = 1"), "{undone}");
        assert!(place.wharf(&["history"]).succeeded().stdout.contains("wharf undo 2"));
        assert_eq!(place.db("t print").succeeded().stdout, "k=service|a|1\n");
        place.wharf(&["undo", "4"]).succeeded();
        assert_eq!(place.db("t print").succeeded().stdout, "k=service|a|2|b|3\n");
    });
}

#[test]
fn what_was_changed_again_is_not_taken_back() {
    Place::each(|place| {
        place.db("t set k service a 1").succeeded();
        place.db("t setprop k a 2").succeeded();
        place.db("t setprop k a 3").succeeded();
        place.db("t setprop k other 1").succeeded();
        let refused = place.wharf(&["undo", "2"]).ended_with(1).stderr;
        assert!(refused.contains("number 3 (t record 'k')"), "{refused}");
        assert!(refused.contains("wharf undo 3"), "{refused}");
        assert!(!refused.contains("number 4"), "{refused}");
        assert_eq!(place.db("t getprop k a").succeeded().stdout, "3\n");
        place.wharf(&["undo", "3"]).succeeded();
        place.wharf(&["undo", "2"]).ended_with(1);
        assert_eq!(place.db("t print").succeeded().stdout, "k=service|a|2|other|1\n");

        let unknown = place.wharf(&["undo", "99"]).ended_with(1).stderr;
        assert!(unknown.contains("from 1 to 5"), "{unknown}");
        place.wharf(&["undo", "0"]).ended_with(2);
        place.wharf(&["undo", "x"]).ended_with(2);
    });
}

#[test]
fn a_deleted_record_comes_back_whole() {
    Place::each(|place| {
        place.db("t set k service a 1 b 2").succeeded();
        place.db("t delete k").succeeded();
        place.wharf(&["undo", "2"]).succeeded();
        assert_eq!(place.db("t print k").succeeded().stdout, "k=service|a|1|b|2\n");
    });
}

#[test]
fn no_output_holds_a_secret() {
    Place::each(|place| {
        let secret = "hunter2";
        for line in [
            "docker_containers set wp service Image nginx Secret_DB hunter2 Env_PW hunter2",
            "docker_containers setprop wp Secret_DB 2hunter2",
            "accounts set bob user Password hunter2",
            "accounts set RootPassword hunter2",
            "accounts setjson {\"name\":\"x\",\"type\":\"t\",\"props\":{\"ApiToken\":\"hunter2\"}}",
            "accounts delete bob",
        ] {
            place.db(line).succeeded();
        }
        for args in [&["history"][..], &["history", "--json"], &["undo", "2"], &["undo", "6"]] {
            let ran = place.wharf(args).succeeded();
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{}", ran.stdout);
        }
        let json = place.wharf(&["history", "--json", "accounts", "bob"]).succeeded().stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[0]["edits"][0]["new"]["props"]["Password"], "***");
        assert_eq!(json[0]["sudo"], "bob");
        assert_eq!(place.db("accounts getprop bob Password").succeeded().stdout, "hunter2\n");
        assert_private(place.root.path());
    });
}

/// Nothing that was written can be read by others.
fn assert_private(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        if path.is_dir() {
            assert_private(&path);
        } else {
            assert_eq!(mode & 0o007, 0, "{}: {mode:o}", path.display());
        }
    }
}

#[test]
fn a_change_of_the_original_tool_is_noticed_by_undo() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("db");
    std::fs::create_dir(&directory).unwrap();
    let place = Place { store: format!("esmith:{}", directory.display()), root };
    place.db("t set k service a 1").succeeded();
    place.db("t setprop k a 2").succeeded();
    std::fs::write(directory.join("t"), "k=service|a|theirs\n").unwrap();
    let refused = place.wharf(&["undo", "2"]).ended_with(1).stderr;
    assert!(refused.contains("property 'a' was changed since"), "{refused}");
    assert_eq!(place.db("t print").succeeded().stdout, "k=service|a|theirs\n");
}

#[test]
fn a_journal_cut_off_anywhere_is_read_and_gone_on_with() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("db");
    std::fs::create_dir(&directory).unwrap();
    let place = Place { store: format!("esmith:{}", directory.display()), root };
    place.db("t set k service a 1").succeeded();
    place.db("t setprop k a 2").succeeded();
    let journal = place.root.path().join(".db.history");
    let whole = std::fs::read(&journal).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&journal, &whole[..length]).unwrap();
        let history = |place: &Place| -> Vec<Value> {
            let shown = place.wharf(&["history", "--json"]).succeeded().stdout;
            serde_json::from_str(&shown).unwrap()
        };
        let before = history(&place).len();
        assert!(before <= 2, "{length}: {before}");
        place.db(&format!("t setprop k b {length}")).succeeded();
        let after = history(&place);
        assert_eq!(after.len(), before + 1, "{length}");
        assert!(after.windows(2).all(|two| two[0]["number"].as_u64() < two[1]["number"].as_u64()));
    }
}

#[test]
fn a_number_is_never_given_twice_also_when_a_page_is_turned() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("db");
    std::fs::create_dir(&directory).unwrap();
    let place = Place { store: format!("esmith:{}", directory.display()), root };
    place.db("t set k service a 1").succeeded();
    place.db("t set victim service").succeeded();
    // As a kill between the two renames of a turn leaves it.
    let journal = place.root.path().join(".db.history");
    std::fs::rename(&journal, place.root.path().join(".db.history.old")).unwrap();
    place.db("t set oops service").succeeded();
    let shown = place.wharf(&["history", "-n", "1"]).succeeded().stdout;
    assert!(shown.trim_start().starts_with("3 "), "{shown}");
    place.wharf(&["undo", "3"]).succeeded();
    assert_eq!(place.db("t keys").succeeded().stdout, "k\nvictim\n");
}

#[test]
fn a_refusal_shows_no_secret_and_a_lost_answer_is_no_success() {
    Place::each(|place| {
        for line in [
            "q set t u Password hunter2|x",
            "q set t u Secret_A hunter2\\ Zed 1",
            "q setjson {\"name\":\"x\",\"type\":\"t\",\"props\":{\"ApiToken\":\"hunter2|\"}}",
        ] {
            let refused = place.db(line).ended_with(1).stderr;
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        place.db("q set k service").succeeded();
        let script = "exec \"$0\" export > /dev/full";
        let mut shell = command("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_wharf")]);
        shell.env("WHARF_ROOT", place.root.path()).env("WHARF_STORE", &place.store);
        let lost = run(shell.env_remove("DBPATH"), 20).ended_with(1).stderr;
        assert!(lost.contains("cannot write the answer"), "{lost}");
    });
}
