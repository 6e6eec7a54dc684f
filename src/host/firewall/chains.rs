// SPDX-License-Identifier: GPL-2.0-or-later

//! Our chains of iptables as text: what `iptables-save` says of them, what takes the place of them, and
//! the sets that they stand for. Pure.
//!
//! iptables has no table of our own, so everything here goes by the name: chains `WHARF-*` and the jumps
//! to them are ours, whatever else stands in the table `mangle` is not looked at. A chain that lists ports or
//! addresses is what a set is to nftables, and has its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::db::value::{self, PortRange, Protocol};
use crate::state::Guard;
use crate::state::exposure::{EgressFlow, HostFlow, HostPort, LinkFlow, Source};

/// How each of our chains begins.
const OURS: &str = "WHARF-";

/// The chains of the kernel that have a jump to ours.
const HOOKS: [&str; 4] = ["PREROUTING", "INPUT", "FORWARD", "POSTROUTING"];

/// IPv4 or IPv6: each has programs and rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Marks, in a text for both, the rules of the other one.
    const fn foreign_flag(self) -> &'static str {
        match self {
            Self::V4 => "-6",
            Self::V6 => "-4",
        }
    }
}

/// What is ours in an output of `iptables-save -t mangle`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Our chains, and their rules in their order.
    chains: BTreeMap<String, Vec<String>>,
    /// Rules of other chains that lead to ours: the chain, the place in it, the rule.
    jumps: Vec<(String, usize, String)>,
}

impl Kept {
    /// Takes what is ours out of `save`.
    pub(super) fn parse(save: &str) -> Self {
        let mut kept = Self::default();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for line in save.lines() {
            if let Some(name) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
                if name.starts_with(OURS) {
                    kept.chains.entry(name.to_owned()).or_default();
                }
                continue;
            }
            let Some((chain, rule)) =
                line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            if chain.starts_with(OURS) {
                kept.chains.entry(chain.to_owned()).or_default().push(rule.to_owned());
                continue;
            }
            let place = places.entry(chain).or_default();
            *place += 1;
            if target(rule).is_some_and(|target| target.starts_with(OURS)) {
                kept.jumps.push((chain.to_owned(), *place, rule.to_owned()));
            }
        }
        kept
    }

    /// Whether nothing of ours is there.
    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }

    /// The same text for the same rules, whatever stands beside them.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (chain, place, rule) in &self.jumps {
            // Writing to a String cannot fail.
            writeln!(text, "{chain} {place} {rule}").ok();
        }
        for (chain, rules) in &self.chains {
            writeln!(text, "{chain}").ok();
            for rule in rules {
                writeln!(text, "  {rule}").ok();
            }
        }
        text
    }

    /// Whether each hook leads to our chain before it does anything else.
    fn is_first(&self) -> bool {
        HOOKS.iter().all(|hook| {
            let rule = format!("-j {OURS}{hook}");
            self.jumps
                .iter()
                .any(|(chain, place, jump)| chain == hook && *place == 1 && *jump == rule)
        })
    }

    /// What `iptables-restore --noflush` is to be given so that `text` takes the place of all this.
    pub(super) fn replaced_by(&self, text: &str) -> String {
        let declared: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next()).collect();
        let stale: Vec<&String> =
            self.chains.keys().filter(|chain| !declared.contains(chain.as_str())).collect();
        let mut out = String::new();
        let mut is_begun = false;
        for line in text.lines() {
            if !is_begun && line.starts_with("-I ") {
                is_begun = true;
                out.push_str(&self.without_jumps());
            }
            if line == "COMMIT" {
                out.push_str(&without_chains(&stale));
            }
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    /// What takes all this out.
    pub(super) fn removal(&self) -> String {
        let chains: Vec<&String> = self.chains.keys().collect();
        format!("*mangle\n{}{}COMMIT\n", self.without_jumps(), without_chains(&chains))
    }

    fn without_jumps(&self) -> String {
        self.jumps.iter().fold(String::new(), |mut lines, (chain, _, rule)| {
            writeln!(lines, "-D {chain} {rule}").ok();
            lines
        })
    }

    /// Whether this is what `text` asks for: its ports and addresses, as many rules in each chain, and the
    /// jumps before all others.
    pub(super) fn is_of(&self, text: &str, family: Family) -> bool {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in text.lines() {
            if let Some(chain) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
                counts.entry(chain).or_default();
            }
        }
        for (chain, _) in rules(text, Some(family)) {
            *counts.entry(chain).or_default() += 1;
        }
        let found: BTreeMap<&str, usize> =
            self.chains.iter().map(|(chain, rules)| (chain.as_str(), rules.len())).collect();
        let kept = self.chains.iter().flat_map(|(chain, rules)| {
            rules.iter().map(move |rule| (chain.as_str(), rule.as_str()))
        });
        self.is_first()
            && found == counts
            && sets(kept, Some(family)) == sets(rules(text, Some(family)), Some(family))
    }
}

/// Empties all of them before it removes one: they lead to each other.
fn without_chains(chains: &[&String]) -> String {
    let mut lines = String::new();
    for verb in ["-F", "-X"] {
        for chain in chains {
            writeln!(lines, "{verb} {chain}").ok();
        }
    }
    lines
}

/// Where `rule` sends a packet.
fn target(rule: &str) -> Option<&str> {
    word(rule, "-j").or_else(|| word(rule, "-g"))
}

/// What stands behind `option`.
fn word<'a>(rule: &'a str, option: &str) -> Option<&'a str> {
    let mut words = rule.split_whitespace();
    words.find(|word| *word == option)?;
    words.next()
}

/// The rules of our chains in `text`; of one family, those that are its own or of both.
fn rules(text: &str, family: Option<Family>) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(move |line| {
        let (chain, rule) = line.strip_prefix("-A ")?.split_once(' ')?;
        let foreign = family.map(Family::foreign_flag);
        let is_foreign = foreign.is_some_and(|flag| rule.split_whitespace().next() == Some(flag));
        (chain.starts_with(OURS) && !is_foreign).then_some((chain, rule))
    })
}

/// What `text`, a text for both families, keeps; bridge and subnet stay empty.
pub(super) fn guard(text: &str) -> Guard {
    sets(rules(text, None), None)
}

/// The chains read back into the sets they were rendered from.
///
/// `iptables-save` leaves out a network that is everything, so then only `family` tells which one it was.
fn sets<'a>(rules: impl Iterator<Item = (&'a str, &'a str)>, family: Option<Family>) -> Guard {
    let mut guard = Guard::default();
    for (chain, rule) in rules {
        let jump = target(rule).unwrap_or_default();
        match list(chain) {
            "localhost" if jump == "DROP" => guard.localhost.extend(ports(rule)),
            "private" if jump == "DROP" => guard.private.extend(ports(rule)),
            "public" if jump == "DROP" => guard.public.extend(ports(rule)),
            "restricted" if jump == "DROP" => guard.restricted.extend(ports(rule)),
            "restricted" if jump == "RETURN" => {
                guard.allow4.extend(sources(rule, networks4(rule, "-s", family)));
                guard.allow6.extend(sources(rule, networks6(rule, "-s", family)));
            }
            "deny" if jump == "DROP" => {
                guard.deny4.extend(sources(rule, networks4(rule, "-s", family)));
                guard.deny6.extend(sources(rule, networks6(rule, "-s", family)));
            }
            "to-host" if rule.contains("-m rpfilter") => {
                guard.local4.extend(networks4(rule, "-s", family));
                guard.local6.extend(networks6(rule, "-s", family));
            }
            "members" if jump == "RETURN" => guard.members.extend(address(rule, "-d")),
            "links" if jump == "RETURN" => guard.links.extend(link(rule)),
            "host" => guard.host_access.extend(host_access(rule)),
            "egress" => egress(&mut guard, rule, jump, family),
            _ => {}
        }
    }
    guard
}

/// The list of which `chain` is, or has a group: `private` for `WHARF-private-3`.
fn list(chain: &str) -> &str {
    let name = chain.strip_prefix(OURS).unwrap_or_default();
    match name.rsplit_once('-') {
        Some((list, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => list,
        Some(_) | None => name,
    }
}

fn egress(guard: &mut Guard, rule: &str, jump: &str, family: Option<Family>) {
    let Some(from) = address(rule, "-s") else { return };
    match jump {
        "RETURN" => {
            guard.egress_listed.insert(from);
            let to = networks4(rule, "-d", family).into_iter();
            guard.egress_to.extend(to.map(|to| EgressFlow { from, to }));
        }
        "DROP" if !guard.egress_listed.contains(&from) => drop(guard.egress_none.insert(from)),
        "DROP" => {}
        _ => drop(guard.egress_lan.insert(from)),
    }
}

fn link(rule: &str) -> Option<LinkFlow> {
    let (protocol, ports) = span(rule)?;
    Some(LinkFlow { from: address(rule, "-s")?, to: address(rule, "-d")?, protocol, ports })
}

fn host_access(rule: &str) -> impl Iterator<Item = HostFlow> {
    let from = address(rule, "-s");
    ports(rule).filter_map(move |HostPort { protocol, port }| {
        Some(HostFlow { from: from?, protocol, port })
    })
}

fn sources<N: Copy>(rule: &str, networks: Option<N>) -> impl Iterator<Item = Source<N>> {
    ports(rule).filter_map(move |HostPort { protocol, port }| {
        Some(Source { protocol, port, network: networks? })
    })
}

fn ports(rule: &str) -> impl Iterator<Item = HostPort> + use<> {
    span(rule)
        .into_iter()
        .flat_map(|(protocol, ports)| ports.iter().map(move |port| HostPort { protocol, port }))
}

fn span(rule: &str) -> Option<(Protocol, PortRange)> {
    let ports = word(rule, "--dport")?.replace(':', "-");
    Some((Protocol::parse(word(rule, "-p")?)?, *value::ports(&ports).ok()?.first()?))
}

fn address(rule: &str, option: &str) -> Option<Ipv4Addr> {
    let text = word(rule, option)?;
    text.strip_suffix("/32").unwrap_or(text).parse().ok()
}

fn networks4(rule: &str, option: &str, family: Option<Family>) -> Option<Ipv4Net> {
    match word(rule, option) {
        Some(text) => network(text, 32).map(|network: Ipv4Net| network.trunc()),
        None => (family == Some(Family::V4)).then(Ipv4Net::default),
    }
}

fn networks6(rule: &str, option: &str, family: Option<Family>) -> Option<Ipv6Net> {
    match word(rule, option) {
        Some(text) => network(text, 128).map(|network: Ipv6Net| network.trunc()),
        None => (family == Some(Family::V6)).then(Ipv6Net::default),
    }
}

fn network<N: FromStr>(text: &str, bits: u8) -> Option<N> {
    if text.contains('/') { text.parse().ok() } else { format!("{text}/{bits}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "*mangle
:WHARF-PREROUTING - [0:0]
:WHARF-private - [0:0]
:WHARF-restricted - [0:0]
:WHARF-restricted-1 - [0:0]
:WHARF-egress - [0:0]
-I PREROUTING -j WHARF-PREROUTING
:WHARF-private-1 - [0:0]
-A WHARF-private -p tcp --dport 8080:8083 -g WHARF-private-1
-A WHARF-private-1 -p tcp --dport 8080:8081 -j DROP
-A WHARF-private-1 -p tcp --dport 8083 -j DROP
-A WHARF-restricted -4 -s 0.0.0.0/0 -p tcp --dport 443 -j RETURN
-A WHARF-restricted -6 -s 2001:db8::/32 -p tcp --dport 443 -j RETURN
-A WHARF-restricted-1 -p tcp --dport 443 -j DROP
-A WHARF-egress -4 -s 10.0.3.2 -d 10.0.0.0/8 -j RETURN
-A WHARF-egress -4 -s 10.0.3.2 -j DROP
-A WHARF-egress -4 -s 10.0.3.3 -j DROP
-A WHARF-egress -4 -s 10.0.3.4 -g WHARF-to-lan
COMMIT
";
    const SAVE: &str = "# a comment
*mangle
:PREROUTING ACCEPT [12:3456]
:THEIRS - [0:0]
:WHARF-restricted - [1:2]
:WHARF-private-1 - [0:0]
:WHARF-restricted-1 - [0:0]
:WHARF-private - [0:0]
:WHARF-PREROUTING - [0:0]
:WHARF-egress - [0:0]
-A PREROUTING -j WHARF-PREROUTING
-A PREROUTING -j THEIRS
-A INPUT -j WHARF-INPUT
-A FORWARD -j WHARF-FORWARD
-A POSTROUTING -j WHARF-POSTROUTING
-A THEIRS -j RETURN
-A WHARF-private -p tcp -m tcp --dport 8080:8083 -g WHARF-private-1
-A WHARF-private-1 -p tcp -m tcp --dport 8080:8081 -j DROP
-A WHARF-private-1 -p tcp -m tcp --dport 8083 -j DROP
-A WHARF-restricted -p tcp -m tcp --dport 443 -j RETURN
-A WHARF-restricted-1 -p tcp -m tcp --dport 443 -j DROP
-A WHARF-egress -s 10.0.3.2/32 -d 10.0.0.0/8 -j RETURN
-A WHARF-egress -s 10.0.3.2/32 -j DROP
-A WHARF-egress -s 10.0.3.3/32 -j DROP
-A WHARF-egress -s 10.0.3.4/32 -g WHARF-to-lan
COMMIT
";

    #[test]
    fn what_was_loaded_is_known_again_and_what_was_changed_is_not() {
        assert!(Kept::parse(SAVE).is_of(TEXT, Family::V4));
        assert!(!Kept::parse(SAVE).is_of(TEXT, Family::V6));
        for (line, other) in [
            ("--dport 8080:8081", "--dport 8080"),
            ("-A PREROUTING -j WHARF-PREROUTING\n", ""),
            (
                "-A PREROUTING -j WHARF-PREROUTING\n-A PREROUTING -j THEIRS\n",
                "-A PREROUTING -j THEIRS\n-A PREROUTING -j WHARF-PREROUTING\n",
            ),
            ("-A WHARF-egress -s 10.0.3.3/32 -j DROP\n", ""),
            (":WHARF-egress - [0:0]\n", ":WHARF-egress - [0:0]\n:WHARF-more - [0:0]\n"),
        ] {
            let changed = SAVE.replace(line, other);
            assert_ne!(changed, SAVE);
            assert!(!Kept::parse(&changed).is_of(TEXT, Family::V4), "{line}");
            assert_ne!(Kept::parse(&changed).text(), Kept::parse(SAVE).text(), "{line}");
        }
        let of_others =
            SAVE.replace("-A THEIRS -j RETURN", "-A THEIRS -j ACCEPT").replace("12:34", "5:6");
        assert_eq!(Kept::parse(&of_others).text(), Kept::parse(SAVE).text());
    }

    #[test]
    fn the_lists_of_a_text_are_sets_again() {
        let guard = guard(TEXT);
        let shown = |ports: &BTreeSet<HostPort>| {
            ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&guard.private), "8080/tcp 8081/tcp 8083/tcp");
        assert_eq!(shown(&guard.restricted), "443/tcp");
        assert_eq!(guard.allow4.first().unwrap().network.to_string(), "0.0.0.0/0");
        assert_eq!(guard.allow6.first().unwrap().network.to_string(), "2001:db8::/32");
        assert_eq!(guard.egress_to.first().unwrap().to.to_string(), "10.0.0.0/8");
        assert_eq!(guard.egress_listed, ["10.0.3.2".parse().unwrap()].into());
        assert_eq!(guard.egress_none, ["10.0.3.3".parse().unwrap()].into());
        assert_eq!(guard.egress_lan, ["10.0.3.4".parse().unwrap()].into());
    }

    #[test]
    fn a_new_text_takes_out_old_jumps_and_chains_and_nothing_else() {
        let old = SAVE.replace(":WHARF-egress", ":WHARF-old - [0:0]\n:WHARF-egress");
        let change = Kept::parse(&old).replaced_by(TEXT);
        let added: Vec<&str> =
            change.lines().filter(|line| !TEXT.lines().any(|known| known == *line)).collect();
        assert_eq!(
            added,
            [
                "-D PREROUTING -j WHARF-PREROUTING",
                "-D INPUT -j WHARF-INPUT",
                "-D FORWARD -j WHARF-FORWARD",
                "-D POSTROUTING -j WHARF-POSTROUTING",
                "-F WHARF-old",
                "-X WHARF-old",
            ]
        );
        assert_eq!(Kept::default().replaced_by(TEXT), TEXT);
        let removal = Kept::parse(SAVE).removal();
        assert!(!removal.contains("THEIRS"), "{removal}");
        assert_eq!(removal.matches("-X ").count(), 6);
    }
}
