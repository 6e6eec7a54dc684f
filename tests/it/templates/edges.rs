// SPDX-License-Identifier: GPL-2.0-or-later

//! What `--check`, metadata, cases and leftovers must not pass over in silence.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::lab::process::signal;
use crate::lab::wait_until;

use super::*;

#[test]
fn a_check_tells_what_writing_would_trip_over() {
    let place = Place::new();
    place.fragment("none/app.conf", "x\n");
    let words = ["etc/none", "no such directory"];
    place.expand(&["--check", "/etc/none/app.conf"]).ended_with(1).complains_of(&words);
    place.expand(&["--check", "/etc/app.conf"]).succeeded().complains_of(&["no program checks"]);
    place.metadata("app.conf", "CHECK=\"grep -q box {file}\"\n");
    assert_eq!(place.expand(&["--check", "/etc/app.conf"]).succeeded().stderr, "");
}

#[test]
fn what_a_kill_has_left_of_a_check_is_taken_away_by_the_next_expansion() {
    let place = Place::new();
    let checks = place.at("run/wharf/checks");
    let own = checks.join(format!("{}.own", std::process::id()));
    for how in [["--check", "/etc/app.conf"], ["--force", "/etc/app.conf"]] {
        // No process has so high a number.
        let left = checks.join("99999999.left");
        fs::create_dir_all(left.join("inside")).unwrap();
        fs::create_dir_all(&own).unwrap();
        place.metadata("app.conf", "CHECK=\"grep -q box {file}\"\n");
        place.expand(&how).succeeded();
        assert_eq!((left.exists(), own.exists()), (false, true), "{how:?}");
    }
}

#[test]
fn what_would_be_read_where_it_lies_is_kept_elsewhere() {
    let place = Place::new();
    fs::create_dir_all(place.at("etc/cron.d")).unwrap();
    place.fragment("cron.d/app", "# {{ SystemName }}\n");
    place.expand(&["/etc/cron.d/app"]).succeeded();
    let saved = place.at("var/lib/wharf/saved/etc/cron.d");
    for (text, name) in [("# one\n", "app.wharf-save"), ("# two\n", "app.wharf-save.1")] {
        fs::write(place.at("etc/cron.d/app"), text).unwrap();
        let words = ["by hand", "var/lib/wharf/saved/etc/cron.d/app.wharf-save"];
        place.expand(&["/etc/cron.d/app"]).succeeded().complains_of(&words);
        assert_eq!(fs::read_to_string(saved.join(name)).unwrap(), text);
        assert_eq!(fs::metadata(saved.join(name)).unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(fs::read_dir(place.at("etc/cron.d")).unwrap().count(), 1);
    for directory in ["network/interfaces.d", "monit.d", "bash_completion.d", "monit/conf-enabled"]
    {
        let target = format!("/etc/{directory}/app");
        fs::create_dir_all(place.at("etc").join(directory)).unwrap();
        place.fragment(&format!("{directory}/app"), "# {{ SystemName }}\n");
        fs::write(place.at(&target[1..]), "# by hand\n").unwrap();
        place.expand(&[&target]).succeeded().complains_of(&["var/lib/wharf/saved"]);
        assert_eq!(fs::read_dir(place.at("etc").join(directory)).unwrap().count(), 1, "{target}");
    }
}

#[test]
fn a_fragment_that_a_template_makes_is_one_fragment_also_when_it_was_changed_by_hand() {
    let place = Place::new();
    let fragment = "etc/wharf/templates-custom/etc/app.conf/20plain";
    place.fragment("wharf/templates-custom/etc/app.conf/20plain", "made\n");
    place.expand(&[&format!("/{fragment}")]).succeeded().complains_of(&["20plain.wharf-save"]);
    assert!(place.at(&format!("{fragment}.wharf-save")).exists());
    let ran = place.expand(&["/etc/app.conf"]).succeeded();
    let ran = ran.complains_of(&["20plain.wharf-save is passed over"]);
    assert_eq!(place.target(), "name = box\nmade\n", "{}", ran.stderr);
}

#[test]
fn a_database_that_is_not_there_and_a_hidden_record_are_told() {
    let place = Place::new();
    place.fragment("app.conf/30", "{#---\nneeds: [lost/a/b]\n---#}\n");
    let words = ["database lost", "db lost set a"];
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&words);
    place.fragment(
        "app.conf/30",
        "{#---\ndefaults: { lost/a/b: '1' }\n---#}\n{{ databases.lost.a.b }}\n",
    );
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.target(), format!("{NEW}1\n"));

    place.db("configuration set event service x y");
    place.fragment("app.conf/30", "{{ event }}\n");
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&["'event'", "configuration.event"]);
    place.fragment("app.conf/30", "{{ configuration.event.x }}\n");
    assert_eq!(place.expand(&["/etc/app.conf"]).succeeded().stderr, "");
    assert_eq!(place.target(), format!("{NEW}y\n"));
}

#[test]
fn metadata_may_have_a_comment_and_an_empty_prefix() {
    let place = Place::new();
    place.fragment("app.conf/30", "{{ A }}\n");
    let text = "PERMS=0600 # not for all\nOUTPUT_PREFIX=\"\"\nMORE_DATA={ A => \"1, 2\" }\n";
    place.metadata("app.conf", text);
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.target(), format!("{NEW}1, 2\n"));
    assert_eq!(fs::metadata(place.at("etc/app.conf")).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_case_that_would_test_nothing_is_told() {
    let place = Place::new();
    let cases = place.at("cases");
    let write = |path: &str, text: &str| {
        let file = cases.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    let test = || {
        let mut wharf = command(env!("CARGO_BIN_EXE_wharf"));
        wharf.args(["template", "test"]).arg(&cases);
        run(place.settle(&mut wharf), 20)
    };
    write("one/records/configuration", "SystemName=case\n");
    write("one/expected/etc/app.conf", "name = case\nplain\n");
    assert_eq!(test().succeeded().stdout.lines().last(), Some("1 case, 0 failed"));
    write("one/fial/etc/app.conf", "x\n");
    let ran = test().ended_with(1);
    assert!(ran.stdout.contains("'fial'") && ran.stdout.contains("fails"), "{}", ran.stdout);
    fs::remove_dir_all(cases.join("one/fial")).unwrap();

    write("two/expcted/etc/app.conf", "x\n");
    test().ended_with(1).complains_of(&["two", "no case"]);
    fs::remove_dir_all(cases.join("two")).unwrap();

    write("three/records/configuration", "other=1\n");
    write("three/fails/etc/app.conf", "\n");
    let ran = test().ended_with(1);
    assert!(ran.stdout.contains("fails/etc/app.conf is empty"), "{}", ran.stdout);
    fs::remove_dir_all(cases.join("three")).unwrap();

    fs::create_dir_all(cases.join("four/expected/etc")).unwrap();
    let ran = test().ended_with(1);
    assert!(ran.stdout.contains("four") && ran.stdout.contains("tests nothing"), "{}", ran.stdout);
    fs::remove_dir_all(cases.join("four")).unwrap();

    let good = "# note\n\nSystemName=case\nother=1\n";
    write("one/records/configuration", good);
    write("one/records/sub/my-db.old", "k=t|p|\n");
    assert!(test().succeeded().stderr.is_empty());
    for (path, text, words) in [
        ("configuration", "SystemName=case\n\nother: 1\n", "records/configuration, line 3"),
        ("configuration", "SystemName=case\n=1\n", "records/configuration, line 2"),
        ("configuration", "SystemName=case\nother=1\nother=2\n", "line 3: record 'other'"),
        ("bad..name", "a=1\n", "records/bad..name is no database"),
        ("configuration~", "a=1\n", "records/configuration~ is no database"),
        ("../event", " \n", "'event' is empty"),
        ("../event", "one\ntwo\n", "'event' has more than one line"),
        ("../event", "../x\n", "'event'"),
        (
            "configuration",
            "SystemName=case\nk=t|p\n",
            "line 2: record 'k': property 'p' has no value",
        ),
        ("configuration", "k=t|p|1|q|\\||p|2\n", "line 1: record 'k': property 'p' is there twice"),
    ] {
        write(&format!("one/records/{path}"), text);
        let ran = test().ended_with(1);
        assert!(ran.stdout.contains(words), "{path}: {}", ran.stdout);
        fs::remove_file(cases.join("one/records").join(path)).unwrap();
        write("one/records/configuration", good);
    }
    place.metadata("app.conf", "CHECK=false\n");
    test().succeeded().complains_of(&["check /etc/app.conf", "not asked"]);
}

#[test]
fn a_folder_without_a_file_in_a_case_is_told() {
    let place = Place::new();
    let cases = place.at("cases");
    for (path, text) in [
        ("records/configuration", "SystemName=case\n"),
        ("expected/etc/app.conf", "name = case\nplain\n"),
    ] {
        let file = cases.join("one").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let test = || {
        let mut wharf = command(env!("CARGO_BIN_EXE_wharf"));
        wharf.args(["template", "test"]).arg(&cases);
        run(place.settle(&mut wharf), 20)
    };
    test().succeeded();
    for (path, words) in [
        ("one/records/deep.d/none", "holds no file"),
        ("one/expected/etc/none", "expected/etc/none holds no file"),
    ] {
        fs::create_dir_all(cases.join(path)).unwrap();
        let ran = test().ended_with(1);
        assert!(ran.stdout.contains(words), "{path}: {}", ran.stdout);
        fs::remove_dir_all(cases.join(path)).unwrap();
        fs::remove_dir(cases.join("one/records/deep.d")).unwrap_or_default();
    }
}

#[test]
fn a_file_that_was_never_written_is_kept_when_a_template_deletes_it() {
    let place = Place::new();
    fs::write(place.at("etc/app.conf"), "precious\n").unwrap();
    place.metadata("app.conf", "DELETE=1\nON_EDIT=refuse\n");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["not made by Wharf", "--force"]);
    assert_eq!(place.target(), "precious\n");
    place.metadata("app.conf", "DELETE=1\n");
    let words = ["not made by Wharf", "app.conf.wharf-save"];
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&words);
    let kept = fs::read_to_string(place.at("etc/app.conf.wharf-save")).unwrap();
    assert_eq!((kept.as_str(), place.names()), ("precious\n", vec!["app.conf.wharf-save".into()]));
    assert_eq!(place.expand(&["/etc/app.conf"]).succeeded().stderr, "");
    // e-smith's own tools write without a word to us.
    fs::write(place.at("etc/app.conf"), "theirs\n").unwrap();
    let own = place.at("etc/e-smith/templates.metadata/etc");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("app.conf"), "DELETE=1\n").unwrap();
    let sme = [("WHARF_PROFILE", "sme")];
    assert_eq!(place.expand_with(&["/etc/app.conf"], &sme).succeeded().stderr, "");
    assert!(!place.at("etc/app.conf").exists());
    assert!(!place.at("etc/app.conf.wharf-save.1").exists());
}

#[test]
fn the_version_before_the_last_is_somebody_elses_again() {
    let place = Place::new();
    place.metadata("app.conf", "ON_EDIT=refuse\n");
    for name in ["one", "two"] {
        place.db(&format!("configuration set SystemName {name}"));
        place.expand(&["/etc/app.conf"]).succeeded();
    }
    fs::write(place.at("etc/app.conf"), "name = one\nplain\n").unwrap();
    place.db("configuration set SystemName three");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["somebody changed it"]);
    assert_eq!(place.target(), "name = one\nplain\n");
    place.expand(&["--force", "/etc/app.conf"]).succeeded();
    let kept = fs::read_to_string(place.at("etc/app.conf.wharf-save")).unwrap();
    assert_eq!(
        (place.target().as_str(), kept.as_str()),
        ("name = three\nplain\n", "name = one\nplain\n")
    );
}

/// A place where `script` checks the target; `$r` is the root in it.
fn checked(script: &str) -> Place {
    let place = Place::new();
    let script = format!("#!/bin/sh\nr={}\n{script}\n", place.root.path().display());
    fs::write(place.at("check"), script).unwrap();
    fs::set_permissions(place.at("check"), fs::Permissions::from_mode(0o755)).unwrap();
    let front = format!("{{#---\ncheck: {}\n---#}}", place.at("check").display());
    place.fragment("app.conf/00front", front);
    place
}

/// Waits for the end of the process whose number is in `pid`.
fn ends(place: &Place) {
    let id = fs::read_to_string(place.at("pid")).unwrap().trim().to_owned();
    wait_until(SOON, "the sleeper is gone", || !Path::new("/proc").join(&id).exists());
}

/// For something that takes a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_check_is_ended_with_what_it_started_when_its_time_is_over_or_we_are_told_to_end() {
    let place = checked("sleep 300 & echo $! > $r/pid; wait");
    let limit = [("WHARF_CHECK_TIMEOUT", "1")];
    place.expand_with(&["/etc/app.conf"], &limit).ended_with(1).complains_of(&["1 s"]);
    ends(&place);
    for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        fs::remove_file(place.at("pid")).unwrap();
        // Who started the tests may ignore them, as `nohup` does, and then so would it.
        let mut wharf = command("env");
        wharf.args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_wharf")]);
        let child = place.settle(wharf.args(["expand-template", "/etc/app.conf"])).spawn();
        let mut child = child.unwrap();
        wait_until(SOON, "the check runs", || {
            fs::read_to_string(place.at("pid")).is_ok_and(|text| text.ends_with('\n'))
        });
        signal(child.id(), which);
        assert_eq!(child.wait().unwrap().signal(), Some(which as i32));
        ends(&place);
    }
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_check_is_judged_by_its_status_whatever_it_leaves_behind_and_prints() {
    let place = checked("sleep 300 & echo $! > $r/pid; head -c 100000000 /dev/zero");
    let begun = Instant::now();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(place.target(), NEW);
    let id = fs::read_to_string(place.at("pid")).unwrap();
    signal(id.trim().parse().unwrap(), Signal::SIGKILL);
}

#[test]
fn a_secret_is_found_in_whatever_form_it_is_written() {
    let place = Place::new();
    let mut db = command(env!("CARGO_BIN_EXE_db"));
    db.args([
        "configuration",
        "set",
        "svc",
        "service",
        "Password",
        "open\"ses\\ame",
        "Port",
        "8080",
    ]);
    run(place.settle(&mut db), 20).succeeded();
    place.db("configuration set DbPassword hunter22");
    place.db("configuration set sshd service PasswordAuthentication enabled");
    for (name, text, property) in [
        ("a.json", "{\"a\": {{ svc.Password }}}", "Password"),
        ("a.yaml", "a: {{ svc.Password }}\n", "Password"),
        ("systemd/system/a.service", "[Service]\nExecStart=/a {{ svc.Password }}\n", "Password"),
        ("a.conf", "{{ svc.Password | upper }}\n", "Password"),
        ("a.conf", "{{ svc | json_encode | safe }}\n", "Password"),
        (
            "a.conf",
            "{% for n, v in configuration.svc %}{{ v | reverse }}{% endfor %}\n",
            "Password",
        ),
        ("a.conf", "{{ DbPassword }}\n", "DbPassword"),
        ("a.json", "{{ DbPassword | truncate(length=3) }}", "DbPassword"),
    ] {
        let target = place.at("etc").join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        drop(fs::remove_file(&target));
        place.fragment(name, text);
        let ran = place.expand(&[&format!("/etc/{name}")]).succeeded();
        let mode = fs::metadata(target).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{text}");
        let ran = ran.complains_of(&["root alone", property]);
        assert!(!ran.stderr.contains("ses") && !ran.stderr.contains("hunter"), "{}", ran.stderr);
    }
    // Who only asks for its neighbours, or whether it is there, has none.
    let text = "{{ svc.Port }} {% if svc.Password %}y{% endif %} {{ sshd.PasswordAuthentication }} \
                {% for n, v in configuration %}{{ n }}{% endfor %}\n";
    place.fragment("app.conf/30", text);
    assert_eq!(place.expand(&["/etc/app.conf"]).succeeded().stderr, "");
    assert_eq!(fs::metadata(place.at("etc/app.conf")).unwrap().mode() & 0o7777, 0o644);
}

/// Names below `directory` that nobody should see.
fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(unfinished(&entry.path()));
        } else if name.starts_with(".wharf-") || name.ends_with(".wharf-new") {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn what_a_kill_has_left_goes_also_when_nothing_changes() {
    let place = Place::new();
    place.expand(&["/etc/app.conf"]).succeeded();
    // No process has so high a number.
    let left =
        ["var/lib/wharf", "var/lib/wharf/written"].map(|it| format!("{it}/.wharf-99999999.x"));
    for path in left.iter().map(String::as_str).chain(["etc/.app.conf.wharf-new"]) {
        fs::write(place.at(path), "half").unwrap();
    }
    let own = place.at(&format!("var/lib/wharf/.wharf-{}.x", std::process::id()));
    fs::write(&own, "half").unwrap();
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(unfinished(place.root.path()), std::slice::from_ref(&own));
    fs::remove_file(own).unwrap();
    fs::write(place.at("etc/.app.conf.wharf-new"), "half").unwrap();
    place.metadata("app.conf", "DELETE=1\n");
    place.expand(&["/etc/app.conf"]).succeeded();
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_a_write_that_was_killed_while_it_kept_a_copy() {
    if find("strace").is_none() {
        assert!(std::env::var_os("WHARF_REQUIRE_ENGINE").is_none(), "strace is needed");
        eprintln!("skipped: strace is not there");
        return;
    }
    let place = Place::new();
    let mut kills = 0;
    for when in 1..20 {
        fs::write(place.at("etc/app.conf"), format!("by hand {when}\n")).unwrap();
        let mut strace = command("strace");
        strace.args(["-qq", "-f", "-o", "/dev/null", "-e", "trace=fsync"]);
        strace.args(["-e", &format!("inject=fsync:signal=KILL:when={when}")]);
        strace.args([env!("CARGO_BIN_EXE_wharf"), "expand-template", "/etc/app.conf"]);
        if run(place.settle(&mut strace), 30).code == 0 {
            break;
        }
        kills += 1;
        place.expand(&["/etc/app.conf"]).succeeded();
        assert_eq!(place.target(), NEW, "{when}");
        assert_eq!(unfinished(place.root.path()), Vec::<PathBuf>::new(), "{when}");
        let kept = place.names().into_iter().filter(|name| name.contains(".wharf-save"));
        let kept = kept.map(|name| fs::read_to_string(place.at("etc").join(name)).unwrap());
        assert!(kept.into_iter().any(|text| text == format!("by hand {when}\n")), "{when}");
    }
    assert!(kills >= 4, "only {kills} kills");
}

#[test]
fn a_template_that_would_not_end_is_an_error() {
    let place = Place::new();
    let rounds =
        "{% for a in range(end=100000) %}{% for b in range(end=100000) %}{% endfor %}{% endfor %}";
    let twice = "{% set t = 'x' %}{% for a in range(end=99) %}{% set_global t = t ~ t %}{% endfor %}{{ t }}";
    for (text, words) in [(rounds, "it does too much"), (twice, "longer than 1 MiB")] {
        place.fragment("app.conf/30", text);
        let ran = place.expand(&["/etc/app.conf"]).ended_with(1);
        let ran = ran.complains_of(&["app.conf/30: ", words]);
        assert!(!ran.stderr.contains("'as "), "{}", ran.stderr);
    }
}

#[test]
fn two_templates_for_one_target_are_an_error_and_neither_is_written() {
    let place = Place::new();
    place.fragment("other.conf/10", "other\n");
    place.metadata("other.conf", "OUTPUT_FILENAME=/etc/app.conf\n");
    for (args, status) in
        [(vec!["/etc/app.conf", "/etc/other.conf"], 1), (vec!["/etc/app.conf"], 0)]
    {
        let ran = place.expand(&args).ended_with(status);
        assert_eq!(place.at("etc/app.conf").exists(), status == 0);
        if status == 1 {
            ran.complains_of(&["/etc/app.conf and /etc/other.conf", "OUTPUT_FILENAME"]);
        }
    }
    place.expand(&["/etc/app.conf", "/etc/app.conf"]).succeeded();
}

#[test]
fn a_copy_kept_aside_is_no_metadatum_and_lies_in_no_place_that_is_read_whole() {
    let place = Place::new();
    place.metadata("app.conf/PERMS", "0640");
    place.metadata("app.conf/PERMS.wharf-save", "0600");
    let ran = place.expand(&["/etc/app.conf"]).succeeded();
    assert!(!ran.stderr.contains("PERMS"), "{}", ran.stderr);
    for directory in ["pki/ca-trust/source/anchors", "sv/app/env"] {
        let at = place.at("etc").join(directory);
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("x"), "by hand\n").unwrap();
        place.fragment(&format!("{directory}/x/10"), "new\n");
        place.expand(&[&format!("/etc/{directory}/x")]).succeeded();
        assert_eq!(fs::read_dir(&at).unwrap().count(), 1, "{directory}");
    }
}

#[test]
fn a_key_that_is_no_text_is_there_in_a_loop_and_fails_what_writes_it() {
    let place = Place::new();
    let db = |bytes: &[u8]| {
        let mut db = command(env!("CARGO_BIN_EXE_db"));
        db.args(["networks", "set"])
            .arg(std::ffi::OsStr::from_bytes(bytes))
            .args(["network", "Mask", "m"]);
        run(place.settle(&mut db), 20).succeeded();
    };
    db(b"10.0.0.0");
    db(b"10.\xff.0.0");
    place.fragment(
        "app.conf/30net",
        "{% for k, v in databases.networks %}{{ v.Mask }}\n{% endfor %}",
    );
    place.expand(&["/etc/app.conf"]).succeeded();
    assert!(place.target().ends_with("m\nm\n"), "{}", place.target());
    place.fragment("app.conf/30net", "{% for k, v in databases.networks %}{{ k }}\n{% endfor %}");
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["networks", "10.", "UTF-8"]);
}

#[test]
fn a_name_that_is_too_long_is_told_before_anything_is_written() {
    let place = Place::new();
    let long = "x".repeat(241);
    place.metadata("app.conf", &format!("OUTPUT_FILENAME=/etc/{long}\n"));
    place.expand(&["/etc/app.conf"]).ended_with(1).complains_of(&["too long", "240"]);
    place.metadata("app.conf", &format!("OUTPUT_FILENAME=/etc/{}\n", &long[1..]));
    place.expand(&["/etc/app.conf"]).succeeded();
    place.fragment("app.conf/30more", "more\n");
    fs::write(place.at("etc").join(&long[1..]), "by hand\n").unwrap();
    place.expand(&["/etc/app.conf"]).succeeded().complains_of(&["by hand"]);
}
