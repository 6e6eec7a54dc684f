// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of the verbs: what is printed, answered and stored.

use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::db::flat::Flat;

/// What a call printed and answered.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    out: String,
    err: String,
    status: u8,
}

struct Desk {
    directory: tempfile::TempDir,
}

fn without_history() -> crate::db::Audit {
    crate::db::Audit { limit: 0, ..crate::db::Audit::default() }
}

impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn run(&self, tool: Tool, line: &[&[u8]], check: &Check<'_>) -> Said {
        let args: Vec<_> = line.iter().map(|arg| OsString::from_vec(arg.to_vec())).collect();
        let mut store = Flat::below(self.directory.path(), without_history());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = super::run(tool, &args, &mut store, check, &mut out, &mut err);
        Said { out: out.to_str_lossy().into(), err: err.to_str_lossy().into(), status }
    }

    fn db(&self, line: &str) -> Said {
        let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        self.run(Tool::Db, &args, &|_, _, _| Ok(Vec::new()))
    }

    fn db_checked(&self, line: &str, check: &Check<'_>) -> Said {
        let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        self.run(Tool::Db, &args, check)
    }
}

fn silent(status: u8) -> Said {
    Said { out: String::new(), err: String::new(), status }
}

#[test]
fn a_change_that_the_check_refuses_is_not_stored() {
    let desk = Desk::new();
    let refuse: &Check<'_> = &|_, _, _| Err("bad".to_owned());
    for line in ["t set k t a 1", "t setdefault k t"] {
        let said = desk.db_checked(line, refuse);
        assert_eq!(said, Said { err: "error: bad\n".into(), ..silent(1) }, "{line}");
    }
    assert_eq!(desk.db("t keys"), silent(1));
    assert_eq!(desk.db_checked("--no-check t set k t a 1", refuse), silent(0));
    for line in ["t setprop k a 2", "t settype k x"] {
        assert_eq!(desk.db_checked(line, refuse).status, 1, "{line}");
    }
    assert_eq!(desk.db("t get k").out, "t|a|1\n");
    for line in ["t setdefault k t a 9", "t delprop k a", "t delete k"] {
        assert_eq!(desk.db_checked(line, refuse), silent(0), "{line}");
    }
}

#[test]
fn the_check_sees_the_record_and_a_raw_text_taken_apart() {
    let desk = Desk::new();
    desk.db("t set k old");
    let check: &Check<'_> = &|store, database, changes| {
        let [change] = changes else { return Err(format!("{changes:?}")) };
        let old = store.record(database, change.key()).unwrap().unwrap();
        Ok(vec![format!("{database} {} {change:?}", old.text())])
    };
    let said = desk.db_checked("t set k t|a|1 b 2", check);
    insta::assert_snapshot!(said.err, @r#"warning: t old Set { key: "k", kind: "t", props: [("a", "1"), ("b", "2")] }"#);
    assert_eq!(said.status, 0);
    assert_eq!(desk.db("t get k").out, "t|a|1|b|2\n");
}

#[test]
fn a_change_that_was_not_made_says_why() {
    let desk = Desk::new();
    let said = desk.db("t setprop wiki Bridge apps0");
    assert_eq!(said.status, 1);
    insta::assert_snapshot!(said.err, @r"
    error: database t, record 'wiki'
      because: there is no such record
      hint: db t set wiki TYPE makes the record
    ");
    let said = desk.db("t set wiki service a x|y");
    assert_eq!(said.status, 1);
    insta::assert_snapshot!(said.err, @r"
    error: database t, record 'wiki'
      because: property 'a': the value 'x|y' holds a '|', which would end it there
    ");
}

#[test]
fn a_missing_argument_is_a_usage_error_that_tells_whether_the_database_is_there() {
    let desk = Desk::new();
    let said = desk.db("t get");
    assert_eq!(said, Said { err: "db dbfile get key\n".into(), ..silent(2) });
    desk.db("t set k t");
    let missing = [
        "t",
        "t GET k",
        "t get 0",
        "t get ",
        "t set k",
        "t set k t a",
        "t set 0 t",
        "t setdefault k 0",
        "t setdefault k t a",
        "t settype k 0",
        "t setprop k",
        "t setprop k a",
        "t getprop k 0",
        "t delprop k",
        "t delete",
        "t printprop",
    ];
    for line in missing {
        let said = desk.db(line);
        assert_eq!((said.status, said.out.as_str()), (255, ""), "{line}");
        assert!(said.err.starts_with("usage:") || said.err.starts_with("db dbfile "), "{line}");
    }
    assert_eq!(desk.db("t get k").out, "t\n");
}

#[test]
fn a_key_is_printed_as_it_was_given() {
    let desk = Desk::new();
    let none: &Check<'_> = &|_, _, _| Ok(Vec::new());
    desk.db("t set k t a 1");
    let said = desk.run(Tool::Db, &[b"t", b"show", b" k "], none);
    assert_eq!(said.out, " k =t\n    a=1\n");
    assert_eq!(desk.db("t print ").status, 1, "the empty key is looked up");
}

#[test]
fn an_empty_type_before_properties_counts_as_none() {
    let desk = Desk::new();
    let warning = "warning: record 'k' has properties but no type\n".to_owned();
    assert_eq!(desk.db("t set k  a 1"), Said { err: warning, ..silent(0) });
    assert_eq!(desk.db("t gettype k"), silent(1));
    assert_eq!(desk.db("t show k").out, "k=\n");
    assert_eq!(desk.db("t printprop k").out, "a=1\n");
    desk.db("t set k ");
    assert_eq!(desk.db("t gettype k"), Said { out: "\n".into(), ..silent(0) });
}

#[test]
fn arguments_are_bytes() {
    let desk = Desk::new();
    let none: &Check<'_> = &|_, _, _| Ok(Vec::new());
    desk.run(Tool::Config, &[b"set", b"\xff", b"t", b"\xfe", b"\xfd "], none);
    let args: Vec<_> = [&b"\xff"[..], b"\xfe"].to_vec();
    let args: Vec<_> = ["configuration".as_bytes(), b"getprop"].into_iter().chain(args).collect();
    let args: Vec<_> = args.into_iter().map(|arg| OsString::from_vec(arg.to_vec())).collect();
    let mut store = Flat::below(desk.directory.path(), without_history());
    let mut out = Vec::new();
    let status = super::run(Tool::Db, &args, &mut store, none, &mut out, &mut Vec::new());
    assert_eq!((status, out.as_slice()), (0, &b"\xfd\n"[..]));
}

#[test]
fn a_reader_that_leaves_is_no_error_and_a_full_disk_is() {
    /// A pipe or file that takes nothing.
    struct Shut(io::ErrorKind);
    impl Write for Shut {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let desk = Desk::new();
    desk.db("t set k t");
    let args: Vec<OsString> = ["t", "keys"].map(Into::into).to_vec();
    let mut store = Flat::below(desk.directory.path(), without_history());
    let mut status = |kind| {
        let none: &Check<'_> = &|_, _, _| Ok(Vec::new());
        super::run(Tool::Db, &args, &mut store, none, &mut Shut(kind), &mut Vec::new())
    };
    assert_eq!(status(io::ErrorKind::BrokenPipe), 0);
    assert_eq!(status(io::ErrorKind::StorageFull), 1);
}
