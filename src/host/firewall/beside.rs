// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's own rules for the managed bridge: never touched, only missed when they are gone.
//!
//! Without them containers do not reach the outside, and links may be dead. Which rules an engine writes
//! depends on its version and options, so none is asked for by name: a table that once said something
//! about the bridge, and says nothing any more, has lost it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::host::{Error, command, file};
use crate::settings::Root;
use crate::state::Bridge;

use super::noted::{now, place};

/// What is remembered, until the next boot, of the rules of others.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    seen: PathBuf,
}

impl Beside {
    pub(super) fn new(root: &Root) -> Self {
        Self { seen: root.at("/run/wharf/engine-rules") }
    }

    /// Whether no rule of this machine was changed since all tables spoke of `bridge` as they should.
    pub(super) fn is_untouched(&self, bridge: &Bridge) -> bool {
        let seen = fs::read_to_string(&self.seen).unwrap_or_default();
        let mut lines = seen.lines();
        lines.next() == now().as_deref() && lines.next() == Some(name(bridge).as_str())
    }

    /// The tables that spoke of `bridge` and do so no more in what was `read`, and what else is `expected`.
    pub(super) fn missed(
        &self,
        bridge: &Bridge,
        read: Read,
        expected: &Expected<'_>,
        note: bool,
    ) -> Result<Missed, Error> {
        let Read { before, rules } = read;
        let known = self.known(bridge, before.as_deref());
        let Some(rules) = rules else { return Ok(Missed::default()) };
        let found = rules.tables(bridge);
        let missed = match expected {
            Expected::AsBefore => Missed { tables: gone(&known, &found), ..Missed::default() },
            Expected::While(is_used, others) => Missed {
                tables: match (is_used, found.is_empty() && known.is_empty()) {
                    (false, _) => Vec::new(),
                    (true, true) => vec!["all tables".to_owned()],
                    (true, false) => gone(&known, &found),
                },
                others: others
                    .iter()
                    .filter(|(_, networks)| !networks.is_empty())
                    .filter(|(_, networks)| !networks.iter().any(|net| rules.speak_of(*net)))
                    .map(|(name, _)| (*name).to_owned())
                    .collect(),
            },
        };
        let is_whole = missed == Missed::default();
        let unchanged = before.filter(|before| now().as_ref() == Some(before));
        if let Some(now) = unchanged.filter(|_| note && is_whole) {
            let lines = [now, name(bridge)].into_iter().chain(found);
            let text = lines.collect::<Vec<_>>().join("\n") + "\n";
            file::replace(&self.seen, text.as_bytes(), 0o600)
                .map_err(|source| Error::File { path: self.seen.clone(), source })?;
        }
        Ok(missed)
    }

    /// The tables that spoke of `bridge` when it was last looked at, in this network namespace.
    fn known(&self, bridge: &Bridge, now: Option<&str>) -> BTreeSet<String> {
        let seen = fs::read_to_string(&self.seen).unwrap_or_default();
        let mut lines = seen.lines();
        // Another bridge has other rules, another network namespace too.
        let is_here = lines.next().zip(now).is_some_and(|(seen, now)| place(seen) == place(now));
        let is_it = lines.next() == Some(name(bridge).as_str()) && is_here;
        lines.filter(|_| is_it).map(str::to_owned).collect()
    }
}

/// What must be there beside the guard.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// What was there before: an engine may write no rules at all, when it is told so.
    AsBefore,
    /// Something about the bridge while it is used, and about the networks of these containers: Podman takes its
    /// rules away with the last container, and always has some.
    While(bool, &'a [(&'a str, &'a BTreeSet<Ipv4Net>)]),
}

/// Rules of the engine that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Tables that say nothing of the bridge any more, as their owner calls them.
    pub tables: Vec<String>,
    /// Containers of others of whose networks nothing is said.
    pub others: BTreeSet<String>,
}

/// What is known and not found. With a table that was not known the engine has changed its ways.
fn gone(known: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    if found.is_subset(known) { known.difference(found).cloned().collect() } else { Vec::new() }
}

fn name(bridge: &Bridge) -> String {
    format!("{} {}", bridge.name, bridge.subnet)
}

/// The rules of this machine, read when nobody has asked yet what is missed.
#[derive(Debug)]
pub struct Read {
    /// The generation before it was read.
    before: Option<String>,
    rules: Option<Rules>,
}

impl Read {
    /// All that is to be known about `bridge`.
    pub async fn about(bridge: &Bridge) -> Self {
        let before = now();
        Self { before, rules: Rules::read(bridge).await }
    }
}

/// All rules of this machine, as far as a program is there that tells them.
#[derive(Debug)]
struct Rules {
    saved: Option<String>,
    listed: Option<String>,
}

impl Rules {
    /// `None` when no program is there that could tell. `nft` is asked only when `iptables` knows nothing of
    /// `bridge`: an engine writes its rules in one of the two ways.
    async fn read(bridge: &Bridge) -> Option<Self> {
        let output = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let saved = command::run("iptables-save", &[], b"").await.ok().map(output);
        let mut rules = Self { saved, listed: None };
        if rules.tables(bridge).is_empty() {
            let listed = command::run("nft", &["-s", "list", "ruleset"], b"").await.ok();
            rules.listed = listed.map(output);
        }
        (rules.saved.is_some() || rules.listed.is_some()).then_some(rules)
    }

    /// The tables that speak of `bridge`.
    fn tables(&self, bridge: &Bridge) -> BTreeSet<String> {
        self.speaking(&[bridge.name.clone(), bridge.subnet.to_string()])
    }

    fn speak_of(&self, network: Ipv4Net) -> bool {
        !self.speaking(&[network.to_string()]).is_empty()
    }

    /// `nft` shows the rules of `iptables` too, so they are asked for under one name only.
    fn speaking(&self, words: &[String]) -> BTreeSet<String> {
        let saved = self.saved.as_deref().map(|text| speaking(text, "*", "iptables ", words));
        let listed = || self.listed.as_deref().map(|text| speaking(text, "table ", "", words));
        saved.filter(|found| !found.is_empty()).or_else(listed).unwrap_or_default()
    }
}

/// Whether `table` speaks of containers without being the engine's: ours, and firewalld's, which lists networks
/// of Podman in a zone.
fn is_other(table: &str) -> bool {
    table == "inet wharf" || table.ends_with(" firewalld")
}

/// The tables of `text`, each of which begins with `begin` and its name, that have one of `words`.
fn speaking(text: &str, begin: &str, family: &str, words: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(begin) {
            table = name.trim_end_matches(" {");
        } else if !is_other(table)
            && !line.contains("WHARF-")
            && words.iter().any(|word| line.contains(word.as_str()))
        {
            found.insert(format!("{family}{table}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_speaks_of_the_bridge_by_its_name_or_subnet_and_ours_does_not_count() {
        let words = ["wharf0".to_owned(), "10.0.3.0/24".to_owned()];
        let saved = "*nat\n:DOCKER - [0:0]\n-A POSTROUTING -s 10.0.3.0/24 ! -o wharf0 -j MASQUERADE\nCOMMIT\n\
                     *raw\nCOMMIT\n*mangle\n-A WHARF-FORWARD -i wharf0 -g WHARF-from-containers\nCOMMIT\n*filter\n-A FORWARD -o docker0 -j DOCKER\nCOMMIT\n";
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(speaking(saved, "*", "iptables ", &words), of(&["iptables nat"]));
        let listed = "table inet wharf {\n\tchain a {\n\t\tiifname \"wharf0\" return\n\t}\n}\n\
                      table inet netavark {\n\tchain b {\n\t\tip saddr 10.0.3.0/24 accept\n\t}\n}\n\
                      table ip mine {\n}\n\
                      table inet firewalld {\n\tchain c {\n\t\tip saddr 10.0.3.0/24 accept\n\t}\n}\n";
        assert_eq!(speaking(listed, "table ", "", &words), of(&["inet netavark"]));
    }
}
