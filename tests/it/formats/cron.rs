// SPDX-License-Identifier: GPL-2.0-or-later

//! Crontabs: cron's own pass over a command, by `crontab(5)`, and then a shell.

use super::*;

/// What cron gives to the shell: up to the first `%` without a backslash before it.
///
/// Vixie cron of old takes the first of two backslashes away, too; others leave both.
fn command(line: &str, both: bool) -> String {
    let mut command = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('%', _) => break,
            ('\\', Some('%')) => command.extend(rest.next()),
            ('\\', Some('\\')) if !both => command.extend(rest.next()),
            ('\\', Some(_)) => {
                command.push(c);
                command.extend(rest.next());
            }
            _ => command.push(c),
        }
    }
    command
}

#[test]
fn a_command_of_a_crontab_gets_every_value() {
    if !can_run(&["dash"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, line) in [
        ("bare", "5 4 * * * root p ¤\n# ¤\n"),
        ("double", "@daily www-data p \"¤\" # ¤\n"),
        ("single", "*/5\t4-5 1 * * root  p '¤'\n"),
    ] {
        let sheet = Sheet::new(Format::Cron, "MAILTO=\"\"\n", line, &values());
        let lines = 1 + sheet.held.len() * line.lines().count();
        assert_eq!(sheet.text.matches('\n').count(), lines);
        let file = sheet.write(directory.path(), &format!("cron-{name}"));
        for both in [true, false] {
            let mut script = "p() { printf '%s\\0' \"$@\"; }\n".to_owned();
            for line in sheet.text.lines().filter(|line| !line.starts_with(['#', 'M'])) {
                assert!(line.len() < 1000, "longer than cron takes: {line}");
                let (_, own) = line.split_once("p ").unwrap();
                let _ = writeln!(script, "p {}", command(own, both));
            }
            std::fs::write(&file, script).unwrap();
            let found = texts(&output("dash", &[file.to_str().unwrap()]));
            sheet.assert_read(&found, str::to_owned);
        }
    }
}
