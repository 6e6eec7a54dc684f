// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

//! A value of each kind of `db-schema/`: the kind and the parser agree, and what was read is read
//! the same from the text that it is shown as.
//!
//! Input: the name of the kind, a newline, the text.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::sync::OnceLock;

use wharf::db::schema::{Kind, Schema};
use wharf::db::value::{self, Parsed};
use wharf_fuzz::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus { run(data) });

fn run(data: &[u8]) -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    let Some((name, text)) = text.split_once('\n') else { return Corpus::Reject };
    let Some(kinds) = kinds().get(name) else { return Corpus::Reject };
    for kind in kinds {
        let judged = kind.check(text);
        let is_right = judged.is_ok();
        // A message is read by a person, however long the value is.
        assert!(judged.is_ok() || judged.is_err_and(|bad| bad.to_string().len() < 1000));
        match kind {
            Kind::Choice(words) => {
                assert_eq!(is_right, words.iter().any(|word| word == text));
            }
            Kind::Integer { min, max } => {
                let found = value::integer(text, *min, *max);
                assert_eq!(is_right, found.is_ok());
                back(found, i64::to_string, &|text| value::integer(text, *min, *max));
            }
            Kind::Seconds { min } => {
                let found = value::seconds(text);
                assert_eq!(is_right, found.as_ref().is_ok_and(|time| time.as_secs() >= *min));
                back(found, |time| format!("{}s", time.as_secs()), &value::seconds);
            }
            Kind::Plain(plain) => assert_eq!(is_right, plain_kind(plain.name(), text)),
        }
    }
    Corpus::Keep
}

/// The kinds of all properties and keys, by name.
fn kinds() -> &'static BTreeMap<&'static str, Vec<Kind>> {
    static KINDS: OnceLock<BTreeMap<&'static str, Vec<Kind>>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let schema = Schema::new(None);
        let mut kinds: BTreeMap<&'static str, Vec<Kind>> = BTreeMap::new();
        for table in schema.databases().filter_map(|database| schema.of(database)) {
            let keys = table.key.map(Kind::Plain);
            let properties = table.types.iter().flat_map(|record| &record.properties);
            for kind in keys.into_iter().chain(properties.map(|property| property.kind.clone())) {
                let same = kinds.entry(kind.name()).or_default();
                if !same.contains(&kind) {
                    same.push(kind);
                }
            }
        }
        assert!(kinds.len() >= 30, "{kinds:?}");
        kinds
    })
}

/// Checks that `found`, once shown as text, is read as the same; answers whether there was a value.
fn back<T: PartialEq + Debug>(
    found: Parsed<T>,
    shown: impl Fn(&T) -> String,
    parse: &dyn Fn(&str) -> Parsed<T>,
) -> bool {
    match found {
        Ok(value) => {
            let text = shown(&value);
            assert_eq!(parse(&text).as_ref(), Ok(&value), "{text:?}");
            true
        }
        Err(_) => false,
    }
}

fn joined<T: Display>(list: &[T]) -> String {
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.join(",")
}

fn plain_kind(name: &str, text: &str) -> bool {
    fn whole<T: Display + PartialEq + Debug>(text: &str, parse: fn(&str) -> Parsed<T>) -> bool {
        back(parse(text), T::to_string, &parse)
    }
    fn list<T>(text: &str, parse: fn(&str) -> Parsed<Vec<T>>) -> bool
    where
        T: Display + PartialEq + Debug,
    {
        back(parse(text), |list| joined(list), &parse)
    }
    match name {
        "absolute_path" => back(
            value::absolute_path(text),
            |path| path.display().to_string(),
            &value::absolute_path,
        ),
        "bridge" => whole(text, value::bridge_name),
        "capabilities" => whole(text, value::capabilities),
        "command" => back(
            value::command(text),
            |words| shlex::try_join(words.iter().map(String::as_str)).unwrap(),
            &value::command,
        ),
        "container_name" => whole(text, value::container_name),
        "cpus" => back(
            value::cpus(text),
            |nano| format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000),
            &value::cpus,
        ),
        "cron" => value::cron(text).is_ok(),
        "devices" => list(text, value::devices),
        "digest" => whole(text, value::digest),
        "egress" => whole(text, value::egress),
        "endpoint" => whole(text, value::endpoint),
        "env_value" => whole(text, value::env_value),
        "events" => list(text, value::events),
        "health" => whole(text, value::health),
        "host" => whole(text, value::host_label),
        "mail_address" => whole(text, value::mail_address),
        "host_access" => back(
            value::host_access(text),
            |ports| if ports.is_empty() { "none".to_owned() } else { joined(ports) },
            &value::host_access,
        ),
        "image" => {
            if let Ok(image) = value::image_ref(text) {
                let whole = image.with_tag();
                assert_eq!(value::image_ref(whole.as_str()).as_ref(), Ok(&whole));
                assert_eq!(whole.name(), image.name());
                assert!(whole.tag().is_some() || whole.digest().is_some(), "{whole}");
            }
            whole(text, value::image_ref)
        }
        "ipv4" => whole(text, value::ipv4),
        "links" => list(text, value::links),
        "memory" => back(value::memory_bytes(text), |n| format!("{n}b"), &value::memory_bytes),
        "mounts" => list(text, value::mounts),
        "networks" => list(text, value::ip_networks),
        "port" => whole(text, value::port),
        "port_maps" => list(text, value::port_maps),
        "ports" => list(text, value::ports),
        "size" => back(value::size_bytes(text), |bytes| format!("{bytes}b"), &value::size_bytes),
        "subnet" => whole(text, value::subnet),
        "tmpfs" => list(text, value::tmpfs),
        "user" => whole(text, value::user),
        "web_alias" => whole(text, value::web_alias),
        "yes_no" => value::yes_no(text).is_ok(),
        other => panic!("the kind '{other}' is new: say here how its value is shown"),
    }
}
