// SPDX-License-Identifier: GPL-2.0-or-later

//! The manual says what the program has, and `make install` puts everything where it belongs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::lab::process::{Ran, command, find, run};

fn wharf(arguments: &[&str]) -> String {
    let mut command = command(env!("CARGO_BIN_EXE_wharf"));
    command.args(arguments).env("WHARF_ROOT", "/nonexistent");
    run(&mut command, 20).succeeded().stdout
}

fn pages() -> Vec<String> {
    wharf(&["manual"]).lines().map(str::to_owned).collect()
}

/// `page` as a reader sees it, without the dashes and quotes of typesetting.
fn read(page: &str) -> String {
    wharf(&["manual", page]).replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
}

#[test]
fn every_page_is_understood_by_groff() {
    let groff = find("groff").expect("there is no groff to try");
    for page in pages().iter().filter(|page| *page != "config.1") {
        let mut command = command(&groff);
        command.args(["-man", "-Tutf8", "-ww", "-z"]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let text = wharf(&["manual", page]);
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let said = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // A word that is longer than a line is no fault of the page.
        let faults: Vec<_> = said.lines().filter(|line| !line.contains("break line")).collect();
        assert!(faults.is_empty(), "{page}: {faults:?}");
        let gap = ["@commands@", "@records@", "@settings@", "@version@"];
        assert!(!gap.iter().any(|word| text.contains(word)), "{page} has a gap");
    }
}

#[test]
fn the_pages_name_all_that_there_is() {
    let commands = read("wharf.8");
    let help = wharf(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed: Vec<_> = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(listed.len() > 20, "{help}");
    for name in listed {
        assert!(commands.contains(&format!(".SS \"wharf {name}")), "{name} is not in wharf(8)");
    }

    let settings = include_str!("../../sysconfig/sysconfig.wharf");
    let settings: Vec<_> = settings
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    assert!(settings.len() > 8);
    for (name, _) in settings {
        assert!(commands.contains(&format!("\n{name}\n")), "{name} is not in wharf(8)");
    }

    let records = read("wharf-records.5");
    for database in ["docker_containers", "docker_images", "configuration"] {
        let table: serde_json::Value =
            serde_json::from_str(&wharf(&["schema", database, "--json"])).unwrap();
        for record_type in table["types"].as_array().unwrap() {
            for property in record_type["properties"].as_array().unwrap() {
                let name = property["name"].as_str().unwrap();
                assert!(
                    records.contains(&format!("\n{name} ")),
                    "{name} is not in wharf-records(5)"
                );
            }
        }
    }

    let verbs = read("db.1");
    let mut db = command(env!("CARGO_BIN_EXE_db"));
    let usage = run(db.env("WHARF_ROOT", "/nonexistent"), 20).stderr;
    let named: Vec<_> =
        usage.lines().filter_map(|line| line.trim().strip_prefix("db dbfile ")).collect();
    assert!(named.len() > 15, "{usage}");
    for verb in named.iter().filter_map(|line| line.split(' ').next()) {
        assert!(
            verbs.contains(&format!("B {verb}")) || verbs.contains(&format!(", {verb}")),
            "{verb} is not in db(1)"
        );
    }

    let options = read("expand-template.8");
    let mut expand = command(env!("CARGO_BIN_EXE_wharf"));
    let usage = run(expand.args(["expand-template"]), 20).stderr;
    let named: BTreeSet<_> =
        usage.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(named.len() > 4, "{usage}");
    for option in named {
        let option = option.trim_end_matches([',', ';', '.']);
        assert!(options.contains(option), "{option} is not in expand-template(8)");
    }
}

/// Everything below `directory` that is no directory, as paths from there.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found
}

/// A place to install what was built for the tests into.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let built = place.path().join("built");
    fs::create_dir(&built).unwrap();
    // The release program is not what a test builds.
    symlink(Path::new(env!("CARGO_BIN_EXE_wharf")).parent().unwrap(), built.join("release"))
        .unwrap();
    place
}

/// `make TARGET VARIABLE=VALUE...`, into `dest` of `place`.
fn make_at(place: &Path, target: &str, more: &[&str]) -> Ran {
    let mut make = command("make");
    make.args(["--no-print-directory", "-C", env!("CARGO_MANIFEST_DIR"), target]);
    make.arg(format!("DESTDIR={}", place.join("dest").display()));
    make.arg(format!("CARGO_TARGET_DIR={}", place.join("built").display()));
    run(make.args(more).env_remove("MAKEFLAGS"), 60)
}

#[test]
fn an_installation_is_whole_and_goes_but_for_the_settings() {
    let place = place();
    let dest = place.path().join("dest");
    let make = |target: &str| {
        make_at(place.path(), target, &["TOOLDIR=/usr/libexec/wharf", "RCLINKS=yes"])
    };
    make("install").succeeded();

    let found = files(&dest);
    for name in [
        "usr/sbin/wharf",
        "usr/sbin/wharfd",
        "usr/sbin/rcwharfd",
        "usr/libexec/wharf/signal-event",
        "usr/libexec/wharf/config",
        "usr/lib/systemd/system/wharfd.service",
        "usr/lib/systemd/system/wharf-guard.service",
        "usr/lib/systemd/system/wharf-reconcile.timer",
        "usr/lib/systemd/system-preset/90-wharf.preset",
        "usr/lib/tmpfiles.d/wharf.conf",
        "usr/lib/sysusers.d/wharf.conf",
        "usr/share/dbus-1/system.d/io.github.wharfd.Manager1.conf",
        "usr/share/dbus-1/system-services/io.github.wharfd.Manager1.service",
        "usr/share/polkit-1/actions/io.github.wharfd.policy",
        "usr/share/polkit-1/rules.d/50-wharf.rules",
        "usr/share/man/man8/wharf.8",
        "usr/share/man/man5/wharf-records.5",
        "usr/share/wharf/db-schema/docker_containers.yaml",
        "usr/share/wharf/templates/etc/wharf/guard.nft/20sets",
        "usr/share/bash-completion/completions/db",
        "etc/sysconfig/wharf",
    ] {
        assert!(found.contains(Path::new(name)), "{name} is missing: {found:?}");
    }
    // A link leads to the program from wherever it is.
    let mut tool = command(dest.join("usr/libexec/wharf/expand-template"));
    run(&mut tool, 20).ended_with(2).complains_of(&["usage: expand-template"]);
    let mut daemon = command(dest.join("usr/sbin/wharfd"));
    run(daemon.arg("--help"), 20).succeeded();

    let settings = dest.join("etc/sysconfig/wharf");
    fs::write(&settings, "WHARF_INTERVAL=\"7\"\n").unwrap();
    make("install").succeeded();
    assert_eq!(fs::read_to_string(&settings).unwrap(), "WHARF_INTERVAL=\"7\"\n");

    // The list that the installation has left says what goes, whatever is said now.
    make_at(place.path(), "uninstall", &[]).succeeded();
    assert_eq!(files(&dest), BTreeSet::from([PathBuf::from("etc/sysconfig/wharf")]));
}

#[test]
fn what_another_version_has_installed_goes_too() {
    let place = place();
    let dest = place.path().join("dest");
    let make = |target: &str| make_at(place.path(), target, &[]);
    make("install").succeeded();
    let list = dest.join("usr/share/wharf/manifest");
    let add = |file: &Path, path: &str| {
        fs::write(file, "").unwrap();
        let text = fs::read_to_string(&list).unwrap() + path;
        let lines: BTreeSet<&str> = text.lines().collect();
        let lines: Vec<&str> = lines.into_iter().collect();
        fs::write(&list, lines.join("\n") + "\n").unwrap();
    };
    let gone = dest.join("usr/share/wharf/templates/gone");
    add(&gone, "/usr/share/wharf/templates/gone");
    make("install").succeeded();
    assert!(!gone.exists(), "it is left for ever");

    let kept = place.path().join("kept");
    add(&kept, "/usr/../../kept");
    add(&gone, "/usr/share/wharf/templates/gone");
    make("uninstall").succeeded().complains_of(&["/usr/../../kept", "is not removed"]);
    assert!(kept.exists());
    assert_eq!(files(&dest), BTreeSet::from([PathBuf::from("etc/sysconfig/wharf")]));

    // One that wrote no list.
    make("install").succeeded();
    fs::remove_file(&list).unwrap();
    make("uninstall").succeeded();
    assert_eq!(files(&dest), BTreeSet::from([PathBuf::from("etc/sysconfig/wharf")]));
}

#[test]
fn an_installation_without_a_build_says_so() {
    let place = tempfile::tempdir().unwrap();
    let mut make = command(find("make").expect("there is no make"));
    make.args(["--no-print-directory", "-C", env!("CARGO_MANIFEST_DIR"), "install"]);
    make.arg(format!("DESTDIR={}", place.path().join("dest").display()));
    make.arg(format!("CARGO_TARGET_DIR={}", place.path().display()));
    let ran = run(make.env_remove("MAKEFLAGS"), 60);
    ran.ended_with(2).complains_of(&["is not there", "hint: make build"]);
    assert!(!place.path().join("dest").exists());
}
