// SPDX-License-Identifier: GPL-2.0-or-later

//! `expand-template`: what the original did (`tests/esmith/templates/`), and what must never happen to a
//! target.

mod edges;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::process::{Ran, command, find, run};

/// Where we differ from the original on purpose.
const DIFFERENT: &[(&str, &str)] = &[];

/// A root with templates and records.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    /// A generic host; the target `/etc/app.conf` has a template of two fragments.
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.at("etc")).unwrap();
        place.fragment("app.conf/10name", "name = {{ SystemName }}\n");
        place.fragment("app.conf/20plain", "plain\n");
        place.db("configuration set SystemName box");
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn fragment(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.at("etc/wharf/templates-custom/etc").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn metadata(&self, path: &str, text: &str) {
        let file = self.at("etc/wharf/templates.metadata/etc").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn settle<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in ["ESMITH_ROOT", "DBPATH", "WHARF_STORE", "WHARF_PROFILE"] {
            command.env_remove(name);
        }
        command.env("WHARF_ROOT", self.root.path()).env("WHARF_PROFILE", "generic")
    }

    fn db(&self, line: &str) -> Ran {
        let mut db = command(env!("CARGO_BIN_EXE_db"));
        db.args(line.split(' '));
        run(self.settle(&mut db), 20).succeeded()
    }

    fn expand(&self, args: &[&str]) -> Ran {
        self.expand_with(args, &[])
    }

    fn expand_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut wharf = command(env!("CARGO_BIN_EXE_wharf"));
        wharf.arg("expand-template").args(args);
        self.settle(&mut wharf).envs(variables.iter().copied());
        run(&mut wharf, 30)
    }

    fn target(&self) -> String {
        fs::read_to_string(self.at("etc/app.conf")).unwrap()
    }

    /// Names in `etc` but the templates' own.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("etc")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "wharf");
        names.sort();
        names
    }
}

const NEW: &str = "name = box\nplain\n";

#[test]
fn targets_are_made_as_the_original_made_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/esmith/templates");
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in fs::read_dir(folder).unwrap() {
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            seen += 1;
            let id = case["id"].as_str().unwrap();
            let found = differences(&case);
            let is_known = DIFFERENT.iter().any(|(different, _)| *different == id);
            if found.is_empty() == is_known {
                wrong.push(format!("{id}: {found:?}"));
            }
        }
    }
    assert!(seen >= 17, "only {seen} cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Makes the files and records that a case begins with.
fn lay_out(case: &Value, root: &Path) {
    for path in ["etc/e-smith/templates", "home/e-smith/db"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for (path, content) in members(&case["files"]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(to) = content.get("link") {
            symlink(to.as_str().unwrap(), path).unwrap();
        } else if content.get("dir").is_some() {
            fs::create_dir_all(path).unwrap();
        } else {
            let text = content.as_str().or_else(|| content["text"].as_str()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = content.get("mode").and_then(Value::as_str).unwrap_or("0644");
            let mode = u32::from_str_radix(mode, 8).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    for (name, text) in members(&case["db"]) {
        fs::write(root.join("home/e-smith/db").join(name), text.as_str().unwrap()).unwrap();
    }
}

/// Runs one recorded case and compares.
fn differences(case: &Value) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    lay_out(case, root);
    let inode = |path: &str| fs::symlink_metadata(root.join(path)).ok().map(|found| found.ino());
    let kept: Vec<_> =
        case["kept"].as_array().into_iter().flatten().map(|path| path.as_str().unwrap()).collect();
    let before: Vec<_> = kept.iter().map(|path| inode(path)).collect();

    let mut wharf = command(env!("CARGO_BIN_EXE_wharf"));
    wharf
        .arg("expand-template")
        .args(case["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    wharf.env_remove("WHARF_ROOT").env_remove("DBPATH").env_remove("WHARF_STORE");
    let ran = run(wharf.env("ESMITH_ROOT", root), 20);

    let mut wrong = Vec::new();
    // The original answers 0 also when it did nothing; we never do.
    let failed = case["exit"].as_i64() != Some(0) || case.get("exit_fix").is_some();
    if failed != (ran.code != 0) {
        wrong.push(format!("status {}", ran.code));
    }
    if ran.stdout != case["stdout"].as_str().unwrap_or_default() {
        wrong.push(format!("stdout {:?}", ran.stdout));
    }
    if (case["stderr"] == "empty") != ran.stderr.is_empty() {
        wrong.push(format!("stderr {:?}", ran.stderr));
    }
    for (path, wanted) in members(&case["after"]) {
        let file = root.join(path);
        let found = match fs::symlink_metadata(&file) {
            Err(_) => Value::Null,
            Ok(found) if found.is_dir() => serde_json::json!({ "dir": true }),
            Ok(found) => serde_json::json!({
                "mode": format!("{:04o}", found.mode() & 0o7777),
                "uid": found.uid(), "gid": found.gid(),
                "text": fs::read_to_string(&file).unwrap(),
            }),
        };
        let mut wanted = wanted.clone();
        // Only root gives files to root.
        if !nix::unistd::geteuid().is_root() && wanted.get("uid").is_some() {
            wanted["uid"] = found["uid"].clone();
            wanted["gid"] = found["gid"].clone();
        }
        if found != wanted {
            wrong.push(format!("{path} is {found}"));
        }
    }
    if kept.iter().map(|path| inode(path)).collect::<Vec<_>>() != before {
        wrong.push("another inode".to_owned());
    }
    wrong
}

#[test]
fn a_target_is_replaced_only_when_its_content_changes() {
    let place = Place::new();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.target(), NEW);
    let inode = |place: &Place| fs::metadata(place.at("etc/app.conf")).unwrap().ino();
    let before = inode(&place);
    let ran = place.expand(&["etc/app.conf"]).succeeded();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert_eq!(inode(&place), before);
    place.db("configuration set SystemName other");
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_ne!(inode(&place), before);
    assert_eq!(place.target(), "name = other\nplain\n");
    assert_eq!(place.names(), ["app.conf"]);
}

#[test]
fn a_wrong_fragment_is_told_and_the_last_good_file_stays() {
    let place = Place::new();
    place.expand(&["/etc/app.conf"]).succeeded();
    for (text, words) in [
        (
            "a\n{{ httpd.TCPPort }}\n",
            vec!["30bad", "line 2", "record 'httpd'", "db configuration set"],
        ),
        ("{{ SystemName.x }}\n", vec!["30bad", "line 1", "'SystemName'", "property 'x'"]),
        ("\n\n{% if %}\n", vec!["30bad", "line 3"]),
        (
            "{#---\nneeds: [configuration/a/b]\n---#}\n",
            vec!["record 'a'", "db configuration set a"],
        ),
        ("{#---\nformat: nonsense\n---#}\n", vec!["30bad", "nonsense", "there is: "]),
        ("{{ 1 | nofilter }}", vec!["30bad", "nofilter"]),
    ] {
        place.fragment("app.conf/30bad", text);
        let ran = place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&words);
        assert!(ran.stderr.contains("app.conf was not expanded"), "{}", ran.stderr);
        assert_eq!(place.target(), NEW);
        assert_eq!(place.names(), ["app.conf"]);
    }
}

#[test]
fn a_value_that_the_format_cannot_hold_is_told_with_its_record() {
    let place = Place::new();
    place.fragment("sysconfig/app", "A=\"{{ app.words }}\"\n");
    fs::create_dir_all(place.at("etc/sysconfig")).unwrap();
    let set = |value: &str| {
        let mut db = command(env!("CARGO_BIN_EXE_db"));
        db.args(["configuration", "set", "app", "service", "words", value]);
        run(place.settle(&mut db), 20).succeeded()
    };
    set("a $(touch /tmp/x) \"b\"");
    place.expand(&["/etc/sysconfig/app"]).succeeded();
    let text = fs::read_to_string(place.at("etc/sysconfig/app")).unwrap();
    assert_eq!(text, "A=\"a \\$(touch /tmp/x) \\\"b\\\"\"\n");
    set("a\nB=1");
    let words = ["record 'app'", "property 'words'", "sysconfig/app", "\"a\\nB=1\""];
    place.expand(&["/etc/sysconfig/app"]).ended_with(1).complains_of(&words);
    assert_eq!(fs::read_to_string(place.at("etc/sysconfig/app")).unwrap(), text);

    place.fragment("sysconfig/app", "A=\"{{ app.Password }}\"\n");
    let mut db = command(env!("CARGO_BIN_EXE_db"));
    db.args(["configuration", "setprop", "app", "Password", "top\nsecret"]);
    run(place.settle(&mut db), 20).succeeded();
    let ran = place.expand(&["/etc/sysconfig/app"]).ended_with(1);
    let ran = ran.complains_of(&["property 'Password'", "not shown"]);
    assert!(!ran.stderr.contains("secret\n") && !ran.stderr.contains("top"), "{}", ran.stderr);
}

#[test]
fn a_target_with_a_secret_is_not_for_everybody() {
    let place = Place::new();
    place.db("configuration set app service Password opensesame Port 80");
    let mode = |place: &Place| fs::metadata(place.at("etc/app.conf")).unwrap().mode() & 0o7777;
    place.fragment("app.conf/30", "{{ app.Port }}\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(mode(&place), 0o644);
    place.fragment("app.conf/30", "{{ app.Password }}\n");
    let ran = place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(mode(&place), 0o600);
    let ran = ran.complains_of(&["root alone", "record 'app', property 'Password'"]);
    assert!(!ran.stderr.contains("sesame"), "{}", ran.stderr);
    place.metadata("app.conf", "PERMS=0640\n");
    assert_eq!(place.expand(&["/etc/app.conf"]).succeeded().stderr, "");
    assert_eq!(mode(&place), 0o640);
    place.metadata("app.conf", "PERMS=0644\n");
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&["read by everybody"]);
}

#[test]
fn a_hand_edited_target_is_never_silently_lost() {
    let place = Place::new();
    place.expand(&["/etc/app.conf"]).succeeded();
    let edit = |text: &str| fs::write(place.at("etc/app.conf"), text).unwrap();
    edit("by hand\n");
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&["by hand", "app.conf.wharf-save"]);
    assert_eq!(place.target(), NEW);
    let saved = |name: &str| fs::read_to_string(place.at("etc").join(name)).unwrap();
    assert_eq!(saved("app.conf.wharf-save"), "by hand\n");
    // A second one does not take the place of the first.
    edit("again\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(saved("app.conf.wharf-save"), "by hand\n");
    assert_eq!(saved("app.conf.wharf-save.1"), "again\n");

    place.metadata("app.conf", "ON_EDIT=refuse\n");
    edit("third\n");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["app.conf", "--force"]);
    assert_eq!(place.target(), "third\n");
    place.expand(&["--force", "/etc/app.conf"]).succeeded();
    assert_eq!(
        (place.target().as_str(), saved("app.conf.wharf-save.2").as_str()),
        (NEW, "third\n")
    );

    place.metadata("app.conf", "ON_EDIT=overwrite\n");
    edit("fourth\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.names().len(), 4, "{:?}", place.names());
}

#[test]
fn what_would_change_can_be_seen_without_a_change() {
    let place = Place::new();
    let shown = place.expand(&["--stdout", "/etc/app.conf"]).succeeded();
    assert_eq!(shown.stdout, NEW);
    assert_eq!(place.names(), Vec::<String>::new());
    fs::write(place.at("etc/app.conf"), "name = box\nold\n").unwrap();
    let diff = place.expand(&["--diff", "/etc/app.conf"]).ended_with(3).stdout;
    assert!(diff.contains("-old\n+plain\n"), "{diff}");
    assert_eq!(place.target(), "name = box\nold\n");
    fs::write(place.at("etc/app.conf"), NEW).unwrap();
    assert_eq!(place.expand(&["--diff", "/etc/app.conf"]).succeeded().stdout, "");
    place.metadata("app.conf", "CHECK=\"grep -q wanted {file}\"\n");
    place.expand(&["--check", "/etc/app.conf"]).ended_with(1).complains_of(&["would be refused"]);
    assert!(!place.at("run/wharf/files.lock").exists(), "a look takes no lock");
}

#[test]
fn a_check_accepts_refuses_is_missing_or_hangs() {
    let place = Place::new();
    place.expand(&["/etc/app.conf"]).succeeded();
    place.db("configuration set SystemName second");
    let check = |text: &str| place.metadata("app.conf", &format!("CHECK=\"{text}\"\n"));
    check("grep -q never {file}");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["would be refused", "grep"]);
    check("no-such-program-here {file}");
    place
        .expand(&["/etc/app.conf"])
        .ended_with(1)
        .complains_of(&["no-such-program-here", "install"]);
    check("sleep 60");
    let begun = Instant::now();
    place
        .expand_with(&["/etc/app.conf"], &[("WHARF_CHECK_TIMEOUT", "1")])
        .ended_with(1)
        .complains_of(&["sleep", "1 s"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(place.target(), NEW);
    // The copy has the target's own name, for programs that go by it.
    check("sh -c 'grep -q second {file} && test $(basename {file}) = app.conf'");
    place.metadata(
        "app.conf",
        "CHECK=sh -c 'grep -q second \"$0\" && test \"${0##*/}\" = app.conf' {file}\n",
    );
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["Perl"]);
    fs::remove_file(place.at("etc/wharf/templates.metadata/etc/app.conf")).unwrap();
    place.fragment(
        "app.conf/00front",
        "{#---\ncheck: sh -c 'grep -q second \"$0\" && test \"${0##*/}\" = app.conf' {file}\n---#}\n",
    );
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.target(), "name = second\nplain\n");
    assert_eq!(place.names(), ["app.conf"]);
    assert_eq!(fs::read_dir(place.at("run/wharf/stage")).unwrap().count(), 0);
}

#[test]
fn metadata_say_where_for_whom_and_whether() {
    let place = Place::new();
    fs::create_dir(place.at("etc/sub")).unwrap();
    place
        .metadata("app.conf", "OUTPUT_FILENAME=/etc/sub/other\nPERMS=0600\nFILTER=skip-comments\n");
    place.fragment("app.conf/15", "# gone\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    let other = place.at("etc/sub/other");
    assert_eq!(fs::read_to_string(&other).unwrap(), NEW);
    assert_eq!(fs::metadata(&other).unwrap().mode() & 0o7777, 0o600);
    place.metadata("app.conf", "OUTPUT_FILENAME=/etc/sub/other\nDELETE=1\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    assert!(!other.exists());
    place.expand(&["/etc/app.conf"]).succeeded();
    // A directory with one file a name.
    fs::remove_file(place.at("etc/wharf/templates.metadata/etc/app.conf")).unwrap();
    place.metadata("app.conf/PERMS", "0400\n");
    place.metadata("app.conf/UID", "nobody-of-that-name\n");
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&["nobody-of-that-name", "root"]);
    assert_eq!(fs::metadata(place.at("etc/app.conf")).unwrap().mode() & 0o7777, 0o400);
    place.metadata("app.conf/PERMS", "rw\n");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["PERMS", "0644"]);
}

#[test]
fn a_path_leads_nowhere_else() {
    let place = Place::new();
    for path in ["../etc/app.conf", "/etc/../../app.conf", "/etc/app.conf/", "/"] {
        place.expand(&[path]).ended_with(1);
    }
    place.metadata("app.conf", "OUTPUT_FILENAME=/../../tmp/x\n");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["'..'"]);
    assert_eq!(place.names(), Vec::<String>::new());
    place.expand(&[]).ended_with(2).complains_of(&["usage"]);
    place
        .expand(&["/etc/nothing"])
        .ended_with(1)
        .complains_of(&["no template", "templates-custom"]);
}

#[test]
fn odd_fragments_and_targets_are_told_or_passed_over() {
    let place = Place::new();
    let fragments = place.at("etc/wharf/templates-custom/etc/app.conf");
    symlink("15loop", fragments.join("15loop")).unwrap();
    fs::create_dir(fragments.join("16dir")).unwrap();
    symlink("/dev/null", fragments.join("17null")).unwrap();
    place.fragment("app.conf/18kept~", "no\n");
    let ran = place.expand(&["/etc/app.conf"]).succeeded();
    assert!(ran.stderr.contains("18kept~ is passed over"), "{}", ran.stderr);
    assert_eq!(place.target(), NEW);

    // Ten megabytes, and bytes that are no text, go through as they are.
    let mut big = vec![b'x'; 10 << 20];
    big.extend(b"\xff\x00\n");
    place.fragment("app.conf/30big", &big);
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(
        fs::metadata(place.at("etc/app.conf")).unwrap().len(),
        NEW.len() as u64 + (10 << 20) + 3
    );
    place.fragment("app.conf/30big", b"\xff{{ SystemName }}");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["30big", "line 1", "UTF-8"]);
    fs::remove_file(fragments.join("30big")).unwrap();

    fs::remove_file(place.at("etc/app.conf")).unwrap();
    fs::create_dir(place.at("etc/app.conf")).unwrap();
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["app.conf", "directory"]);
    fs::remove_dir(place.at("etc/app.conf")).unwrap();
    nix::unistd::mkfifo(&place.at("etc/app.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["no regular file"]);
    fs::remove_file(place.at("etc/app.conf")).unwrap();
    place.fragment("none/app.conf", "x\n");
    place
        .expand(&["/etc/none/app.conf"])
        .ended_with(1)
        .complains_of(&["etc/none", "no such directory"]);
    assert!(!place.at("etc/none").exists());

    // A link whose file is right already stays; else it becomes a file, and what it led to stays.
    fs::write(place.at("elsewhere"), NEW).unwrap();
    symlink("../elsewhere", place.at("etc/app.conf")).unwrap();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert!(place.at("etc/app.conf").is_symlink());
    fs::write(place.at("elsewhere"), "other\n").unwrap();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert!(!place.at("etc/app.conf").is_symlink());
    assert_eq!(fs::read_to_string(place.at("elsewhere")).unwrap(), "other\n");
}

#[test]
fn many_expansions_at_once_leave_one_whole_file() {
    let place = Place::new();
    place.fragment("app.conf/30long", "line\n".repeat(20_000));
    let wanted = format!("{NEW}{}", "line\n".repeat(20_000));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    place.expand(&["/etc/app.conf"]).succeeded();
                    assert_eq!(place.target(), wanted);
                }
            });
        }
    });
    assert_eq!(place.names(), ["app.conf"]);
}

#[test]
fn a_kill_at_any_call_leaves_the_old_file_or_the_new_one() {
    if find("strace").is_none() {
        assert!(std::env::var_os("WHARF_REQUIRE_ENGINE").is_none(), "strace is needed");
        eprintln!("skipped: strace is not there");
        return;
    }
    let place = Place::new();
    place.fragment("app.conf/00front", "{#---\ncheck: test -s {file}\n---#}");
    let mut kills = 0;
    for name in
        ["mkdir", "write", "fsync", "fchmod", "fchown", "linkat", "rename", "unlink", "flock"]
    {
        for when in 1.. {
            assert!(when < 60, "{name} has no end");
            fs::write(place.at("etc/app.conf"), "old\n").unwrap();
            for name in ["var", "run"] {
                fs::remove_dir_all(place.at(name).join("wharf/written")).unwrap_or_default();
                fs::remove_dir_all(place.at(name).join("wharf/stage")).unwrap_or_default();
            }
            place.metadata("app.conf", "ON_EDIT=overwrite\n");
            let mut strace = command("strace");
            strace.args(["-qq", "-o", "/dev/null", "-e", &format!("trace=?{name}")]);
            strace.args(["-e", &format!("inject=?{name}:signal=KILL:when={when}")]);
            strace.args([env!("CARGO_BIN_EXE_wharf"), "expand-template", "/etc/app.conf"]);
            let ran = run(place.settle(&mut strace), 30);
            let found = place.target();
            assert!(found == "old\n" || found == NEW, "{name} {when}: {found:?}");
            if ran.code == 0 {
                break;
            }
            assert_eq!(ran.code, 137, "{name} {when}: {ran:?}");
            kills += 1;
            // The next one finds the way, and takes away what is left.
            place.expand(&["/etc/app.conf"]).succeeded();
            assert_eq!(place.target(), NEW, "{name} {when}");
            assert_eq!(place.names(), ["app.conf"], "{name} {when}");
        }
    }
    assert!(kills >= 10, "only {kills} kills");
}

#[test]
fn an_immutable_target_and_a_full_disk_are_told() {
    let place = Place::new();
    place.expand(&["/etc/app.conf"]).succeeded();
    place.db("configuration set SystemName second");
    let mut chattr = command("chattr");
    let target = place.at("etc/app.conf");
    if find("chattr").is_some() && run(chattr.arg("+i").arg(&target), 10).code == 0 {
        let ran = place.expand(&["/etc/app.conf"]);
        run(command("chattr").arg("-i").arg(&target), 10).succeeded();
        let ran = ran.ended_with(1).complains_of(&["app.conf", "not permitted", "lsattr -d"]);
        assert!(!ran.stderr.contains("as root"), "{}", ran.stderr);
        assert_eq!((place.target().as_str(), place.names()), (NEW, vec!["app.conf".to_owned()]));
    } else {
        eprintln!("skipped: no file can be made immutable here");
    }
    // A limit of the size of files is a full disk to whoever writes.
    place.fragment("app.conf/30long", "line\n".repeat(20_000));
    let mut shell = command("sh");
    let script = "trap '' XFSZ; ulimit -f 20; exec \"$0\" expand-template /etc/app.conf";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_wharf")]);
    run(place.settle(&mut shell), 20).ended_with(1).complains_of(&["app.conf", "too large"]);
    assert_eq!((place.target().as_str(), place.names()), (NEW, vec!["app.conf".to_owned()]));
}

#[test]
fn templates_are_tried_with_records_from_a_folder() {
    let place = Place::new();
    let cases = place.at("cases");
    let write = |path: &str, text: &str| {
        let file = cases.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("good/records/configuration", "SystemName=case\n");
    write("good/expected/etc/app.conf", "name = case\nplain\n");
    write("bad/records/configuration", "other=1\n");
    write("bad/fails/etc/app.conf", "no record 'SystemName'\n");
    let test = |more: &[&str]| {
        let mut wharf = command(env!("CARGO_BIN_EXE_wharf"));
        wharf.args(["template", "test"]).arg(&cases).args(more);
        run(place.settle(&mut wharf), 20)
    };
    assert_eq!(test(&[]).succeeded().stdout.lines().last(), Some("2 cases, 0 failed"));
    write("good/expected/etc/app.conf", "name = case\nother\n");
    let ran = test(&[]).ended_with(1);
    assert!(ran.stdout.contains("-other\n+plain\n"), "{}", ran.stdout);
    write("bad/fails/etc/app.conf", "something else\n");
    assert_eq!(test(&[]).ended_with(1).stdout.lines().last(), Some("2 cases, 2 failed"));
    write("bad/fails/etc/app.conf", "SystemName\n");
    test(&["--update"]).succeeded();
    assert_eq!(
        fs::read_to_string(cases.join("good/expected/etc/app.conf")).unwrap(),
        "name = case\nplain\n"
    );
    // Other templates than the system's.
    fs::create_dir_all(place.at("mine/etc/app.conf")).unwrap();
    fs::write(place.at("mine/etc/app.conf/10"), "mine {{ SystemName }}\n").unwrap();
    let mine = place.at("mine");
    let ran = test(&["--templates", mine.to_str().unwrap()]).ended_with(1);
    assert!(ran.stdout.contains("+mine case\n"), "{}", ran.stdout);
}

#[test]
fn what_the_project_brings_comes_out_as_it_should_and_is_accepted() {
    let place = Place::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    let mut wharf = command(env!("CARGO_BIN_EXE_wharf"));
    wharf.args(["template", "test"]).arg(&cases);
    let ran = run(place.settle(&mut wharf), 30);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 5), "{}", ran.stdout);
    let web = cases.join("web/expected/etc");
    let shell = format!(". {}; printf %s \"$DOCKER_OPTS\"", web.join("sysconfig/docker").display());
    let options = run(command("sh").args(["-c", &shell]), 10).succeeded().stdout;
    assert_eq!(options, "--storage-driver=overlay2 --data-root=/srv/images --live-restore");
    let options = fs::read(web.join("docker/daemon.json")).unwrap();
    let options: Value = serde_json::from_slice(&options).unwrap();
    assert_eq!(options["data-root"], "/srv/images");
    // Apache reads the aliases in `engine::web`, with its modules.
    if find("nft").is_some() && nix::unistd::geteuid().is_root() {
        for case in ["web", "bare"] {
            let guard = cases.join(case).join("expected/etc/wharf/guard.nft");
            run(command("nft").args(["-c", "-f"]).arg(guard), 10).succeeded();
        }
    } else {
        assert!(std::env::var_os("WHARF_REQUIRE_ENGINE").is_none(), "nft and root are needed");
    }
}

#[test]
fn what_is_kept_aside_is_for_root_alone_also_through_a_link_and_during_a_check() {
    let place = Place::new();
    let mode = |name: &str| fs::metadata(place.at("etc").join(name)).unwrap().mode() & 0o7777;
    place.expand(&["/etc/app.conf"]).succeeded();
    fs::write(place.at("etc/app.conf"), "program").unwrap();
    let setuid = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(place.at("etc/app.conf"), setuid).unwrap();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(mode("app.conf.wharf-save"), 0o600);

    // What takes the place of a link can be read by whom could read what it led to.
    fs::remove_file(place.at("etc/app.conf")).unwrap();
    fs::write(place.at("etc/hidden"), "hidden").unwrap();
    fs::set_permissions(place.at("etc/hidden"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("hidden", place.at("etc/app.conf")).unwrap();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!((mode("app.conf"), mode("app.conf.wharf-save.1")), (0o600, 0o600));

    // An edit while the check runs is an edit.
    place.fragment("app.conf/00front", "{#---\ncheck: sleep 2\n---#}\n");
    place.fragment("app.conf/90", "more\n");
    thread::scope(|scope| {
        scope.spawn(|| place.expand(&["/etc/app.conf"]).succeeded());
        thread::sleep(Duration::from_millis(800));
        fs::write(place.at("etc/app.conf"), "precious").unwrap();
    });
    assert_eq!(fs::read_to_string(place.at("etc/app.conf.wharf-save.2")).unwrap(), "precious");

    fs::write(place.at("etc/app.conf"), "by hand").unwrap();
    place.metadata("app.conf", "DELETE=1\nON_EDIT=refuse\n");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["somebody changed it"]);
    place.metadata("app.conf", "DELETE=1\n");
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&["app.conf.wharf-save.3"]);
    assert!(!place.at("etc/app.conf").exists());
    place.metadata("app.conf", "DELETE=perhaps\n");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["DELETE", "perhaps"]);
}

#[test]
fn failed_writes_make_no_edit_of_our_own_file() {
    let place = Place::new();
    place.metadata("app.conf", "ON_EDIT=refuse\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    fs::create_dir(place.at("etc/.app.conf.wharf-new")).unwrap();
    for name in ["second", "third"] {
        place.db(&format!("configuration set SystemName {name}"));
        place.expand(&["/etc/app.conf"]).ended_with(1);
    }
    // Nor a copy of somebody else's, who still has his file; one that was there before stays.
    fs::write(place.at("etc/app.conf.wharf-save"), "by hand\n").unwrap();
    for (text, names) in [("other\n", 3), ("by hand\n", 3)] {
        fs::write(place.at("etc/app.conf"), text).unwrap();
        place.expand(&["--force", "/etc/app.conf"]).ended_with(1);
        assert_eq!(
            (place.target().as_str(), place.names().len()),
            (text, names),
            "{:?}",
            place.names()
        );
    }
    fs::remove_file(place.at("etc/app.conf.wharf-save")).unwrap();
    fs::write(place.at("etc/app.conf"), NEW).unwrap();
    fs::remove_dir(place.at("etc/.app.conf.wharf-new")).unwrap();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.target(), "name = third\nplain\n");
}

#[test]
fn a_template_takes_in_nothing_else_and_cannot_run_away() {
    let place = Place::new();
    place.db("configuration set app service Password opensesame Port 80");
    for (text, words) in [
        ("{% include \"template\" %}", vec!["30odd", "include"]),
        ("{{ get_env(name=\"PATH\") }}", vec!["30odd", "get_env"]),
        ("{% for i in range(end=2000000000) %}{% endfor %}", vec!["30odd", "100000 rounds"]),
        ("{{ app.Port | int(base=99) }}", vec!["30odd"]),
        ("{{ app.Password | round }}", vec!["30odd", "not shown"]),
        ("{{ app | first }}", vec!["30odd"]),
        ("n=${#a}\n", vec!["30odd", "line 1", "raw"]),
        (" {#---\nformat: shell\n---#}\n", vec!["30odd", "line 1", "very beginning"]),
    ] {
        place.fragment("app.conf/30odd", text);
        let ran = place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&words);
        assert!(!ran.stderr.contains("sesame"), "{text}: {}", ran.stderr);
    }
}

#[test]
fn front_matter_leaves_no_line_and_a_script_is_a_script() {
    let place = Place::new();
    fs::create_dir_all(place.at("usr/bin")).unwrap();
    place.db("configuration set app service Word $(touch_evil)");
    let fragment = place.at("etc/wharf/templates-custom/usr/bin/x/10");
    fs::create_dir_all(fragment.parent().unwrap()).unwrap();
    fs::write(&fragment, "{#---\non-edit: overwrite\n---#}\n#!/bin/sh\nX={{ app.Word }}\n")
        .unwrap();
    place.expand(&["/usr/bin/x"]).succeeded();
    let text = fs::read_to_string(place.at("usr/bin/x")).unwrap();
    assert_eq!(text, "#!/bin/sh\nX='$(touch_evil)'\n");
}

#[test]
fn the_line_for_cron_makes_a_pass_unless_a_daemon_keeps_its_file() {
    let place = tempfile::tempdir().unwrap();
    let lock = place.path().join("wharfd");
    let rendered = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rendered = rendered.join("tests/templates/cron/expected/etc/cron.d/wharf");
    let text = fs::read_to_string(rendered).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("*/5 * * * * root ")).unwrap();
    // Instead of the log of the machine and of the program: what would be said, and that it was called.
    let line = line
        .replace("/run/wharf/wharfd", &lock.display().to_string())
        .replace("/usr/sbin/wharf apply", "sh -c 'echo done; echo fault >&2'")
        .replace("logger -t wharf", "sed 's/^/logged: /'");
    let made = |line: &str| {
        let mut shell = command("sh");
        run(shell.args(["-c", line]), 20).stdout
    };
    assert_eq!(made(&line), "logged: fault\n", "and no mail about what went well");
    let held = format!("exec 8>{}; flock -n 8 && {{ {line}; }}", lock.display());
    assert_eq!(made(&held), "", "a daemon runs");
    let elsewhere = line.replace(&lock.display().to_string(), "/nowhere/wharf/wharfd");
    assert_eq!(made(&elsewhere), "logged: fault\n", "nobody has ever run here");
}
