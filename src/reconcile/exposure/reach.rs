// SPDX-License-Identifier: GPL-2.0-or-later

//! Who can reach a port, and the rule that decides it: the order of the guard's own chains, in words.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::rows::Row;
use super::{Family, Owner};
use crate::state::Guard;
use crate::state::exposure::{HostPort, Source};
use crate::state::socket::{Standing, Surroundings};

/// Who, from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// Only this host.
    Localhost,
    /// Whoever is on the same link: the address goes no further.
    Link,
    /// The local networks.
    Local,
    /// Networks that are named, and the local ones.
    Listed,
    /// Everybody.
    Internet,
}

/// Who can reach a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// How far.
    pub who: Who,
    /// The networks, when it is not everybody.
    pub networks: Vec<IpNet>,
    /// Networks of the Internet that cannot.
    pub except: Vec<IpNet>,
}

impl Reach {
    const fn of(who: Who) -> Self {
        Self { who, networks: Vec::new(), except: Vec::new() }
    }

    /// Whether somebody at `source`, who is in no local network, gets through.
    pub fn admits(&self, source: IpAddr) -> bool {
        let has = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&source));
        match self.who {
            Who::Localhost | Who::Link => false,
            Who::Local => has(&self.networks),
            Who::Listed => has(&self.networks) && !has(&self.except),
            Who::Internet => !has(&self.except),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |networks: &[IpNet]| {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        match self.who {
            Who::Localhost => f.write_str("localhost")?,
            Who::Link => f.write_str("same link")?,
            Who::Local => write!(f, "local networks ({})", list(&self.networks))?,
            Who::Listed => write!(f, "listed ({})", list(&self.networks))?,
            Who::Internet => f.write_str("Internet")?,
        }
        if !self.except.is_empty() {
            write!(f, " but {}", list(&self.except))?;
        }
        Ok(())
    }
}

/// Who can reach it, and why.
pub(super) struct Ruled {
    pub(super) reach: Reach,
    pub(super) rule: String,
    pub(super) is_ours_to_say: bool,
}

fn ruled(reach: Reach, rule: impl Into<String>) -> Ruled {
    Ruled { reach, rule: rule.into(), is_ours_to_say: true }
}

/// Who can reach `row`, which answers at the addresses `at`.
pub(super) fn reach(around: &Surroundings, row: &Row, at: &[IpAddr]) -> Ruled {
    if row.address.is_loopback() {
        return ruled(Reach::of(Who::Localhost), "bound to loopback");
    }
    if at.is_empty() && row.address.is_unspecified() {
        let family = row.family.as_str();
        return ruled(
            Reach::of(Who::Localhost),
            format!("this host has no {family} address but loopback"),
        );
    }
    let is_inside = |own: &IpAddr| match (own, around.subnet) {
        (IpAddr::V4(own), Some(subnet)) => subnet.contains(own),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    };
    let standing = &around.guard;
    let mut found = match standing {
        Standing::Loaded(_) if !at.is_empty() && at.iter().all(is_inside) => ruled(
            Reach::of(Who::Localhost),
            "guard, the containers' subnet is closed to the outside",
        ),
        Standing::Loaded(guard) => by_guard(guard, row),
        // What the guard would not close either is no less reachable with it.
        Standing::Absent | Standing::Altered if !matches!(row.owner, Owner::Record { .. }) => {
            unnamed(row)
        }
        Standing::Absent | Standing::Altered => Ruled {
            reach: Reach::of(Who::Internet),
            rule: format!("the guard is not in force ({})", standing.as_str()),
            is_ours_to_say: false,
        },
    };
    let is_near = !at.is_empty() && at.iter().all(is_link_local);
    if is_near && found.reach.who > Who::Link {
        found.reach = Reach::of(Who::Link);
        found.rule.push_str("; its only addresses are link-local");
    }
    found
}

pub(super) const fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn by_guard(guard: &Guard, row: &Row) -> Ruled {
    let port = HostPort { protocol: row.protocol, port: row.port };
    if guard.localhost.contains(&port) {
        return ruled(Reach::of(Who::Localhost), "guard, set localhost");
    }
    let local = local(guard, row.family);
    if guard.private.contains(&port) {
        if local.is_empty() {
            let family = row.family.as_str();
            let rule = format!("guard, set private; there is no local network of {family}");
            return ruled(Reach::of(Who::Localhost), rule);
        }
        let reach = Reach { who: Who::Local, networks: local, except: Vec::new() };
        return ruled(reach, "guard, set private");
    }
    if guard.public.contains(&port) {
        return public(guard, port, row.family, local);
    }
    unnamed(row)
}

fn public(guard: &Guard, port: HostPort, family: Family, local: Vec<IpNet>) -> Ruled {
    let (allow, deny) = match family {
        Family::V4 => (named(&guard.allow4, port), named(&guard.deny4, port)),
        Family::V6 => (named(&guard.allow6, port), named(&guard.deny6, port)),
    };
    let (who, rule) = if guard.restricted.contains(&port) {
        (Who::Listed, "guard, sets restricted and allow")
    } else if deny.is_empty() {
        (Who::Internet, "guard, set public")
    } else {
        (Who::Internet, "guard, sets public and deny")
    };
    let networks = match who {
        Who::Listed => local.into_iter().chain(allow).collect(),
        Who::Localhost | Who::Link | Who::Local | Who::Internet => Vec::new(),
    };
    if who == Who::Listed && networks.is_empty() {
        let rule = format!("{rule}: no network of {} is named", family.as_str());
        return ruled(Reach::of(Who::Localhost), rule);
    }
    ruled(Reach { who, networks, except: deny }, rule)
}

fn named<N: Copy + Into<IpNet>>(
    sources: &std::collections::BTreeSet<Source<N>>,
    port: HostPort,
) -> Vec<IpNet> {
    let is_it = |source: &&Source<N>| (source.protocol, source.port) == (port.protocol, port.port);
    sources.iter().filter(is_it).map(|source| source.network.into()).collect()
}

/// The networks of `family` that count as local.
pub(super) fn local(guard: &Guard, family: Family) -> Vec<IpNet> {
    match family {
        Family::V4 => guard.local4.iter().copied().map(IpNet::V4).collect(),
        Family::V6 => guard.local6.iter().copied().map(IpNet::V6).collect(),
    }
}

/// A port that is in none of the guard's sets.
fn unnamed(row: &Row) -> Ruled {
    let (who, rule, is_ours_to_say) = match (&row.owner, row.inside) {
        // What comes over IPv6 the engine's proxy takes, and that is a process of the host.
        (Owner::Record { .. }, Some(_)) if row.family == Family::V4 => {
            (Who::Localhost, "guard, no set names it: nothing passes to the container", true)
        }
        (Owner::Container { .. }, Some(_)) => (
            Who::Internet,
            "no rule of wharf; the engine passes it on before the host's own packet filter",
            false,
        ),
        (_, _) => (Who::Internet, "no rule of wharf; the host's own packet filter decides", false),
    };
    Ruled { reach: Reach::of(who), rule: rule.to_owned(), is_ours_to_say }
}
