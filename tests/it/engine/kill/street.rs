// SPDX-License-Identifier: GPL-2.0-or-later

//! A few records that change by chance, and what the engine must have when they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::Lab;

/// Numbers that follow from a seed (xorshift64*).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        // A state of 0 stays 0.
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// Kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Replace,
    Rename,
    Link,
    Image,
    Port,
    Toggle,
    Delete,
}

pub(super) const KINDS: [Kind; 8] = [
    Kind::Create,
    Kind::Replace,
    Kind::Rename,
    Kind::Link,
    Kind::Image,
    Kind::Port,
    Kind::Toggle,
    Kind::Delete,
];

/// Names of records.
const NAMES: [&str; 6] = ["ant", "bee", "cat", "dog", "elk", "fox"];

#[derive(Clone, Debug)]
struct Record {
    image: &'static str,
    memory: usize,
    port: usize,
    link: Option<String>,
    enabled: bool,
    /// Its directory on the host; a record that is renamed keeps it.
    data: PathBuf,
}

/// The records.
#[derive(Debug)]
pub(super) struct Street {
    records: BTreeMap<String, Record>,
    /// Directories with something in them that nobody may touch.
    data: BTreeSet<PathBuf>,
    next: usize,
}

/// What stands in each directory of data.
const MARK: &str = "not to be touched";

impl Street {
    /// Three records, applied.
    pub(super) fn begin(lab: &Lab, chance: &mut Chance) -> Self {
        let mut street = Self { records: BTreeMap::new(), data: BTreeSet::new(), next: 0 };
        for _ in 0..3 {
            street.change_of(Kind::Create, lab, chance);
        }
        lab.wharf(&["apply"]).succeeded();
        street
    }

    /// The keys of the records that are there.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.records.keys().map(String::as_str)
    }

    /// Changes something.
    pub(super) fn change(&mut self, lab: &Lab, chance: &mut Chance) -> String {
        let kind = chance.one_of(&KINDS);
        self.change_of(kind, lab, chance)
    }

    /// Makes a change of `kind`, or another where there is nothing for it; what was changed.
    pub(super) fn change_of(&mut self, kind: Kind, lab: &Lab, chance: &mut Chance) -> String {
        let free: Vec<String> = NAMES
            .iter()
            .map(|name| (*name).to_owned())
            .filter(|name| !self.records.contains_key(name))
            .collect();
        let there: Vec<String> = self.records.keys().cloned().collect();
        match kind {
            Kind::Delete | Kind::Rename if there.len() < 2 => self.create(lab, chance, &free),
            Kind::Create | Kind::Rename if free.is_empty() => {
                let name = chance.one_of(&there);
                self.delete(lab, &name);
                format!("delete {name}")
            }
            Kind::Create => self.create(lab, chance, &free),
            Kind::Delete => {
                let name = chance.one_of(&there);
                self.delete(lab, &name);
                format!("delete {name}")
            }
            Kind::Rename => {
                let (old, new) = (chance.one_of(&there), chance.one_of(&free));
                let record = self.records[&old].clone();
                self.delete(lab, &old);
                self.put(lab, &new, Record { link: None, ..record });
                format!("rename {old} to {new}")
            }
            Kind::Replace | Kind::Link | Kind::Image | Kind::Port | Kind::Toggle => {
                let name = chance.one_of(&there);
                self.alter(kind, lab, chance, &name);
                format!("{kind:?} {name}: {:?}", self.records[&name])
            }
        }
    }

    fn create(&mut self, lab: &Lab, chance: &mut Chance, free: &[String]) -> String {
        let name = chance.one_of(free);
        self.next += 1;
        let data = lab.scratch(&format!("data{}", self.next));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("mark"), MARK).unwrap();
        self.data.insert(data.clone());
        let image = chance.one_of(&["demo-web", "demo-db"]);
        let memory = 32 + chance.below(32);
        let record = Record { image, memory, port: self.next, link: None, enabled: true, data };
        self.put(lab, &name, record);
        format!("create {name}")
    }

    fn alter(&mut self, kind: Kind, lab: &Lab, chance: &mut Chance, name: &str) {
        let mut record = self.records[name].clone();
        self.next += 1;
        match kind {
            Kind::Link => {
                // To one before it in the alphabet, so that there is no circle.
                let others: Vec<String> = self
                    .records
                    .iter()
                    .filter(|(other, found)| other.as_str() < name && found.enabled)
                    .map(|(other, _)| other.clone())
                    .collect();
                record.link = match record.link {
                    None if !others.is_empty() => Some(chance.one_of(&others)),
                    _ => None,
                };
            }
            Kind::Image if record.image == "demo-web" => record.image = "demo-db",
            Kind::Image => record.image = "demo-web",
            Kind::Port => record.port = self.next,
            Kind::Toggle => {
                record.enabled = !record.enabled;
                self.unlink(lab, name);
            }
            Kind::Replace | Kind::Create | Kind::Rename | Kind::Delete => {
                record.memory = 32 + (record.memory - 31) % 64;
            }
        }
        self.put(lab, name, record);
    }

    fn delete(&mut self, lab: &Lab, name: &str) {
        self.unlink(lab, name);
        lab.db(&["docker_containers", "delete", name]);
        self.records.remove(name);
    }

    /// Nobody links to `name` any more.
    fn unlink(&mut self, lab: &Lab, name: &str) {
        for (other, record) in &mut self.records {
            if record.link.as_deref() == Some(name) {
                lab.db(&["docker_containers", "delprop", other, "Interlinked"]);
                record.link = None;
            }
        }
    }

    fn put(&mut self, lab: &Lab, name: &str, record: Record) {
        let inside = if record.image == "demo-web" { 80 } else { 3306 };
        let status = if record.enabled { "enabled" } else { "disabled" };
        let (memory, mount) =
            (record.memory.to_string(), format!("{}:/kept", record.data.display()));
        let (port, ports) = (inside.to_string(), format!("{}:{inside}", 8100 + record.port));
        // An administrator changes properties; a whole new record would have another address.
        let mut args = if self.records.contains_key(name) {
            vec!["docker_containers", "setprop", name, "status", status]
        } else {
            vec!["docker_containers", "set", name, "service", "status", status]
        };
        args.extend(["Image", record.image, "MaxMemory", &memory, "TCPPort", &port]);
        args.extend(["PortMapping", "custom", "PortMappingPorts", &ports, "MountPath", &mount]);
        let link = record.link.as_ref().map(|link| format!("{link}:peer"));
        args.extend(link.iter().flat_map(|link| ["Interlinked", link]));
        lab.db(&args);
        if self.records.get(name).is_some_and(|before| before.link.is_some()) && link.is_none() {
            lab.db(&["docker_containers", "delprop", name, "Interlinked"]);
        }
        self.records.insert(name.to_owned(), record);
    }

    /// What of the engine and of the disk is not as the records say.
    pub(super) fn faults(&self, lab: &Lab) -> Vec<String> {
        let mut wrong = Vec::new();
        let list = lab.docker_get("/containers/json?all=true");
        let found: BTreeMap<String, &Value> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["Names"][0].as_str().unwrap().trim_start_matches('/').to_owned(), one))
            .collect();
        for name in found.keys().filter(|name| !self.records.contains_key(*name)) {
            wrong.push(format!("there is a container {name}"));
        }
        let mut addresses = BTreeSet::new();
        for (name, record) in &self.records {
            wrong.extend(record.faults(name, found.get(name).copied(), lab, &mut addresses));
        }
        let networks = lab.docker_get("/networks");
        let ours = networks.as_array().unwrap().iter().filter(|one| one["Name"] == "wharf0");
        if ours.count() > 1 {
            wrong.push(format!("two networks: {networks}"));
        }
        let volumes = lab.docker_get("/volumes");
        if !volumes["Volumes"].as_array().is_none_or(Vec::is_empty) {
            wrong.push(format!("volumes: {volumes}"));
        }
        for data in &self.data {
            let names: Vec<_> =
                fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            if names != ["mark"] || fs::read_to_string(data.join("mark")).unwrap() != MARK {
                wrong.push(format!("{} was touched: {names:?}", data.display()));
            }
        }
        let journal = lab.root().join("var/lib/wharf/journal");
        if fs::metadata(&journal).is_ok_and(|file| file.len() > 0) {
            wrong.push(format!("the journal holds {}", fs::read_to_string(&journal).unwrap()));
        }
        unfinished(&lab.root(), &mut wrong);
        wrong
    }
}

impl Record {
    fn faults(
        &self,
        name: &str,
        found: Option<&Value>,
        lab: &Lab,
        addresses: &mut BTreeSet<String>,
    ) -> Vec<String> {
        let Some(found) = found else {
            return self.enabled.then(|| format!("no container {name}")).into_iter().collect();
        };
        let runs = found["State"] == "running";
        let mut wrong = Vec::new();
        if runs != self.enabled {
            wrong.push(format!("{name}: {self:?} and {}", found["State"]));
        }
        if !self.enabled {
            return wrong;
        }
        let inspect = lab.inspect(name).unwrap();
        let published = &found["Ports"][0]["PublicPort"];
        // Podman says the whole of a name.
        let image = found["Image"].as_str().unwrap_or_default();
        let image = image.trim_start_matches("docker.io/library/").trim_end_matches(":latest");
        let seen = (&inspect["HostConfig"]["Memory"], published, image);
        let memory = Value::from(self.memory << 20);
        let port = Value::from(8100 + self.port);
        if seen != (&memory, &port, self.image) {
            wrong.push(format!("{name}: {self:?} and {seen:?}"));
        }
        let mounted = inspect["Mounts"][0]["Source"].as_str();
        if mounted.map(Path::new) != Some(&self.data) {
            wrong.push(format!("{name}: {self:?} and mounted {mounted:?}"));
        }
        let networks = found["NetworkSettings"]["Networks"].as_object().unwrap();
        let address = networks.get("wharf0").map(|network| network["IPAddress"].to_string());
        if networks.len() != 1 || !address.is_some_and(|address| addresses.insert(address)) {
            wrong.push(format!("{name}: networks {networks:?}"));
        }
        wrong
    }
}

/// Files below `directory` that nobody has finished.
fn unfinished(directory: &Path, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            unfinished(&entry.path(), wrong);
        } else if entry.file_name().to_string_lossy().starts_with(".wharf-") {
            wrong.push(format!("left behind: {}", entry.path().display()));
        }
    }
}
