// SPDX-License-Identifier: GPL-2.0-or-later

//! What a fragment may know: the records, what they come to, and the event.
//!
//! | variable | what it is |
//! | --- | --- |
//! | `KEY` | the record of `configuration` with that key |
//! | `configuration` | all of them by key, for keys that are no names: `configuration["my-svc"].status` |
//! | `databases` | every database by name, its records by key |
//! | `containers`, `routes`, `links`, `local_networks`, `guard`, `engine`, `engine_options`, `names` | what the records come to |
//! | `event`, `arguments` | the event's name and arguments; empty without one |
//! | `root`, `profile` | where Wharf lives, and on what |
//!
//! A record without properties is its text, as e-smith's `$KEY`; one with properties is a table of them
//! with `type` among them, as `%KEY`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tera::Context;

use crate::db::{DbName, Record, Records};
use crate::event::Event;
use crate::state::exposure::{HostPort, LinkFlow, Matches, grouped};
use crate::state::{Container, Desired, Guard};

use super::expand::LOST;

/// Variables that need what the records come to.
pub(super) const RESOLVED: [&str; 8] = [
    "containers",
    "routes",
    "links",
    "local_networks",
    "guard",
    "engine",
    "engine_options",
    "names",
];

/// What is known before anything is rendered.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// The databases, `configuration` at least.
    pub databases: BTreeMap<DbName, Records>,
    /// What they come to, when some fragment asks for it.
    pub desired: Option<&'a Desired>,
    /// What the templates are expanded for.
    pub event: Option<&'a Event>,
    /// Where Wharf lives, and on what.
    pub home: (String, &'static str),
}

/// The words of some templates: what they can ask for is among them.
#[derive(Clone, Debug, Default)]
pub struct Words(BTreeSet<String>);

impl Words {
    /// Adds those of `text`.
    pub fn read(&mut self, text: &str) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in text.split(|c: char| !is_part(c)) {
            if word.starts_with(|c: char| !c.is_ascii_digit()) && !self.0.contains(word) {
                self.0.insert(word.to_owned());
            }
        }
    }

    /// Whether every database has to be read.
    pub fn ask_for_databases(&self) -> bool {
        self.0.contains("databases")
    }

    /// Whether the record `key` of `database` can be among what is asked for.
    pub fn reach(&self, database: &str, key: &BStr) -> bool {
        let is_there = |word: &str| self.0.contains(word);
        // All of them at once.
        if is_there("databases") || is_there("__tera_context") {
            return true;
        }
        database == "configuration"
            && (is_there("configuration") || key.to_str().is_ok_and(is_there))
    }

    /// Whether the records have to be resolved.
    pub fn ask_for_desired(&self) -> bool {
        RESOLVED.iter().any(|word| self.0.contains(*word))
    }
}

/// Records of `configuration` that a variable of ours hides from a template with these `words`.
pub fn hidden(databases: &BTreeMap<DbName, Records>, words: &Words) -> Vec<&'static str> {
    // Who knows the table by name reaches them by that.
    if words.0.contains("configuration") || words.ask_for_databases() {
        return Vec::new();
    }
    let records = databases.iter().find(|(name, _)| name.as_str() == "configuration");
    let others = ["event", "arguments", "root", "profile", "configuration", "databases"];
    let ours = RESOLVED.into_iter().chain(others);
    ours.filter(|name| words.0.contains(*name))
        .filter(|name| records.is_some_and(|(_, records)| records.get(name).is_some()))
        .collect()
}

/// What fragments are rendered with.
#[derive(Clone, Debug, Default)]
pub struct View {
    values: Map<String, Value>,
}

impl View {
    /// The part of `sources` that `words` can ask for.
    pub fn new(sources: &Sources<'_>, words: &Words) -> Self {
        let mut values = Map::new();
        let configuration =
            sources.databases.iter().find(|(name, _)| name.as_str() == "configuration");
        if let Some((_, records)) = configuration {
            for (key, record) in records.iter() {
                if let Ok(name) = key.to_str()
                    && words.0.contains(name)
                {
                    values.insert(name.to_owned(), value_of("configuration", key, record));
                }
            }
            if words.0.contains("configuration") {
                values.insert("configuration".to_owned(), table("configuration", records));
            }
        }
        if words.ask_for_databases() {
            let all = sources.databases.iter();
            let all = all.map(|(name, records)| (name.to_string(), table(name.as_str(), records)));
            values.insert("databases".to_owned(), Value::Object(all.collect()));
        }
        if let Some(desired) = sources.desired {
            values.extend(resolved(desired));
        }
        let event = sources.event;
        values.insert("event".to_owned(), event.map_or("", |event| event.name.as_str()).into());
        let arguments = event.map(|event| event.args.clone()).unwrap_or_default();
        values.insert("arguments".to_owned(), arguments.into());
        values.insert("root".to_owned(), sources.home.0.clone().into());
        values.insert("profile".to_owned(), sources.home.1.into());
        Self { values }
    }

    /// What a pass's own templates see.
    pub fn of(desired: &Desired) -> Self {
        Self { values: resolved(desired) }
    }

    /// With other texts of the same length in the place of those that `holders` have.
    #[must_use]
    pub fn veiled<'a>(mut self, holders: impl Iterator<Item = &'a Holder>) -> Self {
        for holder in holders {
            let (Ok(key), Ok(property)) = (
                holder.key.to_str(),
                holder.property.as_ref().map(|name| name.to_str()).transpose(),
            ) else {
                continue;
            };
            let databases = self.values.get_mut("databases");
            veil(databases.and_then(|all| all.get_mut(&holder.database)?.get_mut(key)), property);
            if holder.database == "configuration" {
                let table = self.values.get_mut("configuration");
                veil(table.and_then(|table| table.get_mut(key)), property);
                veil(self.values.get_mut(key), property);
            }
        }
        self
    }

    /// All variables, as Tera takes them.
    pub fn into_context(self) -> Context {
        // An object always is one.
        Context::from_value(Value::Object(self.values)).unwrap_or_default()
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of the database.
    pub database: String,
    /// The record.
    pub key: BString,
    /// The property; `None`: it is the record's text.
    pub property: Option<BString>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, key, property } = self;
        write!(f, "database {database}, record '{key}'")?;
        match property {
            Some(property) => write!(f, ", property '{property}'"),
            None => Ok(()),
        }
    }
}

/// Which records and properties hold exactly `value`.
pub fn holders_of(databases: &BTreeMap<DbName, Records>, value: &str) -> Vec<Holder> {
    let mut found = Vec::new();
    for (name, records) in databases {
        for (key, record) in records.iter() {
            let holder =
                |property| Holder { database: name.to_string(), key: key.to_owned(), property };
            if record.decoded().as_bytes() == value.as_bytes() {
                found.push(holder(None));
            }
            let same = record.properties().filter(|(_, held)| held.as_bytes() == value.as_bytes());
            found.extend(same.map(|(property, _)| holder(Some(property.into_owned()))));
        }
    }
    found
}

/// Another text for that of `record`, or of its `property`: each character is another one, in any case of
/// letters.
fn veil(record: Option<&mut Value>, property: Option<&str>) {
    let text = match property {
        Some(property) => record.and_then(|record| record.get_mut(property)),
        None => record,
    };
    if let Some(Value::String(text)) = text {
        *text = text.chars().map(|c| if matches!(c, 'x' | 'X') { 'y' } else { 'x' }).collect();
    }
}

fn table(database: &str, records: &Records) -> Value {
    let record = |(key, record): (&BStr, &Record)| {
        (name(key, || format!("{database}: the key '{key}'")), value_of(database, key, record))
    };
    Value::Object(records.iter().map(record).collect())
}

/// A key or the name of a property; one that is no UTF-8 is still there for a loop, and fails as a value does.
fn name(name: &BStr, place: impl Fn() -> String) -> String {
    match name.to_str() {
        Ok(name) => name.to_owned(),
        Err(_) => lost(&place()),
    }
}

fn lost(place: &str) -> String {
    format!("{LOST}{place} is not UTF-8{LOST}")
}

fn value_of(database: &str, key: &BStr, record: &Record) -> Value {
    let place = |name: &BStr| format!("{database} record '{key}', property '{name}'");
    let mut properties: Map<String, Value> = record
        .properties()
        .map(|(property, value)| {
            let place = || place(property.as_ref());
            (
                name(property.as_ref(), || format!("the name of {}", place())),
                text(value.as_ref(), place),
            )
        })
        .collect();
    if properties.is_empty() {
        return text(record.decoded().as_ref(), || format!("{database} record '{key}'"));
    }
    let kind = text(record.decoded_kind().as_ref(), || format!("{database} record '{key}'"));
    properties.entry("type").or_insert(kind);
    Value::Object(properties)
}

/// `value` as text. What is no UTF-8 becomes words within marks, which fail the template that writes
/// them, and only that.
fn text(value: &BStr, place: impl Fn() -> String) -> Value {
    match value.to_str() {
        // As in e-smith's tables: the backslash that kept a `|` from separating has done its work.
        Ok(text) => text.replace("\\|", "|").into(),
        Err(_) => lost(&place()).into(),
    }
}

/// A route as templates see it: one of `path` and `host` is there.
#[derive(Serialize)]
struct RouteView<'a> {
    path: Option<&'a str>,
    host: Option<&'a str>,
    container: &'a str,
    address: std::net::Ipv4Addr,
    port: u16,
    access: &'a str,
}

fn resolved(desired: &Desired) -> Map<String, Value> {
    let routes: Vec<_> = desired
        .routes
        .iter()
        .map(|route| {
            let (path, host) = match &route.matches {
                Matches::Path(path) => (Some(path.as_str()), None),
                Matches::Host(host) => (None, Some(host.as_str())),
            };
            RouteView {
                path,
                host,
                container: route.container.as_str(),
                address: route.address,
                port: route.port.get(),
                access: route.access.as_str(),
            }
        })
        .collect();
    let local: Vec<String> = desired
        .guard
        .local4
        .iter()
        .map(ToString::to_string)
        .chain(desired.guard.local6.iter().map(ToString::to_string))
        .collect();
    let containers: Map<String, Value> = desired
        .containers
        .iter()
        .map(|(name, container)| (name.to_string(), container_view(container)))
        .collect();
    let all = json!({
        "containers": containers,
        "links": desired.guard.links,
        "guard": guard_view(&desired.guard),
        "routes": routes,
        "local_networks": local,
        "engine": desired.engine,
        "engine_options": engine_options(desired),
        "names": desired.names.as_deref().unwrap_or_default(),
    });
    match all {
        Value::Object(all) => all,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// The guard, with what makes it cheap for packets derived: which ports have a list of who may
/// come, so that the lists are searched for no other, which links are one port, so that a hash finds them, and
/// which numbers and addresses need a second question; and the ports in groups for a filter that has no sets.
fn guard_view(guard: &Guard) -> Value {
    let mut view = json!(guard);
    let about = |protocol, port| HostPort { protocol, port };
    let four = guard.allow4.iter().chain(&guard.deny4).map(|one| about(one.protocol, one.port));
    let six = guard.allow6.iter().chain(&guard.deny6).map(|one| about(one.protocol, one.port));
    let listed: BTreeSet<HostPort> =
        four.chain(six).chain(guard.restricted.iter().copied()).collect();
    let (single, ranges): (Vec<&LinkFlow>, Vec<&LinkFlow>) =
        guard.links.iter().partition(|link| link.ports.first() == link.ports.last());
    let numbers = |last| -> BTreeSet<_> {
        let ports = guard.localhost.iter().chain(&guard.private).chain(last);
        ports.map(|port| port.port).collect()
    };
    let confined: BTreeSet<_> = [&guard.egress_none, &guard.egress_lan, &guard.egress_listed]
        .into_iter()
        .flatten()
        .collect();
    let local4: Vec<Value> = guard.local4.iter().copied().map(masked).collect();
    let subnet = guard.subnet.parse().ok().map(masked);
    if let Value::Object(fields) = &mut view {
        fields.insert("masked4".to_owned(), json!(local4));
        fields.insert("masked_subnet".to_owned(), json!(subnet));
        fields.insert("closed".to_owned(), json!(numbers(&listed)));
        fields.insert("ours".to_owned(), json!(numbers(&guard.public)));
        fields.insert("confined".to_owned(), json!(confined));
        fields.insert("listed".to_owned(), json!(listed));
        fields.insert("links_to_ports".to_owned(), json!(single));
        fields.insert("links_to_ranges".to_owned(), json!(ranges));
        fields.insert("groups".to_owned(), json!(grouped(guard)));
    }
    view
}

/// A network in two parts, because a prefix of 24 bits makes `nft` load three bytes, which the kernel has no short
/// way for.
fn masked(network: Ipv4Net) -> Value {
    json!({ "network": network.network(), "mask": network.netmask() })
}

/// A container without its environment, which may hold secrets: a template that needs one names the record.
fn container_view(container: &Container) -> Value {
    let spec = &container.spec;
    let ports: Vec<_> = spec
        .published()
        .iter()
        .map(|port| {
            json!({
                "host": port.host, "container": port.container,
                "protocol": port.protocol,
            })
        })
        .collect();
    json!({
        "image": spec.image.to_string(),
        "address": spec.address(),
        "wanted": container.wanted.as_str(),
        "access": container.exposure.as_ref().map(|exposure| exposure.access.as_str()),
        "ports": ports,
        "links": container.links,
    })
}

/// `daemon.json`, by dockerd's own names.
fn engine_options(desired: &Desired) -> Value {
    let engine = &desired.engine;
    let mut options = Map::new();
    if let Some(driver) = &engine.storage_driver {
        options.insert("storage-driver".to_owned(), driver.as_str().into());
    }
    if let Some(path) = &engine.data_root {
        options.insert("data-root".to_owned(), path.to_string_lossy().into());
    }
    if let Some(live) = engine.live_restore {
        options.insert("live-restore".to_owned(), live.into());
    }
    Value::Object(options)
}
