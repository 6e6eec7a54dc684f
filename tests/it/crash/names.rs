// SPDX-License-Identifier: GPL-2.0-or-later

//! Names and values that are none, and files that are no databases.
//!
//! Each is accepted and read back as it was given, or refused with a reason, and nothing outside the
//! store is touched. A NUL cannot be tried: no argument can hold one. The race of a link that is
//! swapped while a file is opened is left out: only who may write to the directory could win it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use super::{KINDS, Kind, Site, Tree, assert_none, can_run, size};
use crate::lab::process::{command, run};

/// A value of the largest size that one argument can have has to be written within this, in seconds.
const LARGE: u32 = 20;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Done.
    Done,
    /// Status 1 and a reason.
    Refused,
    /// Not 0, and the usage.
    Usage,
}

impl End {
    fn of(output: &Output) -> Self {
        let said = output.stderr.as_bstr_text();
        match output.status.code() {
            Some(0) => Self::Done,
            Some(1) if said.starts_with("error: ") && said.contains("because: ") => Self::Refused,
            Some(1) if said.starts_with("error: ") && said.contains("database") => Self::Refused,
            Some(2 | 255) if said.contains("db dbfile") => Self::Usage,
            _ => panic!("no end that is known: {output:?}"),
        }
    }
}

/// Bytes as text for messages.
trait AsText {
    fn as_bstr_text(&self) -> String;
}

impl AsText for Vec<u8> {
    fn as_bstr_text(&self) -> String {
        String::from_utf8_lossy(self).into_owned()
    }
}

fn call(site: &Site, args: &[impl AsRef<OsStr>]) -> Output {
    let mut limited = command("timeout");
    limited.args(["-k", "2", &LARGE.to_string()]).arg(site.root.path().join("db")).args(args);
    site.settle(&mut limited);
    limited.output().unwrap()
}

/// Names of databases, with the end of a `set` in each store.
const NAMES: &[(&[u8], End, End)] = &[
    (b"plain", End::Done, End::Done),
    (b"with-dash_and.dot", End::Done, End::Done),
    (b"two words", End::Done, End::Done),
    (b"", End::Refused, End::Refused),
    (b"..", End::Refused, End::Refused),
    (b"../outside", End::Refused, End::Refused),
    (b"a/../../outside", End::Refused, End::Refused),
    (b"/../outside", End::Refused, End::Refused),
    (b"t.lock", End::Refused, End::Refused),
    (b"two\nlines", End::Refused, End::Refused),
    (b"not-\xff-text", End::Refused, End::Refused),
    // Among the files there are no such directories; in SQLite these are names as any other.
    (b"missing/t", End::Refused, End::Done),
    (b"t/", End::Refused, End::Done),
    (b".", End::Refused, End::Refused),
    // What is hidden is no database.
    (b".%2e", End::Refused, End::Refused),
];

#[test]
fn a_database_has_a_name_that_stays_inside() {
    let mut faults = Vec::new();
    for kind in KINDS {
        let site = Site::new(kind);
        site.db(&["plain", "set", "k", "service"]).succeeded();
        fs::write(site.state().join("outside"), "as it was").unwrap();
        for (name, flat, sqlite) in NAMES {
            let name = OsStr::from_bytes(name);
            let before = outside(&site);
            let output =
                call(&site, &[name, OsStr::new("set"), OsStr::new("k"), OsStr::new("new")]);
            let end = End::of(&output);
            let wanted = if kind == Kind::Flat { *flat } else { *sqlite };
            if end != wanted {
                faults.push(format!("{kind:?}, {}: {output:?}", name.display()));
            }
            if end == End::Done {
                let read = call(&site, &[name, OsStr::new("get"), OsStr::new("k")]);
                assert_eq!(read.stdout, b"new\n", "{kind:?}, {}", name.display());
            }
            assert!(outside(&site) == before, "{kind:?}, {}: outside", name.display());
        }
    }
    assert_none(&faults, NAMES.len() * 2);
}

#[test]
fn an_absolute_name_is_a_file_of_its_own_but_below_dbpath() {
    for kind in KINDS {
        let site = Site::new(kind);
        let file = site.state().join("own");
        fs::create_dir_all(site.state()).unwrap();
        let name = file.to_str().unwrap();
        site.db(&[name, "set", "k", "service"]).succeeded();
        assert!(fs::read_to_string(&file).unwrap().ends_with("k=service\n"), "{kind:?}");
        assert_eq!(site.db(&[name, "get", "k"]).succeeded().stdout, "service\n");

        let below = site.root.path().join("below");
        let directory = below.join(file.parent().unwrap().strip_prefix("/").unwrap());
        fs::create_dir_all(&directory).unwrap();
        let mut command = site.call(&[name, "set", "k", "below"]);
        run(command.env("DBPATH", &below), 20).succeeded();
        assert!(directory.join("own").is_file(), "{kind:?}");
        assert!(fs::read_to_string(&file).unwrap().ends_with("k=service\n"), "{kind:?}");
    }
}

/// Everything that is neither the store's nor, in its own directory, its history.
fn outside(site: &Site) -> Tree {
    let mut tree = Tree::of(site.root.path());
    let own = site.directory();
    let own = own.strip_prefix(site.root.path()).unwrap();
    tree.0.retain(|path, _| !path.starts_with(own) && !is_history(path));
    tree
}

fn is_history(path: &Path) -> bool {
    path.to_string_lossy().contains(".history")
}

/// Keys, with the end of a `set`.
const KEYS: &[(&[u8], End)] = &[
    (b"k", End::Done),
    (b"a|b", End::Done),
    (b"with blanks", End::Done),
    (b"not-\xff-text", End::Done),
    (b"00", End::Done),
    (b"a#", End::Done),
    (b"-k", End::Done),
    (b"back\\slash\\", End::Done),
    (b"", End::Usage),
    (b"0", End::Usage),
    (b"two\nlines", End::Refused),
    (b"a=b", End::Refused),
    (b"#k", End::Refused),
    (b"  #k", End::Refused),
];

/// Values of a property, with the end of a `set`.
const VALUES: &[(&[u8], End)] = &[
    (b"", End::Done),
    (b"0", End::Done),
    (b"a=b=c", End::Done),
    (b"#v", End::Done),
    (b"two\nlines\nand more", End::Done),
    (b"not-\xff\xfe-text", End::Done),
    (b"tab\tand\rreturn", End::Done),
    (b"$(false) `false` 'a' \"b\" *", End::Done),
    (b"--no-check", End::Done),
    (b"a|b", End::Refused),
    (b"|", End::Refused),
];

#[test]
fn keys_and_values_are_read_back_as_they_were_given_or_refused() {
    let plain = |text: &'static str| OsStr::new(text);
    for kind in KINDS {
        let site = Site::new(kind);
        site.db(&["t", "set", "always", "service"]).succeeded();
        for (key, wanted) in KEYS {
            let key = OsStr::from_bytes(key);
            let before = site.print();
            let output = call(&site, &[plain("t"), plain("set"), key, plain("new")]);
            assert_eq!(End::of(&output), *wanted, "{kind:?}, {}: {output:?}", key.display());
            if *wanted == End::Done {
                let read = call(&site, &[plain("t"), plain("get"), key]);
                assert_eq!(read.stdout, b"new\n", "{kind:?}, {}", key.display());
            } else {
                assert_eq!(site.print(), before, "{kind:?}, {}", key.display());
            }
        }
        for (value, wanted) in VALUES {
            let shown = OsStr::from_bytes(value);
            let before = site.print();
            let args = [plain("t"), plain("set"), plain("v"), plain("new"), plain("a"), shown];
            let output = call(&site, &[&args[..], &[plain("b"), plain("1")]].concat());
            assert_eq!(End::of(&output), *wanted, "{kind:?}, {}: {output:?}", shown.display());
            if *wanted == End::Done {
                let read = call(&site, &[plain("t"), plain("getprop"), plain("v"), plain("a")]);
                assert_eq!(read.stdout, [value, &b"\n"[..]].concat(), "{kind:?}");
            } else {
                assert_eq!(site.print(), before, "{kind:?}, {}", shown.display());
            }
        }
    }
}

/// How long an argument may be here, and how many of those one command can have.
fn limits() -> (usize, usize) {
    let runs = |args: &[String]| command("true").args(args).output().is_ok();
    let most = |runs: &dyn Fn(usize) -> bool| {
        let (mut good, mut bad) = (1, 1 << 22);
        while good + 1 < bad {
            let middle = usize::midpoint(good, bad);
            if runs(middle) { good = middle } else { bad = middle }
        }
        good
    };
    let length = most(&|length| runs(&["x".repeat(length)]));
    let count = most(&|count| count < 100 && runs(&vec!["x".repeat(length); count]));
    (length, count)
}

#[test]
fn the_longest_arguments_make_records_that_are_read_back() {
    let (length, count) = limits();
    eprintln!("an argument has at most {length} bytes, and a command {count} of them");
    // The environment and the wrapper of the call take some room too.
    let values: Vec<String> =
        ('a'..).take(count - 1).map(|it| it.to_string().repeat(length)).collect();
    assert!(length >= 100_000 && values.len() >= 2);
    for kind in KINDS {
        let site = Site::new(kind);
        site.db(&["t", "set", "small", "service"]).succeeded();
        let mut args = ["t", "set", "large", "service"].map(str::to_owned).to_vec();
        for value in &values {
            args.extend([value[..1].to_owned(), value.clone()]);
        }
        let output = call(&site, &args);
        assert!(output.status.success(), "{kind:?}: {}", output.stderr.as_bstr_text());
        // And a record that no single command can give.
        let more = call(&site, &["t", "setprop", "large", "B", &values[0]]);
        assert!(more.status.success(), "{kind:?}: {}", more.stderr.as_bstr_text());
        for value in &values {
            let read = call(&site, &["t", "getprop", "large", &value[..1]]);
            assert!(read.stdout == format!("{value}\n").as_bytes(), "{kind:?}: {}", &value[..1]);
        }
        assert_eq!(call(&site, &["t", "get", "small"]).stdout, b"service\n", "{kind:?}");
    }
}

/// What may stand where a database should.
const THINGS: &[&str] = &["directory", "fifo", "device", "socket", "loop"];

/// Makes `thing` at `path`; whether it could be made.
fn make(thing: &str, path: &Path) -> bool {
    let shown = path.to_str().unwrap();
    match thing {
        "directory" => fs::create_dir(path).is_ok(),
        "fifo" => run(command("mkfifo").arg(shown), 10).code == 0,
        // As /dev/null is one.
        "device" => run(command("mknod").args([shown, "c", "1", "3"]), 10).code == 0,
        "socket" => UnixListener::bind(path).is_ok(),
        "loop" => symlink(path, path).is_ok(),
        _ => unreachable!("{thing}"),
    }
}

#[test]
fn what_is_no_file_is_refused_and_left_alone() {
    if !can_run(&["mkfifo", "mknod", "timeout"], true) {
        return;
    }
    let mut faults = Vec::new();
    for kind in KINDS {
        for thing in THINGS {
            let site = Site::new(kind);
            fs::create_dir_all(site.directory()).unwrap();
            assert!(make(thing, &site.file()), "{thing} could not be made");
            let before = fs::symlink_metadata(site.file()).unwrap().file_type();
            for args in [&["t", "print"][..], &["t", "set", "k", "new"], &["t", "delete", "k"]] {
                let ran = run(&mut site.call(args), 5);
                if ran.code != 1 || !ran.stderr.contains(site.file().to_str().unwrap()) {
                    faults.push(format!("{kind:?}, {thing}, {args:?}: {ran:?}"));
                }
            }
            let after = fs::symlink_metadata(site.file()).unwrap().file_type();
            if after != before {
                faults.push(format!("{kind:?}, {thing}: it has become {after:?}"));
            }
        }
    }
    assert_none(&faults, THINGS.len() * 2);
}

#[test]
fn a_lock_file_that_is_none_is_refused_and_left_alone() {
    if !can_run(&["mkfifo", "timeout"], false) {
        return;
    }
    let mut faults = Vec::new();
    for thing in ["directory", "fifo", "socket", "loop", "link to the outside"] {
        let site = Site::new(Kind::Flat);
        site.db(&["t", "set", "k", "service"]).succeeded();
        let (lock, outside) = (site.directory().join("t.lock"), site.state().join("outside"));
        fs::remove_file(&lock).unwrap_or_default();
        if thing.starts_with("link") {
            symlink(&outside, &lock).unwrap();
        } else {
            assert!(make(thing, &lock), "{thing} could not be made");
        }
        let ran = run(&mut site.call(&["t", "setprop", "k", "a", "1"]), 5);
        let is_refused = ran.code == 1 && ran.stderr.contains(site.file().to_str().unwrap());
        if !is_refused || outside.exists() || fs::symlink_metadata(&lock).is_err() {
            faults.push(format!("{thing}: {ran:?}, made outside: {}", outside.exists()));
        }
        assert_eq!(site.print(), "k=service\n", "{thing}");
    }
    assert_none(&faults, 5);
}

#[test]
fn a_link_to_a_file_is_followed_by_sqlite_and_replaced_by_a_flat_file() {
    for kind in KINDS {
        let site = Site::new(kind);
        site.db(&["t", "set", "k", "service"]).succeeded();
        let target = site.state().join("target");
        fs::rename(site.file(), &target).unwrap();
        symlink(&target, site.file()).unwrap();
        let before = fs::read(&target).unwrap();
        assert_eq!(site.print(), "k=service\n", "{kind:?}");
        site.change_at_once(&["t", "setprop", "k", "a", "1"]).unwrap();
        assert_eq!(site.print(), "k=service|a|1\n", "{kind:?}");
        let is_link = fs::symlink_metadata(site.file()).unwrap().is_symlink();
        // As the original does with its files.
        assert_eq!(is_link, kind == Kind::Sqlite);
        assert_eq!(fs::read(&target).unwrap() == before, kind == Kind::Flat);
    }
}

#[test]
fn a_link_to_nothing_is_no_way_to_the_outside() {
    for kind in KINDS {
        let site = Site::new(kind);
        fs::create_dir_all(site.directory()).unwrap();
        let target = site.state().join("target");
        symlink(&target, site.file()).unwrap();
        let file = site.file().to_str().unwrap().to_owned();
        let changed = site.db(&["t", "set", "k", "service"]);
        // What it stands for is elsewhere, on a disk that is not mounted perhaps; it is not empty.
        changed.ended_with(1).complains_of(&["error:", &file, "link"]);
        site.db(&["t", "print"]).ended_with(1).complains_of(&["error:", &file, "link"]);
        assert!(!target.exists(), "{kind:?}");
    }
}

#[test]
fn a_database_whose_name_ends_in_a_number_is_not_taken_for_a_temporary_file() {
    if !can_run(&["unshare", "timeout"], true) {
        return;
    }
    let site = Site::new(Kind::Flat);
    site.db(&["t", "set", "k", "service"]).succeeded();
    let other = "k=service|of|another\n";
    // In a namespace of its own the program is process number 1.
    fs::write(site.directory().join("t.1"), other).unwrap();
    let mut unshare = command("unshare");
    unshare.args(["--pid", "--fork"]).arg(site.root.path().join("db"));
    unshare.args(["t", "setprop", "k", "a", "1"]);
    site.settle(&mut unshare);
    run(&mut unshare, 20).succeeded();
    assert_eq!(site.print(), "k=service|a|1\n");
    assert_eq!(fs::read_to_string(site.directory().join("t.1")).unwrap(), other);
}

/// Flat files as a power cut, an editor or another program may leave them, and what is read.
const FILES: &[(&[u8], &str)] = &[
    (b"", ""),
    (b"\n\n# nothing\n", ""),
    (b"a=x|p|1\nb=service|status|enab", "a=x|p|1\nb=service|status|enab\n"),
    (b"a=x|p|1\nb", "a=x|p|1\nb=\n"),
    (b"a=x|p|1\nb=x", "a=x|p|1\nb=x\n"),
    (b"a=x|p|1\n\0\0\0\0", "\0\0\0\0=\na=x|p|1\n"),
    (b"a=x|odd\n", "a=x|odd\n"),
];

#[test]
fn a_torn_flat_file_is_read_as_far_as_it_goes_and_the_rest_is_kept() {
    for (content, wanted) in FILES {
        let site = Site::new(Kind::Flat);
        fs::write(site.file(), content).unwrap();
        assert_eq!(site.print(), *wanted, "{:?}", OsStr::from_bytes(content));
        site.change_at_once(&["t", "set", "z", "service"]).unwrap();
        assert_eq!(site.print(), format!("{wanted}z=service\n"));
    }
}

#[test]
fn a_torn_sqlite_file_is_refused_and_left_alone() {
    let site = Site::new(Kind::Sqlite);
    let large = "x".repeat(9000);
    site.db(&["t", "set", "k", "service", "a", &large]).succeeded();
    let whole = fs::read(site.file()).unwrap();
    let garbage = vec![b'x'; 5000];
    let mut scribbled = whole.clone();
    scribbled[4096..].fill(b'x');
    for (what, content) in [
        ("a part of the header", &whole[..50]),
        ("half a page", &whole[..2048]),
        ("one page", &whole[..4096]),
        ("a page and a half", &whole[..6000]),
        ("no header", &garbage),
        ("bad pages", &scribbled),
    ] {
        fs::write(site.file(), content).unwrap();
        let file = site.file().to_str().unwrap().to_owned();
        for args in [&["t", "print"][..], &["t", "setprop", "k", "b", "1"]] {
            let ran = site.db(args).ended_with(1);
            assert!(ran.stderr.contains(&file), "{what}: {ran:?}");
        }
        assert!(fs::read(site.file()).unwrap() == content, "{what}: it was changed");
    }
}

#[test]
fn a_flat_file_of_many_megabytes_is_read_and_changed() {
    let bytes = size(5, 100) << 20;
    let site = Site::new(Kind::Flat);
    let mut content = OsString::new().into_vec();
    let mut records = 0;
    while content.len() < bytes {
        content.extend(format!("k{records:07}=service|a|{}\n", "x".repeat(980)).bytes());
        records += 1;
    }
    fs::write(site.file(), &content).unwrap();
    let last = format!("k{:07}", records - 1);
    site.db(&["t", "getprop", &last, "a"]).succeeded();
    site.db(&["t", "setprop", &last, "a", "short"]).succeeded();
    assert_eq!(site.db(&["t", "getprop", &last, "a"]).stdout, "short\n");
    assert_eq!(site.db(&["t", "keys"]).stdout.lines().count(), records);
}
