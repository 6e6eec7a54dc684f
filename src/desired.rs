// SPDX-License-Identifier: GPL-2.0-or-later

//! Records → [`Desired`]: the only place where a property's text gets a meaning.
//!
//! [`resolve`] is a pure function of the records, the facts of the host and the overrides by hand.
//! Faults are collected, never the first alone; a record with a fault holds its own container as it
//! is and opens nothing new, and every other record counts. What needs looking at before that is
//! said by [`query`], and which records lack an address by [`assign`].
//!
//! Left out on purpose: what must be done about it; that is `plan`'s.

pub mod change;
pub mod container;
pub mod exposure;
pub mod hook;
pub mod link;
pub mod memory;
pub mod names;
pub mod network;
pub mod service;
pub mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use bstr::{BStr, BString, ByteSlice};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::db::schema::{Fault, Schema};
use crate::db::value::{ContainerName, ImageRef, one_line};
use crate::db::{Change, DbName, Record, Records};
use crate::settings::Root;
use crate::state::exposure::{Asked, HostPort};
use crate::state::notify::Notify;
use crate::state::{Desired, Facts, ImageSource, Query};

use container::Draft;
use memory::Overcommitted;
use network::Addressing;
use network::HostRecord;

/// The databases that a pass reads, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `docker_containers`.
    pub containers: Records,
    /// `docker_images`.
    pub images: Records,
    /// `configuration`.
    pub configuration: Records,
    /// `networks`.
    pub networks: Records,
}

impl Snapshot {
    /// The same for the same records, byte for byte, and for no others.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for records in [&self.containers, &self.images, &self.configuration, &self.networks] {
            let text = records.render();
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

/// What was asked for against the record, by hand or by an event; gone at reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Override {
    /// Run it although its record is disabled.
    Start,
    /// Stop it although its record is enabled.
    Stop,
    /// Run it: an event of its `StartOn` has come.
    StartByEvent,
    /// Stop it: an event of its `StopOn` has come.
    StopByEvent,
}

/// Overrides by the name of the container.
pub type Overrides = BTreeMap<String, Override>;

/// A record that cannot be brought about, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Its database.
    pub database: String,
    /// Its key.
    pub key: String,
    /// The property that is wrong, when it is one.
    pub property: Option<String>,
    /// What it holds; a secret is masked.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub wrong: String,
    /// A command that would mend it.
    pub remedy: Option<String>,
}

impl Rejection {
    /// Database, record, property and value, on one line.
    pub fn place(&self) -> String {
        let mut text = format!("{} record '{}'", self.database, one_line(&self.key));
        if let Some(property) = &self.property {
            text.push_str(", property ");
            text.push_str(&one_line(property));
        }
        if let Some(value) = &self.value {
            text.push_str(" '");
            text.push_str(&one_line(value));
            text.push('\'');
        }
        text
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.wrong)
    }
}

/// What became of the records.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// What they ask for.
    pub desired: Desired,
    /// The records that do not count, and why.
    pub rejected: Vec<Rejection>,
    /// What the admin should know and what stops nothing.
    pub notices: Vec<String>,
    /// The limits of memory when they come to more than the machine has; among the notices too.
    pub overcommitted: Option<Overcommitted>,
    /// Which container record has asked for which host port.
    pub asked: BTreeMap<HostPort, Asked>,
    /// When the clock starts or stops a container next.
    pub next_by_clock: Option<Timestamp>,
    /// Who is told when something has changed.
    pub notify: Notify,
}

/// An address for a record that needs one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// The record.
    pub record: ContainerName,
    /// Its address from now on.
    pub address: Ipv4Addr,
}

impl Assignment {
    /// As a change of the record.
    pub fn change(&self) -> Change {
        Change::SetProps {
            key: BString::from(self.record.as_str()),
            props: vec![("Address".into(), self.address.to_string().into())],
        }
    }
}

/// The text properties of a record; what is not UTF-8 is left to the schema's check to refuse.
#[derive(Clone, Debug, Default)]
pub struct Props(BTreeMap<String, String>);

impl Props {
    /// Of `record`.
    pub fn of(record: &Record) -> Self {
        let text = |bytes: &BStr| bytes.to_str().ok().map(str::to_owned);
        Self(
            record
                .properties()
                .filter_map(|(name, value)| Some((text(name.as_ref())?, text(value.as_ref())?)))
                .collect(),
        )
    }

    /// The value of `name`; an empty one counts as missing, as for SME's own services.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The properties whose name begins with `prefix`, by the rest of the name; empty ones count.
    pub fn family<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(k, v)| Some((k.strip_prefix(prefix)?, v.as_str())))
    }
}

/// What the records say by themselves, before the host is looked at: [`Self::assign`], [`Self::query`] and
/// [`Self::resolve`] begin with the same, which is most of the work of a pass with nothing to do.
#[derive(Clone, Debug)]
pub struct Drafts {
    host: HostRecord,
    containers: BTreeMap<ContainerName, Draft>,
    /// Of the host's record, and of those that can be no container's.
    rejected: Vec<Rejection>,
    notices: Vec<String>,
    images: BTreeMap<ImageRef, ImageSource>,
}

/// What to look at before [`resolve`].
pub fn query(snapshot: &Snapshot, schema: &Schema, root: &Root, overrides: &Overrides) -> Query {
    Drafts::of(snapshot, schema, root, overrides).query()
}

/// Everything the records ask for.
pub fn resolve(
    snapshot: &Snapshot,
    schema: &Schema,
    root: &Root,
    facts: &Facts,
    overrides: &Overrides,
) -> Resolution {
    Drafts::of(snapshot, schema, root, overrides).resolve(snapshot, facts)
}

impl Drafts {
    /// Of the records of `snapshot`.
    pub fn of(snapshot: &Snapshot, schema: &Schema, root: &Root, overrides: &Overrides) -> Self {
        let (host, mut rejected) = network::host_record(snapshot, schema, root);
        let (containers, notices) = drafts(snapshot, schema, &host, overrides);
        rejected.extend(unnamed(snapshot, schema));
        Self { host, containers, rejected, notices, images: image_sources(snapshot) }
    }

    /// What to look at.
    pub fn query(&self) -> Query {
        let Self { host, containers, .. } = self;
        let mut query =
            Query { bridge: host.bridge.clone(), filter: host.filter, ..Query::default() };
        for draft in containers.values() {
            query.mount_sources.extend(draft.host_sources());
            query.places.extend(draft.places());
            query.ports.extend(draft.exposure.iter().flat_map(|exposure| exposure.ports.iter()));
            query.images.extend(draft.spec.as_ref().map(|spec| spec.image.clone()));
        }
        query.places.extend(self.images.values().filter_map(|source| match source {
            ImageSource::Archive(path) | ImageSource::Rootfs(path) => Some(path.clone()),
            ImageSource::Registry | ImageSource::Unknown(_) => None,
        }));
        query
    }

    /// Whether names and routes are for a web server of the host.
    pub const fn has_web_server(&self) -> bool {
        self.host.web_server
    }

    /// Addresses for the records that need one and have none: the lowest free ones of the subnet.
    pub fn assign(&self) -> Vec<Assignment> {
        let Some(bridge) = &self.host.bridge else { return Vec::new() };
        let drafts = &self.containers;
        let usable = |address: &Ipv4Addr| bridge.subnet.contains(address);
        let mut taken: Vec<Ipv4Addr> =
            drafts.values().filter_map(|draft| draft.address).filter(usable).collect();
        let mut assignments = Vec::new();
        for draft in drafts.values().filter(|draft| draft.addressing == Addressing::Next) {
            // A full subnet leaves the record without an address; [`Self::resolve`] then says so.
            if let Some(address) = network::free_address(bridge, &taken) {
                taken.push(address);
                assignments.push(Assignment { record: draft.name.clone(), address });
            }
        }
        assignments
    }

    /// Everything the records, which are those of `snapshot`, ask for on a host of these `facts`.
    pub fn resolve(self, snapshot: &Snapshot, facts: &Facts) -> Resolution {
        let Self { host, containers: mut drafts, mut rejected, mut notices, images } = self;
        let next_by_clock = window::apply(&mut drafts, facts.now.as_ref());
        let bridge = network::usable_bridge(&host, facts, &mut rejected);

        network::check_addresses(&mut drafts, host.bridge.as_ref(), facts);
        container::check_names(&mut drafts, facts);
        exposure::check(&mut drafts, facts);
        link::check(&mut drafts);
        link::name_by_address(&mut drafts);
        container::check_mounts(&mut drafts, facts);
        if bridge.is_none() {
            network::hold_bridged(&mut drafts);
        }
        let overcommitted = memory::check(&mut drafts, facts);
        notices.extend(network::lost_rules(&host, facts));
        notices.extend(network::foreign_without_rules(facts));
        notices.extend(overcommitted.as_ref().map(Overcommitted::notice));

        let local = network::local_networks(&host, bridge.as_ref(), snapshot, facts);
        let guard = exposure::guard(&drafts, &host, bridge.as_ref(), &local, facts);
        let asked = exposure::asked(&drafts, facts);
        let routes = exposure::routes(&drafts, facts);
        let mut desired = Desired {
            bridge,
            containers: BTreeMap::new(),
            held: BTreeMap::new(),
            guard,
            routes,
            images,
            engine: host.engine.clone(),
            only_told: host.only_told.clone(),
            names: None,
        };
        for (name, draft) in drafts {
            match draft.finish() {
                Ok(container) => {
                    desired.containers.insert(name, container);
                }
                Err((why, faults)) => {
                    rejected.extend(faults);
                    desired.held.insert(name, why);
                }
            }
        }
        desired.names = names::names(&host, &desired, &local, facts);
        rejected.sort_by(|a, b| (&a.database, &a.key).cmp(&(&b.database, &b.key)));
        // A fault of an image's record is one of every container that uses the image.
        rejected.dedup();
        let notify = host.notify;
        Resolution { desired, rejected, notices, overcommitted, asked, next_by_clock, notify }
    }
}

/// A draft of each container record whose key can be a name, and what the admin should know.
fn drafts(
    snapshot: &Snapshot,
    schema: &Schema,
    host: &HostRecord,
    overrides: &Overrides,
) -> (BTreeMap<ContainerName, Draft>, Vec<String>) {
    let mut drafts = BTreeMap::new();
    let mut notices = Vec::new();
    for (key, record) in snapshot.containers.iter() {
        let Some(name) = container_name(key) else { continue };
        let mut checked = check(schema, DbName::CONTAINERS, key, record);
        if let Some(image) = record.get("Image")
            && let Some(defaults) = snapshot.images.get(image.as_ref())
        {
            let of_image = check(schema, DbName::IMAGES, image.as_ref(), defaults);
            checked.faults.extend(of_image.faults);
            notices.extend(of_image.warnings);
        }
        notices.extend(checked.warnings);
        let mut draft = container::draft(
            &name,
            &Props::of(record),
            &|image| image_props(snapshot, image),
            host,
            overrides.get(name.as_str()).copied(),
            checked.faults,
        );
        if let Some(bridge) = &host.bridge {
            network::ask_address(&mut draft, bridge, record);
        }
        drafts.insert(name, draft);
    }
    (drafts, notices)
}

/// The faults of records whose key can be no container's name.
fn unnamed(snapshot: &Snapshot, schema: &Schema) -> Vec<Rejection> {
    snapshot
        .containers
        .iter()
        .filter(|(key, _)| container_name(key).is_none())
        .flat_map(|(key, record)| check(schema, DbName::CONTAINERS, key, record).faults)
        .collect()
}

/// The container records by name, with the image that each names.
pub fn images_by_name(snapshot: &Snapshot) -> BTreeMap<ContainerName, String> {
    snapshot
        .containers
        .iter()
        .filter_map(|(key, record)| {
            let name = container_name(key)?;
            let image = record.get("Image").unwrap_or_default();
            Some((name, image.to_str().unwrap_or_default().to_owned()))
        })
        .collect()
}

fn container_name(key: &BStr) -> Option<ContainerName> {
    crate::db::value::container_name(key.to_str().ok()?).ok()
}

/// The defaults that the record of `image` holds for its containers.
fn image_props(snapshot: &Snapshot, image: &str) -> Option<Props> {
    snapshot.images.get(BStr::new(image)).map(Props::of)
}

/// How the images are had that have a record.
fn image_sources(snapshot: &Snapshot) -> BTreeMap<ImageRef, ImageSource> {
    snapshot
        .images
        .iter()
        .filter_map(|(key, record)| {
            let image = crate::db::value::image_ref(key.to_str().ok()?).ok()?;
            let props = Props::of(record);
            let path =
                || crate::db::value::absolute_path(props.get("Path").unwrap_or_default()).ok();
            let source = match props.get("Source") {
                None | Some("registry") => ImageSource::Registry,
                Some("archive") => ImageSource::Archive(path()?),
                Some("rootfs") => ImageSource::Rootfs(path()?),
                Some(other) => ImageSource::Unknown(other.to_owned()),
            };
            Some((image, source))
        })
        .collect()
}

/// What the schema says of one record.
struct CheckedRecord {
    faults: Vec<Rejection>,
    warnings: Vec<String>,
}

fn check(schema: &Schema, database: &str, key: &BStr, record: &Record) -> CheckedRecord {
    let properties: Vec<_> = record.properties().collect();
    let checked = schema.check_record(
        database,
        key,
        record.kind(),
        properties.iter().map(|(name, value)| (name.as_ref(), value.as_ref())),
    );
    CheckedRecord {
        faults: checked.faults.into_iter().map(Rejection::from).collect(),
        warnings: checked.warnings.iter().map(ToString::to_string).collect(),
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Self {
            database: fault.database,
            key: fault.record,
            property: fault.property,
            value: fault.value,
            wrong: fault.wrong.to_string(),
            remedy: fault.remedy,
        }
    }
}
