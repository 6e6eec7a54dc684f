// SPDX-License-Identifier: GPL-2.0-or-later

//! Scripts and sysconfig files, read by dash and bash; strace counts what they start.

use std::path::Path;

use super::*;

/// What `shell` prints for `script`; it must be all that it does.
fn run(shell: &str, script: &Path) -> Vec<String> {
    let script = script.to_str().unwrap();
    let trace = format!("{script}.trace");
    let calls = "trace=execve,execveat,clone,clone3,fork,vfork,unlink,unlinkat,mkdir,rename";
    let printed = output("strace", &["-f", "-qq", "-o", &trace, "-e", calls, shell, script]);
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(trace.lines().count(), 1, "{shell} started something:\n{trace}");
    texts(&printed)
}

#[test]
fn dash_and_bash_read_back_every_value_and_start_nothing() {
    if !can_run(&["dash", "bash", "strace"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let head = "p() { printf '%s\\0' \"$@\"; }\n";
    for (name, line) in [
        ("bare", "p ¤\n"),
        ("inside", "p x¤y # $(\n"),
        ("assigned", "x=¤; p \"$x\"\n"),
        ("double", "p \"x¤y\"\n"),
        ("single", "p 'x¤y'\n"),
        ("both", "x=\"$HOME/$(:)\" y=`:`; p \"x\"¤'y'\n"),
        ("case", "case ¤ in ¤) p ¤ ;; esac\n"),
        ("comment", "p ¤ # ¤ $(touch evil)\n"),
    ] {
        let sheet = Sheet::new(Format::Shell, head, line, &values());
        let file = sheet.write(directory.path(), &format!("shell-{name}"));
        for shell in ["dash", "bash"] {
            let found = if name == "both" {
                texts(&output(shell, &[file.to_str().unwrap()]))
            } else {
                run(shell, &file)
            };
            let framed = matches!(name, "inside" | "double" | "single" | "both");
            sheet.assert_read(
                &found,
                |value| {
                    if framed { format!("x{value}y") } else { value.to_owned() }
                },
            );
        }
    }
}

#[test]
fn sysconfig_is_the_same_to_dash_bash_and_systemd() {
    if !can_run(&["dash", "bash", "strace"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, line) in [
        ("bare", "V№=¤\n"),
        ("double", "V№=\"¤\"\n"),
        ("single", "V№='¤'\n"),
        ("inside", "V№=\"x¤y\" \n"),
        ("word", "V№=x¤y\n"),
        ("comment", "# ¤\nV№=\"¤\"\n# ¤\n"),
    ] {
        let sheet = Sheet::new(Format::Sysconfig, "", line, &values());
        let lines = sheet.held.len() * line.matches('\n').count();
        assert_eq!(sheet.text.matches('\n').count(), lines, "a value makes another line");
        let file = sheet.write(directory.path(), &format!("sysconfig-{name}"));
        let framed = matches!(name, "inside" | "word");
        let expected = |value: &str| if framed { format!("x{value}y") } else { value.to_owned() };

        let variables = super::systemd::environment_file(&sheet.text);
        let (names, found): (Vec<String>, Vec<String>) = variables.into_iter().unzip();
        sheet.assert_read(&found, expected);
        let mut script = format!(". {}\nprintf '%s\\0'", file.display());
        for name in names {
            let _ = write!(script, " \"${name}\"");
        }
        let source = directory.path().join("source");
        std::fs::write(&source, script).unwrap();
        for shell in ["dash", "bash"] {
            sheet.assert_read(&run(shell, &source), expected);
        }
    }
}

/// What `shell` prints for `script`, whatever it thinks of it; it finds no program.
fn printed(shell: &Path, script: &str, directory: &Path) -> Vec<u8> {
    let head = "p() { printf '%s\\0' \"$@\"; }\n";
    let file = directory.join("script");
    std::fs::write(&file, format!("{head}{script}")).unwrap();
    let mut command = process::command(shell);
    command.arg(&file).current_dir(directory).env("PATH", "/nowhere");
    command.output().unwrap().stdout
}

/// Of these the scripts are made.
const PIECES: &[&str] = &[
    "p ",
    "p ",
    "¤",
    "¤",
    "¤",
    " ",
    "\n",
    "\"",
    "\"",
    "'",
    "'",
    "\\",
    "$",
    "$(",
    ")",
    "(",
    "`",
    "#",
    ";",
    "{",
    "}",
    "${HOME",
    "${x:-",
    "<<E\n",
    "<<-'E'\n",
    "\nE\n",
    "a",
    "=",
    "case a in a)",
    ";; esac",
    "$((1",
    "$HOME",
    "$'",
    "\t",
    "-",
    "[",
    "]",
    "!",
    "p \"",
    "p '",
    "\"$(p ",
    "\nEOF",
];
/// The value with which the others are compared.
const HARMLESS: &str = "qzq";

/// A script of random pieces, but for the number of a process, which is never the same.
fn script(random: &mut Random) -> String {
    let count = 3 + random.below(22);
    let script: String = (0..count).map(|_| PIECES[random.below(PIECES.len())]).collect();
    script.replace("$$", "$") + "\np end\n"
}

/// `script` with `value`, when it can have one.
fn with(script: &str, value: &str) -> Option<String> {
    Weaver::new(Format::Shell).weave(&script.replace('¤', &mark(value))).ok()
}

/// A script does with any value what it does with a harmless one.
#[test]
fn the_position_is_right_in_scripts_of_random_pieces() {
    if !can_run(&["dash", "bash"]) {
        return;
    }
    let shells: Vec<_> = ["dash", "bash"].into_iter().filter_map(process::find).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(0x5eed_0002);
    let (mut tried, mut wrong) = (0, Vec::new());
    // Nothing can be a part of another word, and NUL is in none.
    let values = values();
    for value in values.iter().filter(|value| !value.is_empty() && !value.contains('\0')) {
        let script = script(&mut random);
        let (Some(plain), Some(odd)) = (with(&script, HARMLESS), with(&script, value)) else {
            continue;
        };
        tried += usize::from(script.contains('¤'));
        for shell in &shells {
            let plain = printed(shell, &plain, directory.path());
            let expected = String::from_utf8_lossy(&plain).replace(HARMLESS, value);
            if expected != String::from_utf8_lossy(&printed(shell, &odd, directory.path())) {
                wrong.push(format!("{}: {script:?} with {value:?}", shell.display()));
            }
        }
    }
    assert!(tried > values.len() / 20, "only {tried} scripts took a value");
    assert!(wrong.is_empty(), "{} of {tried} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(!directory.path().join("evil").exists(), "a value was run");
}
