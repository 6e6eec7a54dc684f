// SPDX-License-Identifier: GPL-2.0-or-later

//! A long life of made-up changes, drifts, cuts, restarts and hours, beside a model that knows only what
//! the records ask for: whenever it is quiet, the host is as the model says, and a pass does nothing.
//!
//! `WHARF_MODEL_SEEDS` lives of `WHARF_MODEL_ACTIONS` actions, from `WHARF_MODEL_SEED` on, which is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::ToSpan as _;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::Bench;
use crate::host::fake::Drift;
use crate::reconcile::Mode;

/// Names of records.
const NAMES: [&str; 7] = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"];

/// Lives and actions, when nobody says otherwise.
const SEEDS: u64 = 4;
const ACTIONS: u64 = 60;

const DRIFTS: [Drift; 7] = [
    Drift::Stopped,
    Drift::Removed,
    Drift::ImageMoved,
    Drift::Guard,
    Drift::Forwarding,
    Drift::BridgeFilter,
    Drift::Files,
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Numbers that follow from a seed.
struct Dice(TestRng);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u64() >> 32).unwrap() % limit
    }

    fn one_of(&mut self, all: &[String]) -> Option<String> {
        (!all.is_empty()).then(|| all[self.below(all.len())].clone())
    }
}

/// A record, as far as it matters here.
#[derive(Clone, Debug, Default)]
struct Record {
    memory: usize,
    port: Option<usize>,
    access: usize,
    link: Option<String>,
    enabled: bool,
    /// From and to which hour it runs.
    hours: Option<(usize, usize)>,
}

/// What the records ask for, and the hour it is.
#[derive(Default)]
struct Model {
    records: BTreeMap<String, Record>,
    /// Names that a record has had: their addresses stay theirs in the text that is written here.
    numbers: BTreeMap<String, usize>,
    hour: usize,
    next_port: usize,
}

impl Model {
    fn names(&self) -> Vec<String> {
        self.records.keys().cloned().collect()
    }

    /// The whole database.
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, record) in &self.records {
            let status = if record.enabled { "enabled" } else { "disabled" };
            let mut all = vec![
                format!("Address|10.0.3.{}", 10 + self.numbers[name]),
                "Image|app".to_owned(),
                format!("MaxMemory|{}", 64 + record.memory),
                format!("access|{}", ["public", "private", "localhost"][record.access]),
                format!("status|{status}"),
            ];
            all.push(record.port.map_or("PortMapping|none".to_owned(), |port| {
                format!("PortMapping|custom|PortMappingPorts|{port}:80")
            }));
            all.extend(record.link.as_ref().map(|link| format!("Interlinked|{link}:db")));
            all.extend(
                record
                    .hours
                    .map(|(from, to)| format!("StartAt|0 {from} * * *|StopAt|0 {to} * * *")),
            );
            writeln!(text, "{name}=service|{}", all.join("|")).unwrap();
        }
        text
    }

    fn unlink(&mut self, name: &str) {
        for record in self.records.values_mut() {
            if record.link.as_deref() == Some(name) {
                record.link = None;
            }
        }
    }

    /// A new record, or another one in the place of one that is there.
    fn set(&mut self, dice: &mut Dice) -> String {
        let name = NAMES[dice.below(NAMES.len())].to_owned();
        let number = self.numbers.len();
        self.numbers.entry(name.clone()).or_insert(number);
        // To one before it in the alphabet, so that there is no circle, and to one that always runs: else
        // it is held, as it is.
        let others: Vec<String> = self
            .records
            .iter()
            .filter(|(other, found)| **other < name && found.enabled && found.hours.is_none())
            .map(|(other, _)| other.clone())
            .collect();
        let record = Record {
            memory: dice.below(3),
            port: (dice.below(2) == 0).then(|| {
                self.next_port += 1;
                8000 + self.next_port % 50_000
            }),
            access: dice.below(3),
            link: dice.one_of(&others).filter(|_| dice.below(2) == 0),
            enabled: dice.below(4) > 0,
            hours: (dice.below(3) == 0).then(|| (dice.below(24), dice.below(24))),
        };
        if !record.enabled || record.hours.is_some() {
            self.unlink(&name);
        }
        self.records.insert(name.clone(), record);
        format!("set {name}")
    }

    /// One property of a record that is there.
    fn alter(&mut self, dice: &mut Dice) -> Option<String> {
        let name = dice.one_of(&self.names())?;
        let what = dice.below(4);
        let record = self.records.get_mut(&name)?;
        match what {
            0 => record.memory = (record.memory + 1) % 3,
            1 => record.access = (record.access + 1) % 3,
            2 => record.link = None,
            _ => record.enabled = !record.enabled,
        }
        self.unlink_disabled();
        Some(format!("alter {name} {what}"))
    }

    fn unlink_disabled(&mut self) {
        let off: Vec<String> = self
            .records
            .iter()
            .filter(|(_, record)| !record.enabled)
            .map(|(name, _)| name.clone())
            .collect();
        for name in off {
            self.unlink(&name);
        }
    }

    fn delete(&mut self, dice: &mut Dice) -> Option<String> {
        let name = dice.one_of(&self.names())?;
        self.unlink(&name);
        self.records.remove(&name);
        Some(format!("delete {name}"))
    }

    fn rename(&mut self, dice: &mut Dice) -> Option<String> {
        let old = dice.one_of(&self.names())?;
        let free: Vec<String> = NAMES
            .iter()
            .map(|name| (*name).to_owned())
            .filter(|name| !self.records.contains_key(name))
            .collect();
        let new = dice.one_of(&free)?;
        self.unlink(&old);
        let record = self.records.remove(&old)?;
        let number = self.numbers.len();
        self.numbers.entry(new.clone()).or_insert(number);
        self.records.insert(new.clone(), Record { link: None, ..record });
        Some(format!("rename {old} to {new}"))
    }

    /// Whether there should be a process now.
    fn is_up(&self, record: &Record) -> bool {
        // The last start or stop before now; a stop at the same moment is after the start.
        let is_open = |(from, to): (usize, usize)| {
            let since = |hour: usize| (self.hour + 24 - hour) % 24;
            since(from) < since(to)
        };
        record.enabled && record.hours.is_none_or(is_open)
    }
}

/// A life: the model, the host, and what has happened.
struct Life {
    model: Model,
    bench: Bench,
    story: String,
}

impl Life {
    fn new() -> Self {
        let life = Self { model: Model::default(), bench: Bench::new(), story: String::new() };
        life.write();
        life
    }

    /// Tells the bench what the model has.
    fn write(&self) {
        self.bench.records(&self.model.text());
        let begin: jiff::Zoned = "2026-06-01T00:30:00+00:00[UTC]".parse().unwrap();
        let hours = i64::try_from(self.model.hour).unwrap();
        self.bench.cx.host.set_clock(begin.checked_add(hours.hours()).unwrap());
    }

    fn act(&mut self, dice: &mut Dice) {
        let host = &self.bench.cx.host;
        let done = match dice.below(10) {
            0 | 1 => Some(self.model.set(dice)),
            2 => self.model.alter(dice),
            3 => self.model.delete(dice),
            4 => self.model.rename(dice),
            5 => {
                let (drift, number) = (DRIFTS[dice.below(DRIFTS.len())], dice.below(7));
                host.drift(drift, number);
                Some(format!("{drift:?} {number}"))
            }
            6 => {
                // The engine is started again, and containers are not.
                for name in host.state().containers.keys() {
                    host.end(name);
                }
                Some("engine restarted".to_owned())
            }
            7 => {
                self.model.hour = (self.model.hour + 1 + dice.below(48)) % (24 * 365);
                Some(format!("hour {}", self.model.hour))
            }
            _ => {
                let effects = dice.below(30);
                host.fail_after(effects);
                let _cut = self.bench.pass(Mode::Apply);
                host.never_fail();
                Some(format!("cut after {effects}"))
            }
        };
        writeln!(self.story, "{}", done.unwrap_or_default()).unwrap();
        self.write();
    }

    /// One pass, after which all is as the model says, and one more that has nothing to do.
    fn settle(&self) {
        let story = &self.story;
        // Waits are by the machine's own clock, and have a test of theirs.
        self.bench.cx.host.forget_troubles();
        let report = self.bench.pass(Mode::Apply);
        assert!(report.is_as_desired(), "{story}{report:#?}");
        let state = self.bench.cx.host.state();
        assert!(state.leftovers.is_empty(), "{story}{:?}", state.leftovers);
        let mut expected = BTreeSet::new();
        for (name, record) in &self.model.records {
            let name = name.parse().unwrap();
            let found = state.containers.get(&name);
            let is_up = self.model.is_up(record);
            assert_eq!(
                found.is_some_and(|found| found.state.is_up()),
                is_up,
                "{story}{name} {record:?} {found:?}"
            );
            if is_up {
                let ports: Vec<usize> = found
                    .iter()
                    .flat_map(|it| &it.published)
                    .map(|it| it.number.get().into())
                    .collect();
                assert_eq!(ports, Vec::from_iter(record.port), "{story}{name}");
                let spec = self.bench.cx.host.spec(&name);
                let memory = (64 + record.memory) << 20;
                assert_eq!(spec["memory_bytes"], memory, "{story}{name}");
                let links =
                    spec.pointer("/attachment/bridge/aliases/db").and_then(|it| it.as_str());
                assert_eq!(links, record.link.as_deref(), "{story}{name}");
            }
            expected.insert(name);
        }
        let extra = state.containers.keys().find(|name| !expected.contains(*name));
        assert_eq!(extra, None, "{story}");
        self.bench.cx.host.take_performed();
        let report = self.bench.pass(Mode::Apply);
        assert!(report.plan.is_empty(), "{story}{report:#?}");
        assert_eq!(self.bench.cx.host.take_performed(), [""; 0], "{story}");
    }
}

#[test]
fn the_host_is_as_the_model_says_whenever_it_is_quiet() {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let first = number("WHARF_MODEL_SEED", since.as_secs());
    let (seeds, actions) =
        (number("WHARF_MODEL_SEEDS", SEEDS), number("WHARF_MODEL_ACTIONS", ACTIONS));
    let begun = std::time::Instant::now();
    let mut settled = 0;
    for seed in first..first + seeds {
        // What a test prints is shown when it fails.
        #[expect(clippy::print_stdout, reason = "the seed says how to see it again")]
        {
            println!("WHARF_MODEL_SEED={seed}");
        }
        let (mut life, mut dice) = (Life::new(), Dice::new(seed));
        for _ in 0..actions {
            life.act(&mut dice);
            if dice.below(3) == 0 {
                life.settle();
                settled += 1;
                life.story.clear();
            }
        }
        life.settle();
    }
    assert!(settled * 6 > seeds * actions, "{settled} of {} were looked at", seeds * actions);
    #[expect(clippy::print_stdout, reason = "what a run by hand has done")]
    {
        println!("{} actions, {settled} times quiet, {:.1?}", seeds * actions, begun.elapsed());
    }
}
