// SPDX-License-Identifier: GPL-2.0-or-later

//! Units and environment files: a reader of our own, as no booted systemd is at hand in each run.
//!
//! The readers follow `env-file.c`, `conf-parser.c`, `extract-word.c` and the two expansions of
//! systemd; by hand they were compared with systemd itself, over all values of the long run.

use std::collections::BTreeMap;

use super::*;

/// The variables of an `EnvironmentFile=`.
pub(super) fn environment_file(text: &str) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut rest = text.chars().peekable();
    let breaks = |c: char| matches!(c, '\n' | '\r');
    while let Some(c) = rest.next() {
        if c.is_ascii_whitespace() {
            continue;
        }
        if matches!(c, '#' | ';') {
            while rest.next().is_some_and(|c| !breaks(c)) {}
            continue;
        }
        let mut name = String::from(c);
        name.extend(std::iter::from_fn(|| rest.next_if(|c| *c != '=' && !breaks(*c))));
        if rest.next() == Some('=') {
            variables.push((name, variable(&mut rest)));
        }
    }
    variables
}

/// The text behind the equals sign; quotes count where no word has begun.
fn variable(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut value = String::new();
    let mut word = false;
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' => break,
            '\'' if !word => value.extend(rest.by_ref().take_while(|c| *c != '\'')),
            '"' if !word => {
                while let Some(c) = rest.next().filter(|c| *c != '"') {
                    match (c, rest.peek()) {
                        ('\\', Some('"' | '\\' | '`' | '$')) => value.extend(rest.next()),
                        ('\\', Some('\n')) => drop(rest.next()),
                        _ => value.push(c),
                    }
                }
            }
            '\\' => {
                word = true;
                value.extend(rest.next().filter(|c| !matches!(c, '\n' | '\r')));
            }
            ' ' | '\t' if !word => {}
            _ => {
                word = true;
                value.push(c);
            }
        }
    }
    if word { value.trim_end_matches([' ', '\t']).to_owned() } else { value }
}

/// The words of the text behind a key.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let mut word: Option<Vec<u8>> = None;
        let mut quote = None;
        while let Some(c) = rest.next() {
            match (quote, c) {
                (Some(open), c) if open == c => quote = None,
                (None, '"' | '\'') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, ' ' | '\t') => break,
                (_, '\\') => escape(&mut rest, word.get_or_insert_default()),
                (_, c) => {
                    let mut bytes = [0; 4];
                    word.get_or_insert_default().extend(c.encode_utf8(&mut bytes).bytes());
                }
            }
        }
        assert_eq!(quote, None, "an open quote: {text}");
        words.extend(word.map(|word| String::from_utf8(word).unwrap()));
    }
    words
}

fn escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut Vec<u8>) {
    match rest.next().unwrap() {
        'a' => word.push(7),
        'b' => word.push(8),
        'f' => word.push(12),
        'n' => word.push(b'\n'),
        'r' => word.push(b'\r'),
        't' => word.push(b'\t'),
        'v' => word.push(11),
        quote @ ('"' | '\'') => word.push(u8::try_from(quote).unwrap()),
        '\\' => word.push(b'\\'),
        'x' => {
            let digits: String = rest.by_ref().take(2).collect();
            word.push(u8::from_str_radix(&digits, 16).unwrap());
        }
        'u' => {
            let digits: String = rest.by_ref().take(4).collect();
            let c = char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap();
            word.extend(c.to_string().bytes());
        }
        other => panic!("an escape that is not ours: {other}"),
    }
}

/// `word` behind its specifiers, of which only `%%` may be there.
fn specified(word: &str) -> String {
    let text = word.replace("%%", "\u{1}p");
    assert!(!text.contains('%'), "a specifier: {word:?}");
    text.replace("\u{1}p", "%")
}

/// `word` behind its variables, of which only `$$` may be there.
fn without_variables(word: &str) -> String {
    let text = word.replace("$$", "\u{1}d");
    assert!(!text.contains('$'), "a variable: {word:?}");
    text.replace("\u{1}d", "$")
}

/// The words behind `key=` in the lines of a unit, with what the unit adds around each value.
fn read(text: &str, key: &str, last: impl Fn(Vec<String>) -> String) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix(key))
        .map(|line| last(words(line).iter().map(|word| specified(word)).collect()))
        .collect()
}

#[test]
fn every_value_comes_back_from_a_unit_and_makes_no_other_line() {
    let directory = tempfile::tempdir().unwrap();
    let values: Vec<String> =
        values().into_iter().filter(|value| !value.contains('\u{1}')).collect();
    for (name, line) in [
        ("exec-bare", "ExecStart=/bin/true ¤\n"),
        ("exec-double", "ExecStart=/bin/true \"¤\"\n"),
        ("exec-single", "ExecStart=/bin/true '¤'\n"),
        ("exec-colon", "ExecStart=:/bin/true ¤\n"),
        ("environment", "Environment=\"V№=¤\"\n"),
        ("environment-bare", "Environment=V№=¤\n"),
        ("description", "Description=x¤\n# ¤\n"),
    ] {
        let head = "[Unit]\nDescription=x\n[Service]\nType=oneshot\n";
        let head = if name == "description" { "[Unit]\n" } else { head };
        let sheet = Sheet::new(Format::Systemd, head, line, &values);
        let lines = head.lines().count() + sheet.held.len() * line.lines().count();
        assert_eq!(sheet.text.split(['\n', '\r', '\0']).count() - 1, lines);
        sheet.write(directory.path(), &format!("unit-{name}"));
        let found = match name {
            "environment" | "environment-bare" => read(&sheet.text, "Environment=", |words| {
                assert_eq!(words.len(), 1);
                words[0].split_once('=').unwrap().1.to_owned()
            }),
            "description" => sheet
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("Description=x"))
                .map(specified)
                .collect(),
            "exec-colon" => read(&sheet.text, "ExecStart=:", |words| words[1].clone()),
            _ => read(&sheet.text, "ExecStart=", |words| {
                assert_eq!(words.len(), 2, "{words:?}");
                without_variables(&words[1])
            }),
        };
        sheet.assert_read(&found, str::to_owned);
    }
}

#[test]
fn systemd_analyze_has_no_complaint_about_a_unit_of_odd_values() {
    if !can_run(&["systemd-analyze"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let head = "[Service]\nType=oneshot\nEnvironment=";
    let line = "\\\n \"V№=¤\" ";
    let values: Vec<String> = values().into_iter().take(1000).collect();
    let environment = Sheet::new(Format::Systemd, head, line, &values);
    let head = format!("{}\n", environment.text);
    let sheet = Sheet::new(Format::Systemd, &head, "ExecStart=/bin/true ¤ \"x¤\" '¤'\n", &values);
    let file = sheet.write(directory.path(), "odd.service");
    output("systemd-analyze", &["verify", "--man=no", file.to_str().unwrap()]);

    std::fs::write(&file, "[Service]\nExecStart=/bin/true \"a\nEvil\n").unwrap();
    let complained = process::command("systemd-analyze")
        .args(["verify", "--man=no", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!complained.stderr.is_empty(), "it would not complain of anything");
}

/// The words of `ExecStart=` in what Quadlet makes of the file `name` with `text`; `None`: podman is older than
/// Quadlet's words, and `WHARF_QUADLET_ROOT` names no root of a system with podman 5.
fn quadlet(name: &str, text: &str) -> Option<Vec<String>> {
    let generator = "/usr/lib/systemd/system-generators/podman-system-generator";
    let root = std::env::var("WHARF_QUADLET_ROOT").ok();
    let root = root.as_deref().unwrap_or("/");
    if !Path::new(&format!("{root}{generator}")).exists() {
        assert!(root == "/", "{root} has no generator of Quadlet");
        return None;
    }
    let directory = tempfile::tempdir_in(format!("{root}/tmp")).unwrap();
    std::fs::write(directory.path().join(name), text).unwrap();
    let inside = Path::new("/").join(directory.path().strip_prefix(root).unwrap());
    let mut command = process::command("chroot");
    command.args([root, generator, "--dryrun", "--no-kmsg-log"]).env("QUADLET_UNIT_DIRS", inside);
    let output = command.output().unwrap();
    let (said, made) = (String::from_utf8_lossy(&output.stderr), String::from_utf8(output.stdout));
    assert!(output.status.success(), "{said}");
    let made = made.unwrap();
    let line = made.lines().find_map(|line| line.strip_prefix("ExecStart="));
    Some(words(line.unwrap_or_else(|| panic!("no ExecStart: {said}"))))
}

/// Every value goes through the words of a Quadlet file, and through those of the unit that Quadlet makes.
#[test]
fn every_value_comes_back_from_a_quadlet_and_makes_no_other_option() {
    let values: Vec<String> =
        values().into_iter().filter(|value| !value.contains('\u{1}')).collect();
    let mut asked = 0;
    for (key, line) in [
        ("Environment", "Environment=V№=¤\n"),
        ("Environment", "Environment=\"V№=¤\"\n"),
        ("Label", "Label='V№=¤'\n"),
        ("Annotation", "Annotation=V№=¤\n"),
        ("PodmanArgs", "PodmanArgs=--x=V№=¤\n"),
    ] {
        let sheet = Sheet::new(Format::Systemd, "[Container]\nImage=x\n", line, &values);
        assert_eq!(sheet.text.lines().count(), sheet.held.len() + 2);
        let known = |words: Vec<String>| -> BTreeMap<usize, String> {
            // Quadlet's own words have specifiers and variables.
            let pair = |word: &String| {
                let (name, value) = word.strip_prefix("--x=").unwrap_or(word).split_once('=')?;
                let number = name.strip_prefix('V')?.parse().ok()?;
                Some((number, without_variables(&specified(value))))
            };
            words.iter().filter_map(pair).collect()
        };
        let lines = sheet.text.lines().filter_map(|text| text.strip_prefix(&format!("{key}=")));
        let own: Vec<String> = lines.flat_map(words).collect();
        assert_eq!(own.len(), sheet.held.len(), "{line}: a value is more than a word");
        let own: Vec<String> = known(own).into_values().collect();
        sheet.assert_read(&own, str::to_owned);

        let Some(made) = quadlet("odd.container", &sheet.text) else { continue };
        let plain = quadlet("odd.container", "[Container]\nImage=x\n").unwrap();
        let each = if key == "PodmanArgs" { 1 } else { 2 };
        assert_eq!(made.len(), plain.len() + each * sheet.held.len(), "{line}: another option");
        let found: Vec<String> = known(made).into_values().collect();
        sheet.assert_read(&found, str::to_owned);
        asked += 1;
    }
    if asked == 0 {
        let told = "skipped: Quadlet was not asked: no podman 5 here; see WHARF_QUADLET_ROOT";
        drop(writeln!(std::io::stderr(), "{told}"));
    }
}
