// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's own rules for the managed bridge: never touched, only missed when they are gone.
//!
//! Without them containers do not reach the outside, and links may be dead. Which rules an engine writes
//! depends on its version and options, so none is asked for by name: a table that once said something
//! about the bridge, and says nothing any more, has lost it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::host::{Error, command, file};
use crate::settings::Root;
use crate::state::Bridge;

/// What is remembered, until the next boot, of the rules of others.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    seen: PathBuf,
}

impl Beside {
    pub(super) fn new(root: &Root) -> Self {
        Self { seen: root.at("/run/wharf/engine-rules") }
    }

    /// The tables that spoke of `bridge` and do so no more; none is read when no rule of this machine was
    /// changed since all did.
    pub(super) async fn lost(&self, bridge: &Bridge, note: bool) -> Result<Vec<String>, Error> {
        let before = super::now();
        let name = format!("{} {}", bridge.name, bridge.subnet);
        let seen = fs::read_to_string(&self.seen).unwrap_or_default();
        let mut lines = seen.lines();
        let is_untouched = lines.next() == before.as_deref();
        // Another bridge has other rules, another network namespace too.
        let same = |known: &&str| before.as_deref().is_some_and(|now| place(now) == place(known));
        let is_it =
            seen.lines().next().as_ref().is_some_and(same) && lines.next() == Some(name.as_str());
        let known: BTreeSet<String> = lines.filter(|_| is_it).map(str::to_owned).collect();
        if is_untouched && is_it {
            return Ok(Vec::new());
        }
        let Some(found) = tables(bridge).await else { return Ok(Vec::new()) };
        // With a table that was not known the engine has changed its ways.
        if found.is_subset(&known) && found != known {
            return Ok(known.difference(&found).cloned().collect());
        }
        if note && let Some(now) = before.filter(|before| super::now().as_ref() == Some(before)) {
            let lines = [now, name].into_iter().chain(found);
            let text = lines.collect::<Vec<_>>().join("\n") + "\n";
            file::replace(&self.seen, text.as_bytes(), 0o600)
                .map_err(|source| Error::File { path: self.seen.clone(), source })?;
        }
        Ok(Vec::new())
    }
}

/// Boot and network namespace of a generation.
fn place(now: &str) -> &str {
    now.rsplit_once(' ').map_or(now, |(place, _)| place)
}

/// The tables that speak of `bridge`; `None` when no program is there that could tell.
async fn tables(bridge: &Bridge) -> Option<BTreeSet<String>> {
    let words = [bridge.name.clone(), bridge.subnet.to_string()];
    let output = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let saved = command::run("iptables-save", &[], b"").await.ok().map(output);
    let found = saved.as_deref().map(|text| speaking(text, "*", "iptables ", &words));
    if let Some(found) = found.filter(|found| !found.is_empty()) {
        return Some(found);
    }
    let listed = command::run("nft", &["-s", "list", "ruleset"], b"").await.ok().map(output);
    listed.map(|text| speaking(&text, "table ", "", &words)).or(saved.map(|_| BTreeSet::new()))
}

/// The tables of `text`, each of which begins with `begin` and its name, that have one of `words`.
fn speaking(text: &str, begin: &str, family: &str, words: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(begin) {
            table = name.trim_end_matches(" {");
        } else if table != "inet wharf" && words.iter().any(|word| line.contains(word.as_str())) {
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
                     *raw\nCOMMIT\n*filter\n-A FORWARD -o docker0 -j DOCKER\nCOMMIT\n";
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(speaking(saved, "*", "iptables ", &words), of(&["iptables nat"]));
        let listed = "table inet wharf {\n\tchain a {\n\t\tiifname \"wharf0\" return\n\t}\n}\n\
                      table inet netavark {\n\tchain b {\n\t\tip saddr 10.0.3.0/24 accept\n\t}\n}\n\
                      table ip mine {\n}\n";
        assert_eq!(speaking(listed, "table ", "", &words), of(&["inet netavark"]));
    }
}
