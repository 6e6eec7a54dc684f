// SPDX-License-Identifier: GPL-2.0-or-later

//! Export, import and diff: what goes out comes in again, and nothing half-way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wharf::db::{Audit, Change, DbName, Location, Record, Store, open};

use crate::lab::process::{Ran, command, run};

/// A store in a root of its own.
struct Place {
    root: tempfile::TempDir,
    location: Location,
}

impl Place {
    fn sqlite() -> Self {
        let root = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(root.path().join("var/lib/wharf/config.sqlite"));
        Self { root, location }
    }

    fn esmith() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("home/db");
        fs::create_dir_all(&directory).unwrap();
        Self { root, location: Location::Esmith(directory) }
    }

    fn each(test: impl Fn(&Self)) {
        for place in [Self::sqlite(), Self::esmith()] {
            eprintln!("store {:?}", place.location);
            test(&place);
        }
    }

    fn store(&self) -> Box<dyn Store> {
        open(&self.location, &Audit::default()).unwrap()
    }

    fn wharf(&self, args: &[&str]) -> Ran {
        let mut command = command(env!("CARGO_BIN_EXE_wharf"));
        let store = match &self.location {
            Location::Sqlite(file) => format!("sqlite:{}", file.display()),
            Location::Esmith(directory) | Location::EsmithBelow(directory) => {
                format!("esmith:{}", directory.display())
            }
        };
        command.args(args).env("WHARF_ROOT", self.root.path()).env("WHARF_STORE", store);
        run(command.env_remove("DBPATH"), 60)
    }

    fn db(&self, line: &str) -> Ran {
        let words: Vec<_> = ["db"].into_iter().chain(line.split(' ')).collect();
        self.wharf(&words)
    }

    /// Writes `text` into a file and answers with its path.
    fn file(&self, text: &str) -> String {
        let path = self.root.path().join("given.yaml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn name(text: &str) -> DbName {
    DbName::try_from(text).unwrap()
}

/// Records that are hard to say.
fn fill(store: &mut dyn Store) {
    let put = |key: &[u8], text: &[u8]| {
        let record = Some(Record::from_text(text));
        (name("odd"), Change::Put { key: key.into(), record })
    };
    let all = [
        put(b"plain", b"service|TCPPort|80|status|enabled"),
        put(b" blanks ", b" t | a | x "),
        put(b"unsorted", b"t|b|1|a|2|a|3|odd"),
        put(b"\xff\xfe", b"\x80|\xfd|\x00\x01\x1b"),
        put(b"numbers", b"007|a|1.10|b|yes|c|~|d|null|e|0x10|f|1e3"),
        put(b"lines", b"t|a|one\\ntwo\\n|b|- x|c|# y|d|: z|e|\"'"),
        put(b"wide", "t|a|\u{85}\u{2028}\u{feff}\u{1f600}".as_bytes()),
        put(b"scalar", b""),
    ];
    store.commit_all(&all).unwrap();
    store.create(&name("empty")).unwrap();
}

#[test]
fn an_export_makes_the_same_records_in_the_other_store() {
    for (from, to) in [(Place::sqlite(), Place::esmith()), (Place::esmith(), Place::sqlite())] {
        fill(from.store().as_mut());
        let file = to.root.path().join("out.yaml");
        let target = file.to_str().unwrap();
        from.wharf(&["export", "--output", target]).succeeded();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        from.wharf(&["export", "-o", target]).ended_with(1).complains_of(&["out.yaml", "exists"]);
        let printed = from.wharf(&["export"]).succeeded().stdout;
        assert_eq!(printed, fs::read_to_string(&file).unwrap());

        to.wharf(&["import", target]).succeeded();
        assert_eq!(
            to.store().contents().unwrap().databases,
            from.store().contents().unwrap().databases
        );
        assert_eq!(to.wharf(&["diff", target]).succeeded().stdout, "");
        let before = to.store().history().unwrap().len();
        assert_eq!(to.wharf(&["import", target]).succeeded().stdout, "");
        assert_eq!(to.store().history().unwrap().len(), before, "nothing was changed");
    }
}

#[test]
fn an_import_adds_and_changes_and_only_when_told_removes() {
    Place::each(|place| {
        place.db("t set k service a 1").succeeded();
        place.db("t set other service").succeeded();
        let given = "wharf-export: 1\ndatabases:\n  t:\n  - key: k\n    type: service\n    properties:\n      a: 2\n  - key: new\n    type: x\n";
        let file = place.file(given);
        let file = file.as_str();
        let differs = place.wharf(&["diff", file]).ended_with(3).stdout;
        let expected = "t record 'k':\n  - a = 1\n  + a = 2\nt record 'new':\n  + type = x\nt record 'other':\n  - type = service\n";
        assert_eq!(differs, expected);
        place.wharf(&["import", "--dry-run", file]).ended_with(3);
        assert_eq!(place.db("t getprop k a").succeeded().stdout, "1\n");

        place.wharf(&["import", file]).succeeded();
        let all = "k=service|a|2\nnew=x\nother=service\n";
        assert_eq!(place.db("t print").succeeded().stdout, all);
        let replaced = place.wharf(&["import", "--replace", file]).succeeded().stdout;
        assert_eq!(replaced, "t record 'other':\n  - type = service\n");
        assert_eq!(place.db("t print").succeeded().stdout, "k=service|a|2\nnew=x\n");

        place.wharf(&["undo", "3"]).succeeded();
        assert_eq!(place.db("t print").succeeded().stdout, "k=service|a|1\n");
    });
}

#[test]
fn the_verbs_of_db_are_about_one_database() {
    Place::each(|place| {
        for database in ["a", "b"] {
            place.db(&format!("{database} set k {database}")).succeeded();
        }
        let only = place.db("a export").succeeded().stdout;
        assert!(only.contains("  a:\n") && !only.contains("  b:\n"), "{only}");
        let both = place.wharf(&["export"]).succeeded().stdout;
        let both = place.file(&both);
        place.db("a set k changed").succeeded();
        place.db("b set k changed").succeeded();
        assert!(place.db(&format!("a diff {both}")).ended_with(3).stdout.contains("+ type = a"));
        place.db(&format!("a import {both}")).succeeded();
        assert_eq!(place.db("a get k").succeeded().stdout, "a\n");
        assert_eq!(place.db("b get k").succeeded().stdout, "changed\n");
        place.db(&format!("c import {both}")).ended_with(1).complains_of(&["has no database c"]);
        place.db("c export").ended_with(1).complains_of(&["no database c"]);
        place.db("a import").ended_with(2);
    });
}

#[test]
fn a_fault_anywhere_keeps_all_from_being_imported() {
    Place::each(|place| {
        let head = "wharf-export: 1\ndatabases:\n  docker_containers:\n  - key: good\n    type: service\n    properties:\n      Image: nginx\n";
        let bad = "  - key: bad\n    type: service\n    properties:\n      TCPPort: '99999'\n      Image: nginx\n";
        let file = place.file(&format!("{head}{bad}"));
        let refused = place.wharf(&["import", &file]).ended_with(1);
        refused.complains_of(&["record 'bad'", "TCPPort", "99999", "nothing was imported"]);
        place.db("docker_containers keys").ended_with(1);
        place.wharf(&["import", "--no-check", &file]).succeeded();
        assert_eq!(place.db("docker_containers keys").succeeded().stdout, "bad\ngood\n");

        let torn = place.file(&format!("{head}  - key: [\n"));
        let told = place.wharf(&["import", "--replace", &torn]).ended_with(1);
        told.complains_of(&["given.yaml", "line 8"]);
        assert_eq!(place.db("docker_containers keys").succeeded().stdout, "bad\ngood\n");
    });
}

#[test]
fn an_import_writes_no_file_outside() {
    let place = Place::esmith();
    let outside = place.root.path().join("evil.cron");
    let given =
        format!("wharf-export: 1\ndatabases:\n  {}:\n  - key: k\n    type: x\n", outside.display());
    let file = place.file(&given);
    place.wharf(&["import", &file]).ended_with(1).complains_of(&["is a path"]);
    assert!(!outside.exists());
    std::os::unix::fs::symlink(place.root.path(), place.root.path().join("home/db/sub")).unwrap();
    place.db("sub/evil.cron set k t").ended_with(1).complains_of(&["leads out"]);
    assert!(!outside.exists());
}

#[test]
fn no_secret_is_shown_and_no_input_is_too_long() {
    Place::each(|place| {
        place.db("docker_containers set wp service Image nginx Secret_A one").succeeded();
        let all = place.wharf(&["export"]).succeeded().stdout;
        let file = place.file(&all.replace("one", "two"));
        let shown = place.wharf(&["diff", &file]).ended_with(3).stdout;
        assert!(!shown.contains("one") && !shown.contains("two"), "{shown}");
        assert!(shown.contains("Secret_A = ***"), "{shown}");
        let endless = place.wharf(&["import", "/dev/zero"]).ended_with(1);
        endless.complains_of(&["/dev/zero", "longer than"]);
        place.wharf(&["import", "/nowhere"]).ended_with(1).complains_of(&["/nowhere"]);
        let directory: PathBuf = place.root.path().into();
        place.wharf(&["import", directory.to_str().unwrap()]).ended_with(1);
        assert!(Path::new(&file).is_file());
    });
}
