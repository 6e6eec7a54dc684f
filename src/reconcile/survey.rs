// SPDX-License-Identifier: GPL-2.0-or-later

//! A look at records and host for those who only want to know: `exposure` and `explain`.
//!
//! Without an engine the rest is told all the same; what is missing then is said by [`Survey::no_engine`].

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::desired::service::{self, Service};
use crate::desired::{Resolution, Snapshot};
use crate::host::firewall::{Firewall, filter};
use crate::host::probe::{self, Target};
use crate::host::{self, Host, System, network, socket};
use crate::reconcile::basis::{Basis, records};
use crate::reconcile::exposure::{self, Family, Given, Opening};
use crate::reconcile::{Context, Error, Mode};
use crate::settings::Root;
use crate::state::socket::{Listed, Surroundings};
use crate::state::{Facts, ObservedGuard, Query};

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// The records.
    pub snapshot: Snapshot,
    /// What the records ask for.
    pub resolution: Resolution,
    /// What of the host can be reached.
    pub around: Surroundings,
    /// What the host's services ask for.
    pub services: Vec<Service>,
    /// Why nothing is known of containers.
    pub no_engine: Option<host::Error>,
}

impl Survey {
    /// Each port at which somebody answers.
    pub fn openings(&self) -> Vec<Opening> {
        exposure::openings(&Given {
            around: &self.around,
            asked: &self.resolution.asked,
            services: &self.services,
        })
    }
}

/// Connects to all of `openings` from outside of this host, and writes down what was seen.
///
/// # Errors
///
/// It cannot be tried.
pub async fn try_all(survey: &Survey, openings: &mut [Opening]) -> Result<(), probe::Error> {
    let target = |one: &Opening, at| Target { protocol: one.protocol, at };
    let targets = openings.iter().flat_map(|one| one.tried_at().map(|at| target(one, at)));
    let local = &survey.resolution.desired.guard;
    let mut taken: BTreeSet<IpNet> = local.local4.iter().copied().map(IpNet::V4).collect();
    taken.extend(local.local6.iter().copied().map(IpNet::V6));
    let found = probe::probe(&targets.collect(), &taken).await?;
    for one in openings {
        let source = found.sources.iter().find(|source| Family::of(**source) == one.family);
        let seen = one.tried_at().filter_map(|at| found.seen.get(&target(one, at))).max();
        if let (Some(source), Some(seen)) = (source, seen) {
            one.take(*seen, *source);
        }
    }
    Ok(())
}

/// What is looked at.
#[derive(Debug)]
pub enum Machine {
    /// The whole machine.
    WithEngine(Box<System>),
    /// The machine without its engine, and why.
    WithoutEngine(host::Error),
}

/// What was seen of the machine.
struct Seen {
    facts: Facts,
    guard: ObservedGuard,
    containers: Vec<Listed>,
    no_engine: Option<host::Error>,
}

/// Looks, and changes nothing.
///
/// # Errors
///
/// The records or the kernel's tables cannot be read.
pub async fn survey(cx: Context<Machine>) -> Result<Survey, Error> {
    let overrides = host::overrides::read(&cx.overrides)?;
    let (Basis { snapshot, drafts, .. }, _) =
        records(&cx, Mode::Look, &overrides, &BTreeSet::new())?;
    let query = drafts.query();
    let firewall = Firewall::below(&cx.root);
    let seen = match cx.host {
        Machine::WithEngine(system) => match look(&system, &query).await {
            Err(error @ host::Error::Engine { .. }) => {
                without(&firewall, &cx.root, &query, error).await?
            }
            other => other?,
        },
        Machine::WithoutEngine(error) => without(&firewall, &cx.root, &query, error).await?,
    };
    let resolution = drafts.resolve(&snapshot, &seen.facts);
    let around = Surroundings {
        addresses: socket::addresses()?,
        sockets: socket::sockets()?,
        containers: seen.containers,
        guard: firewall.standing(&seen.guard),
        subnet: resolution.desired.bridge.as_ref().map(|bridge| bridge.subnet),
    };
    Ok(Survey {
        resolution,
        services: service::services(&snapshot.configuration),
        snapshot,
        around,
        no_engine: seen.no_engine,
    })
}

async fn look(system: &System, query: &Query) -> Result<Seen, host::Error> {
    let observed = system.observe(query).await?;
    Ok(Seen {
        facts: observed.facts,
        guard: observed.guard,
        containers: system.engine().listed().await?,
        no_engine: None,
    })
}

async fn without(
    firewall: &Firewall,
    root: &Root,
    query: &Query,
    error: host::Error,
) -> Result<Seen, host::Error> {
    Ok(Seen {
        facts: network::facts_without_engine(query, root)?,
        guard: firewall.observe(filter(query.filter), false).await?,
        containers: Vec::new(),
        no_engine: Some(error),
    })
}
