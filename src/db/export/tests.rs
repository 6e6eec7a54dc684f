// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of what is written, of what is read, and that the one gives the other back.
//!
//! To add a text that has to be read or refused: a file in `tests/yaml/` and its line in
//! `tests/yaml/outcomes`; a value alone (as JSON): a line in `tests/yaml/values`.

mod property;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::db::{DbName, Record, Records};

/// How long the worst text of the tests may take, in a slow build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const HEAD: &str = "wharf-export: 1\ndatabases:\n";

type Databases = BTreeMap<DbName, Records>;

fn name(name: &str) -> DbName {
    DbName::try_from(name).unwrap()
}

fn databases(name: &str, records: &[(&str, &str)]) -> Databases {
    let mut all = Records::default();
    for (key, text) in records {
        all.insert(*key, Record::from_text(*text));
    }
    [(DbName::try_from(name).unwrap(), all)].into()
}

/// An export of one property, whose value stands in line 7.
fn with_value(value: &str) -> String {
    format!("{HEAD}  d:\n  - key: k\n    type: t\n    properties:\n      a: {value}\n")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/yaml")
}

/// The lines of a file of the corpus.
fn corpus(file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory().join(file)).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

/// What is read, one record a line, or the whole chain of the error.
fn outcome(text: &[u8]) -> String {
    match from_yaml(text) {
        Ok(databases) => {
            let shown = databases.iter().flat_map(|(name, records)| {
                let empty = records.is_empty().then(|| format!("{name}: nothing"));
                let lines = records.entries().map(move |(key, record)| {
                    let text = record.map(Record::text).unwrap_or_default();
                    format!("{name}: {:?} = {:?}", key.to_string(), text.to_string())
                });
                empty.into_iter().chain(lines)
            });
            let shown: Vec<_> = shown.collect();
            if shown.is_empty() { "no database".to_owned() } else { shown.join("; ") }
        }
        Err(error) => chain(&error),
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn restored(databases: &Databases) -> Databases {
    let yaml = to_yaml(databases);
    from_yaml(yaml.as_bytes()).unwrap_or_else(|error| panic!("{}\n{yaml}", chain(&error)))
}

#[test]
fn a_record_is_written_to_be_read_by_people() {
    let mut all = databases(
        "docker_containers",
        &[
            ("bytes", "t|a|\u{b5}|b|\u{202e}x"),
            ("lines", r"t|a!|1|a\nb|x \ny"),
            ("odd", "service|b|1|a|2"),
            ("scalar", "80"),
            (
                "wordpress",
                r"service|Env|A=1\nB=2|Image|nginx:1.27|TCPPort|80|n|it's|status|enabled",
            ),
        ],
    );
    all.insert(name("docker_images"), Records::default());
    all.insert(name("latin"), Records::parse(b"k=t|a|caf\xe9\nbare\n"));
    insta::assert_snapshot!(to_yaml(&all), @r#"
    wharf-export: 1
    databases:
      docker_containers:
      - key: bytes
        type: t
        properties:
          a: 'µ'
          b: "\u202ex"
      - key: lines
        type: t
        properties:
          "a\nb": "x \ny"
          'a!': '1'
      - key: odd
        text: service|b|1|a|2
      - key: scalar
        type: '80'
      - key: wordpress
        type: service
        properties:
          Env: |-
            A=1
            B=2
          Image: nginx:1.27
          TCPPort: '80'
          'n': 'it''s'
          status: enabled
      docker_images: []
      latin:
      - key: bare
        type: ''
      - key: k
        type: t
        properties:
          a: !!binary Y2Fm6Q==
    "#);
    assert_eq!(to_yaml(&Databases::new()), "wharf-export: 1\ndatabases: {}\n");
}

#[test]
fn what_yaml_would_take_for_something_else_comes_back_as_the_same_text() {
    for value in corpus("texts") {
        let value: String = serde_json::from_str(&value).unwrap();
        // Values with a pipe are possible only as the raw text of a record.
        let in_value = format!("t|a|{}|z|1", value.replace('\n', "\\n"));
        let texts = [
            (value.replace(['\n', '='], ""), in_value.clone()),
            ("in a name".to_owned(), format!("t|{}|1", value.replace('\n', "\\n"))),
            ("in the type".to_owned(), value.replace('\n', "\\n")),
            ("in a raw text".to_owned(), format!("t|b|1|a|{}", value.replace('\n', "\\n"))),
        ];
        let mut records = Records::default();
        for (key, text) in texts.iter().filter(|(key, _)| !key.trim_start().starts_with('#')) {
            records.insert(key.as_str(), Record::from_text(text.as_str()));
        }
        let all: Databases = [(
            name(&format!("d{}", value.replace(|c: char| c == '/' || c.is_control(), ""))),
            records,
        )]
        .into();
        assert_eq!(restored(&all), all, "{value:?}");
    }
}

/// A reader of another kind: types are guessed, and what is no text without quotes is no text.
#[test]
fn another_reader_takes_every_text_for_a_text() {
    #[derive(serde::Deserialize)]
    struct Export {
        databases: BTreeMap<String, Vec<Row>>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        key: String,
        r#type: Option<String>,
        text: Option<String>,
        #[serde(default)]
        properties: BTreeMap<String, String>,
    }
    for value in corpus("texts") {
        let value: String = serde_json::from_str(&value).unwrap();
        let stored = value.replace('\n', "\\n");
        let stored = format!("{stored}|{stored}|{stored}|~|1");
        let yaml = to_yaml(&databases("d", &[(&value, &stored)]));
        let options = serde_saphyr::options! { no_schema: true };
        let mut read: Export = serde_saphyr::from_str_with_options(&yaml, options).unwrap();
        let row = read.databases.get_mut("d").unwrap().pop().unwrap();
        assert_eq!(row.key, value, "{yaml}");
        if let Some(text) = row.text {
            assert_eq!(text, stored, "{yaml}");
        } else {
            assert_eq!(row.r#type.as_ref(), Some(&value), "{yaml}");
            assert_eq!(row.properties.get(&value), Some(&value), "{yaml}");
        }
    }
}

#[test]
fn a_name_longer_than_a_simple_key_comes_back() {
    let long = "n".repeat(3000);
    let text = format!("t|{long}|{long}|{}é|1", "0".repeat(1024));
    let all = databases(&long, &[(&long, &text)]);
    assert_eq!(restored(&all), all);
}

#[test]
fn a_database_without_records_is_kept() {
    let all: Databases = [(name("a"), Records::default()), (name("b"), Records::default())].into();
    assert_eq!(restored(&all), all);
}

#[test]
fn a_line_without_an_equals_sign_comes_back_as_a_record_with_an_empty_text() {
    let all: Databases = [(name("d"), Records::parse(b"bare\n= x \n  k  =t\n"))].into();
    let back = &restored(&all)[&name("d")];
    assert_eq!(back.render(), all[&name("d")].render());
    assert_eq!(back.get("bare").unwrap().text(), "");
}

#[test]
fn a_value_is_the_text_as_written_or_refused() {
    let differ: Vec<_> = corpus("values")
        .into_iter()
        .filter_map(|line| {
            let (value, _) = line.split_once(" -> ").unwrap();
            let text = with_value(&serde_json::from_str::<String>(value).unwrap());
            let found = outcome(text.as_bytes())
                .replace("d: \"k\" = \"t|a|", "\"")
                .replace("line 7, database 'd', record 'k', property 'a': ", "refused: ");
            let found = format!("{value} -> {found}");
            (found != line).then_some(found)
        })
        .collect();
    assert!(differ.is_empty(), "{} outcomes differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused_as_its_line_says() {
    let expected = corpus("outcomes");
    let mut found = Vec::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let mut outcome = outcome(&fs::read(&path).unwrap());
            if outcome.chars().count() > 300 {
                outcome = outcome.chars().take(80).collect::<String>() + "...";
            }
            found.push(format!("{} -> {outcome}", path.file_stem().unwrap().display()));
        }
    }
    let differ: Vec<_> = found.iter().filter(|line| !expected.contains(line)).cloned().collect();
    assert!(differ.is_empty(), "{} outcomes differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!(found.len(), expected.len(), "a line of outcomes has no file");
}

#[test]
fn a_hostile_text_is_refused_quickly_and_with_its_line() {
    let repeat = |piece: &str, times: usize| piece.repeat(times);
    let numbered = |row: fn(usize) -> String, rows: usize| (0..rows).map(row).collect::<String>();
    let laugh = |n| format!("  a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
    let laughs = (1..9).map(laugh).collect::<String>();
    let cases = [
        ("billion laughs", format!("{HEAD}  a0: &a0 [x,x,x]\n{laughs}"), "line 3"),
        ("a long text, often", with_value(&format!("&a '{}'", repeat("x", 100_000))), "line 7"),
        ("brackets", repeat("[", 10_000), "line 1"),
        ("closed brackets", with_value(&(repeat("[", 10_000) + &repeat("]", 10_000))), "line 7"),
        ("a mebibyte of brackets", repeat("[", 1 << 20), "line 1"),
        ("braces", repeat("{a: ", 10_000), "line 1"),
        ("dashes", repeat("- ", 10_000), "line 1"),
        ("dashes below a database", format!("{HEAD}  d: \n  {}", repeat("- ", 10_000)), "line 4"),
        ("question marks", repeat("? ", 10_000), "line 1"),
        ("steps", numbered(|n| format!("{}a:\n", " ".repeat(n)), 2000), "line 1"),
        ("explicit keys", repeat("? a\n", 100_000), "line 1"),
        ("documents", repeat("---\n", 100_000), "line 1"),
        ("directives", numbered(|n| format!("%TAG !a{n}! x\n"), 10_000), "line 10001"),
        ("a directive", format!("%TAG !a! {}\n---\n", repeat("x", 1 << 20)), "line 1"),
        ("a tag", with_value(&format!("!{} v", repeat("x", 1 << 20))), "line 7"),
        ("an anchor", with_value(&format!("&{} v", repeat("x", 1 << 20))), "line 7"),
        ("an alias", with_value(&format!("*{}", repeat("x", 1 << 20))), "line 7"),
        ("items", format!("{HEAD}  d: [{}]\n", repeat("a,", 500_000)), "line 3"),
        ("names", format!("{HEAD}  d: {{{}}}\n", repeat("a,", 500_000)), "line 3"),
        (
            "one name, often",
            with_value(&("x\n".to_owned() + &repeat("      a: x\n", 50_000))),
            "line 8",
        ),
        ("an open quote", with_value(&format!("\"{}", repeat("\n", 1 << 20))), "line 1048584"),
        ("NULs", repeat("\0", 1 << 20), "line 1"),
    ];
    for (what, text, line) in cases {
        let start = Instant::now();
        let outcome = outcome(text.as_bytes());
        assert!(start.elapsed() < PATIENCE, "{what} took {:?}", start.elapsed());
        let is_it = outcome.strip_prefix(line).is_some_and(|rest| rest.starts_with([',', ':']));
        assert!(is_it, "{what}: {outcome:.200}");
    }
}

#[test]
fn a_large_text_is_read_quickly() {
    let numbered = |row: fn(usize) -> String, rows: usize| (0..rows).map(row).collect::<String>();
    let cases = [
        ("properties", with_value("x") + &numbered(|n| format!("      b{n}: x\n"), 100_000)),
        (
            "records",
            HEAD.to_owned()
                + "  d:\n"
                + &numbered(|n| format!("  - {{key: {n}, type: t}}\n"), 50_000),
        ),
        ("databases", HEAD.to_owned() + &numbered(|n| format!("  d{n}: []\n"), 50_000)),
        ("a value", with_value(&"x".repeat(2 << 20))),
        ("a value of words", with_value(&("x ".repeat(1 << 20) + "x"))),
        ("a value of lines", with_value(&("|\n".to_owned() + &"        x\n".repeat(100_000)))),
        ("a value of escapes", with_value(&format!("\"{}\"", "\\x41".repeat(1 << 19)))),
        ("a comment", with_value("x") + "#" + &"x".repeat(2 << 20)),
        ("comments", with_value("x") + &"#\n".repeat(500_000)),
        ("blank lines", "\n".repeat(1 << 20) + &with_value("x")),
        ("blanks", with_value(&(" ".repeat(2 << 20) + "x"))),
    ];
    for (what, text) in cases {
        let start = Instant::now();
        let read = from_yaml(text.as_bytes());
        assert!(start.elapsed() < PATIENCE, "{what} took {:?}", start.elapsed());
        assert!(read.is_ok(), "{what}: {:.200}", chain(&read.unwrap_err()));
    }
}

#[test]
fn a_message_is_one_line_that_a_terminal_can_show() {
    let hostile = format!("\"\\e[2J\\n\\u202e{}|\"", "x".repeat(1 << 20));
    let outcomes = [
        outcome(with_value(&hostile).as_bytes()),
        outcome(format!("{HEAD}  d:\n  - key: {hostile}\n    type: t\n    type: t\n").as_bytes()),
        outcome(format!("{HEAD}  ? {hostile}\n  : 1\n").as_bytes()),
        outcome(format!("wharf-export: {hostile}\n").as_bytes()),
        outcome(format!("? {hostile}\n: 1\n").as_bytes()),
    ];
    for outcome in outcomes {
        assert!(outcome.starts_with("line "), "{outcome}");
        assert!(outcome.chars().count() < 800, "{} characters", outcome.chars().count());
        assert!(outcome.chars().all(write::is_visible), "{outcome:?}");
    }
}

#[test]
fn no_more_than_the_limit_is_read() {
    struct Counted(usize);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'x');
            self.0 += buffer.len();
            Ok(buffer.len())
        }
    }
    // Without an end; a gibibyte is no different.
    let mut reader = Counted(0);
    assert!(matches!(read(&mut reader), Err(Error::TooLong)));
    assert!(reader.0 <= MAX_BYTES + 1, "{} bytes were taken", reader.0);

    let text = vec![b'x'; MAX_BYTES];
    assert_eq!(read(text.as_slice()).unwrap().len(), MAX_BYTES);
    let text = vec![b'x'; MAX_BYTES + 1];
    assert!(matches!(from_yaml(&text), Err(Error::TooLong)));
    assert_eq!(
        chain(&Error::TooLong),
        "the export is longer than 16 MiB, the most that is read: import its databases in parts"
    );
}

#[test]
fn a_reader_that_fails_is_an_error_with_its_cause() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    assert_eq!(chain(&read(Broken).unwrap_err()), "cannot read the export: the disk is gone");
}
