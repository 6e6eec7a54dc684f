// SPDX-License-Identifier: GPL-2.0-or-later

//! YAML and JSON, read by Python, whose YAML is 1.1; the crate's own readers are in the unit tests.

use super::*;

/// Prints the texts of a list, and fails when one is no text.
const PYTHON: &str = "\
import json, sys, yaml
with open(sys.argv[1], encoding='utf-8', newline='') as file:
    read = json.load if sys.argv[2] == 'json' else yaml.safe_load
    for text in read(file):
        if isinstance(text, dict):
            (key, text), = text.items()
            assert key == text
        assert isinstance(text, str), text
        sys.stdout.buffer.write(text.encode() + b'\\0')
";

fn has_yaml() -> bool {
    let python = process::command("python3").args(["-c", "import yaml"]).output();
    let has = python.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    assert!(has || !required, "WHARF_REQUIRE_ENGINE is set, but Python's yaml is not installed");
    if !has {
        drop(writeln!(std::io::stderr(), "skipped: Python's yaml is not installed"));
    }
    has
}

#[test]
fn python_reads_back_every_value_as_text() {
    if !has_yaml() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let values = values();
    for (name, head, line) in [
        ("yaml-bare", "", "- ¤\n"),
        ("yaml-key", "", "- ¤: ¤ # ¤\n"),
        ("yaml-double", "", "- \"x¤y\" # ¤\n"),
        ("yaml-single", "", "- 'x¤y'\n"),
        ("yaml-plain", "", "- x-¤\n"),
        ("yaml-flow", "[\n", "{¤: ¤},\n"),
        ("yaml-block", "", "- |-\n  x¤y\n"),
        ("yaml-folded", "", "- >-\n    ¤\n"),
        ("json-bare", "[\n", "¤,\n"),
        ("json-key", "[\n", "{¤: ¤},\n"),
        ("json-inside", "[\n", "\"x¤y\",\n"),
    ] {
        let format = if name.starts_with("json") { Format::Json } else { Format::Yaml };
        // The bracket is closed behind all, so that each line can be tried alone.
        let mut sheet = if head.is_empty() {
            Sheet::new(format, head, line, &values)
        } else {
            Sheet::new(format, "", line, &values)
        };
        if !head.is_empty() {
            let text = sheet.text.trim_end_matches(",\n");
            sheet.text = format!("[\n{text}\n]\n");
        }
        let file = sheet.write(directory.path(), name);
        let kind = &name[..4];
        let found = texts(&output("python3", &["-c", PYTHON, file.to_str().unwrap(), kind]));
        sheet.assert_read(&found, |value| match name {
            "yaml-double" | "yaml-single" | "yaml-block" | "json-inside" => format!("x{value}y"),
            "yaml-plain" => format!("x-{value}"),
            _ => value.to_owned(),
        });
    }
}
