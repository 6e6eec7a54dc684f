// SPDX-License-Identifier: GPL-2.0-or-later

//! Why a source can or cannot reach a port, in words: the rule that decides, the property behind it, and
//! a command that would change it. Pure.
//!
//! What is told of packets is what the guard in the kernel does now; where the records want something else,
//! the answer says that a pass is due.

mod container;
mod outside;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::db::value;
use crate::reconcile::exposure::{Opening, Owner};
use crate::reconcile::survey::Survey;
use crate::state::Guard;
use crate::state::exposure::HostPort;
use crate::state::socket::Standing;

use record::Subject;

/// Why nothing can be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody has the name.
    #[error("there is no record, container, service or listening process '{name}'")]
    UnknownName {
        /// As it was given.
        name: String,
        /// A name that is near.
        near: Option<String>,
    },
    /// The source is no word, address or container.
    #[error("'{from}' is no source; right would be internet, lan, host, an address or a container")]
    UnknownSource {
        /// As it was given.
        from: String,
        /// A name that is near.
        near: Option<String>,
    },
    /// The port is none of it.
    #[error("'{name}' has no port {port}; it has: {ports}")]
    UnknownPort {
        /// Of whom.
        name: String,
        /// As it was given.
        port: String,
        /// Those that there are.
        ports: String,
    },
}

impl Error {
    /// What was meant, perhaps.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::UnknownName { near, .. } | Self::UnknownSource { near, .. } => {
                near.as_ref().map(|near| format!("is it '{near}'?"))
            }
            Self::UnknownPort { .. } => None,
        }
    }
}

/// Who wants to reach a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Internet,
    Lan,
    Host,
    /// Somebody outside; whether the address counts as local.
    Address(IpAddr, bool),
    /// A record's container, or somebody else's.
    Container(String),
}

impl Source {
    fn words(&self) -> String {
        match self {
            Self::Internet => "the Internet".to_owned(),
            Self::Lan => "the local networks".to_owned(),
            Self::Host => "this host".to_owned(),
            Self::Address(address, true) => format!("{address} (a local network)"),
            Self::Address(address, false) => format!("{address} (the Internet)"),
            Self::Container(name) => format!("container '{name}'"),
        }
    }
}

/// Whether one source reaches one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Who.
    pub from: String,
    /// What, as `8080/tcp`.
    pub to: String,
    /// Whether it gets there.
    pub can: bool,
    /// What decides it, the nearest to the records first.
    pub because: Vec<String>,
    /// A command that would make it the other way.
    pub change: Option<String>,
}

/// All that there is to say of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The name.
    pub name: String,
    /// What it is and does, a sentence each.
    pub facts: Vec<String>,
    /// Who reaches what of it.
    pub verdicts: Vec<Verdict>,
}

/// Explains who reaches `name`: from one source or all kinds of it, at one port or all.
///
/// # Errors
///
/// The name, the source or the port is none.
pub fn explain(
    survey: &Survey,
    name: &str,
    from: Option<&str>,
    port: Option<&str>,
) -> Result<Explanation, Error> {
    let openings = survey.openings();
    if survey.snapshot.containers.get(name).is_some() {
        let subject = Subject::new(survey, &openings, name);
        return of_record(&subject, from, port);
    }
    of_other(survey, &openings, name, from, port)
}

fn of_record(
    subject: &Subject<'_>,
    from: Option<&str>,
    port: Option<&str>,
) -> Result<Explanation, Error> {
    let sources = sources(subject.survey, subject.name, from)?;
    let (at_host, served) = (subject.host_ports(), subject.served());
    let all: BTreeSet<HostPort> = at_host.union(&served).copied().collect();
    let is_meant = choose(subject.name, &all, port)?;
    let mut verdicts = Vec::new();
    for source in &sources {
        let add: Vec<Verdict> = match source {
            Source::Container(other) if subject.survey.snapshot.containers.get(other).is_some() => {
                container::verdicts(subject, other, &is_meant)
            }
            Source::Internet
            | Source::Lan
            | Source::Host
            | Source::Address(..)
            | Source::Container(_) => at_host
                .iter()
                .filter(|port| is_meant.contains(*port))
                .flat_map(|port| outside::of_record(subject, *port, source))
                .collect(),
        };
        verdicts.extend(add);
    }
    let mut facts = subject.facts();
    if from.is_none() {
        facts.extend(subject.outward());
    }
    Ok(Explanation { name: subject.name.to_owned(), facts, verdicts })
}

/// A foreign container, a process, or a service of `configuration`: what listens under its name or on its ports.
fn of_other(
    survey: &Survey,
    openings: &[Opening],
    name: &str,
    from: Option<&str>,
    port: Option<&str>,
) -> Result<Explanation, Error> {
    let is_its = |one: &&Opening| match &one.owner {
        Owner::Container { name: owner, .. } | Owner::Process { name: owner, .. } => owner == name,
        Owner::Record { .. } | Owner::Unknown => false,
    };
    let services: Vec<_> =
        survey.services.iter().filter(|service| service.asked.key == name).collect();
    let has = |one: &&Opening| services.iter().any(|service| service.has(one.protocol, one.port));
    let mine: Vec<&Opening> = openings.iter().filter(|one| is_its(one) || has(one)).collect();
    let mut facts: Vec<String> = services
        .iter()
        .map(|service| {
            let access = service.asked.access.as_str();
            format!(
                "Record '{name}' of configuration asks for {}/{}: access {access}, status enabled.",
                service.ports, service.protocol
            )
        })
        .collect();
    let is_listed = survey.around.containers.iter().any(|container| container.name == name);
    if mine.is_empty() && facts.is_empty() && !is_listed {
        return Err(Error::UnknownName {
            name: name.to_owned(),
            near: near(survey, openings, name),
        });
    }
    if mine.is_empty() {
        facts.push("Nothing of it listens on this host.".to_owned());
    }
    let owners: BTreeSet<String> =
        mine.iter().map(|one| format!("{} listens.", one.owner)).collect();
    facts.extend(owners);
    let ports = mine.iter().map(|one| port_of(one)).collect();
    let is_meant = choose(name, &ports, port)?;
    let verdicts = sources(survey, name, from)?
        .iter()
        .flat_map(|source| {
            let meant = mine.iter().filter(|one| is_meant.contains(&port_of(one)));
            meant.map(|one| outside::of_opening(survey, one, source)).collect::<Vec<_>>()
        })
        .collect();
    Ok(Explanation { name: name.to_owned(), facts, verdicts: without_repeats(verdicts) })
}

fn port_of(one: &Opening) -> HostPort {
    HostPort { protocol: one.protocol, port: one.port }
}

fn without_repeats(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut kept: Vec<Verdict> = Vec::new();
    for verdict in verdicts {
        if !kept.contains(&verdict) {
            kept.push(verdict);
        }
    }
    kept
}

/// Those of `ports` that `port` means: all, `8080`, or `8080/udp`.
fn choose(
    name: &str,
    ports: &BTreeSet<HostPort>,
    port: Option<&str>,
) -> Result<BTreeSet<HostPort>, Error> {
    let Some(text) = port else { return Ok(ports.clone()) };
    let is_meant = |port: &&HostPort| {
        port.to_string() == text || value::port(text).is_ok_and(|number| number == port.port)
    };
    let meant: BTreeSet<HostPort> = ports.iter().filter(is_meant).copied().collect();
    if !meant.is_empty() {
        return Ok(meant);
    }
    let known: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let ports = if known.is_empty() { "none".to_owned() } else { known.join(" ") };
    Err(Error::UnknownPort { name: name.to_owned(), port: text.to_owned(), ports })
}

/// The source that `from` names; all kinds of them when it is not said.
fn sources(survey: &Survey, name: &str, from: Option<&str>) -> Result<Vec<Source>, Error> {
    let Some(text) = from else {
        let mut all = vec![Source::Internet, Source::Lan, Source::Host];
        let others = survey.resolution.desired.containers.keys().map(ToString::to_string);
        all.extend(others.filter(|other| other != name).map(Source::Container));
        return Ok(all);
    };
    let source = match text {
        "internet" => Source::Internet,
        "lan" => Source::Lan,
        "host" => Source::Host,
        _ => match text.parse::<IpAddr>() {
            Ok(address) => of_address(survey, address),
            Err(_) if is_container(survey, text) => Source::Container(text.to_owned()),
            Err(_) => {
                let near = near(survey, &[], text);
                return Err(Error::UnknownSource { from: text.to_owned(), near });
            }
        },
    };
    Ok(vec![source])
}

fn is_container(survey: &Survey, name: &str) -> bool {
    survey.snapshot.containers.get(name).is_some()
        || survey.around.containers.iter().any(|container| container.name == name)
}

fn of_address(survey: &Survey, address: IpAddr) -> Source {
    if address.is_loopback() || survey.around.addresses.contains(&address) {
        return Source::Host;
    }
    let containers = &survey.resolution.desired.containers;
    let has = |container: &crate::state::Container| container.spec.address().map(IpAddr::V4);
    if let Some((name, _)) = containers.iter().find(|(_, one)| has(one) == Some(address)) {
        return Source::Container(name.to_string());
    }
    let guard = in_force(survey);
    let is_local = match address {
        IpAddr::V4(four) => guard.local4.iter().any(|network| network.contains(&four)),
        IpAddr::V6(six) => guard.local6.iter().any(|network| network.contains(&six)),
    };
    Source::Address(address, is_local)
}

/// The guard that counts, or the one that would when it is loaded.
fn in_force(survey: &Survey) -> &Guard {
    match &survey.around.guard {
        Standing::Loaded(guard) => guard,
        Standing::Absent | Standing::Altered => &survey.resolution.desired.guard,
    }
}

fn is_guarded(survey: &Survey) -> bool {
    matches!(survey.around.guard, Standing::Loaded(_))
}

/// The name that differs in the fewest letters.
fn near(survey: &Survey, openings: &[Opening], name: &str) -> Option<String> {
    let records = survey.snapshot.containers.keys().map(ToString::to_string);
    let listed = survey.around.containers.iter().map(|container| container.name.clone());
    let services = survey.services.iter().map(|service| service.asked.key.clone());
    let owners = openings.iter().filter_map(|one| match &one.owner {
        Owner::Process { name, .. } => Some(name.clone()),
        Owner::Record { .. } | Owner::Container { .. } | Owner::Unknown => None,
    });
    value::nearest(name, records.chain(listed).chain(services).chain(owners))
}
