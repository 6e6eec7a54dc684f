// SPDX-License-Identifier: GPL-2.0-or-later

//! What of this host can be reached, by whom, because of which rule, and whether somebody asked for it.
//! Pure.
//!
//! [`openings`] makes one row of each port, address and family. Where no rule of ours is about a port, the
//! row says the Internet: who filters besides us may close it, and that is for `--probe` to see.
//! What nobody asked for, or asked for less wide, is wrong; a port for this host alone needs no asking.

pub mod reach;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use serde::Serialize;

use crate::db::value::Protocol;
use crate::desired::service::Service;
use crate::state::exposure::{Access, Asked, HostPort};
use crate::state::socket::{Probed, Standing, Surroundings};

pub use reach::{Reach, Who};

/// What the rows are made from.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What can be seen of the host.
    pub around: &'a Surroundings,
    /// What container records have asked for.
    pub asked: &'a BTreeMap<HostPort, Asked>,
    /// What services of the host have asked for.
    pub services: &'a [Service],
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Of `address`.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `IPv4` or `IPv6`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Who answers at a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Owner {
    /// A container of a record.
    Record {
        /// Its key in `docker_containers`.
        name: String,
    },
    /// A container of somebody else.
    Container {
        /// Its name.
        name: String,
        /// Its image.
        image: String,
    },
    /// A process of the host.
    Process {
        /// Its name.
        name: String,
        /// Its number.
        pid: i32,
    },
    /// The kernel itself, or a process that cannot be seen.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { name } => write!(f, "record '{name}'"),
            Self::Container { name, image } => write!(f, "foreign container '{name}' ({image})"),
            Self::Process { name, pid } => write!(f, "process '{name}' ({pid})"),
            Self::Unknown => f.write_str("unknown (no process to be seen)"),
        }
    }
}

/// A port at which somebody answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: NonZeroU16,
    /// How it is reached.
    pub family: Family,
    /// Where it listens; `0.0.0.0` and `::` are all addresses.
    pub address: IpAddr,
    /// The addresses of this host that this means, loopback left out.
    pub at: Vec<IpAddr>,
    /// Who answers.
    pub owner: Owner,
    /// Who can reach it.
    pub reach: Reach,
    /// Because of what.
    pub rule: String,
    /// Who wants it so.
    pub asked: Option<Asked>,
    /// Whether it is open further than somebody asked for.
    pub unasked: bool,
    /// What would close it, or say that it is wanted.
    pub remedy: Option<String>,
    /// What a probe has seen.
    pub probed: Option<Probed>,
    /// What a probe has seen against what stands here.
    pub mismatch: Option<String>,
    /// Whether a rule of ours, or the bound address, decides; else another's filter may close it.
    #[serde(skip)]
    pub is_ours_to_say: bool,
}

impl Opening {
    /// The addresses at which somebody outside may try it: those that go further than one link.
    pub fn tried_at(&self) -> impl Iterator<Item = SocketAddr> {
        let goes_further = |address: &&IpAddr| !reach::is_link_local(address);
        self.at.iter().filter(goes_further).map(|at| SocketAddr::new(*at, self.port.get()))
    }

    /// Whether it is open against the wish of the records, or not as it is said to be.
    pub const fn is_wrong(&self) -> bool {
        self.unasked || self.mismatch.is_some()
    }

    /// Takes in what a connection from `source` has met, at all addresses together.
    pub fn take(&mut self, seen: Probed, source: IpAddr) {
        self.probed = Some(seen);
        let admitted = self.reach.admits(source);
        match seen {
            Probed::Open if !admitted => {
                self.mismatch = Some(format!("said to be closed to {source}, and it answers it"));
            }
            Probed::NoAnswer if admitted && self.is_ours_to_say => {
                self.mismatch =
                    Some(format!("said to be open to {source}, and nothing comes back"));
            }
            Probed::NoAnswer | Probed::Closed if admitted && !self.is_ours_to_say => {
                self.rule.push_str("; the probe was not let in");
                self.unasked = false;
                self.remedy = None;
            }
            Probed::NotKnown | Probed::NoAnswer | Probed::Closed | Probed::Open => {}
        }
    }
}

/// Each port, address and family at which somebody answers, in their order.
pub fn openings(given: &Given<'_>) -> Vec<Opening> {
    rows::rows(given.around).into_iter().map(|row| opening(given, row)).collect()
}

fn opening(given: &Given<'_>, row: rows::Row) -> Opening {
    let port = HostPort { protocol: row.protocol, port: row.port };
    let at = given.around.addresses_of(row.address, row.family);
    let ruled = reach::reach(given.around, &row, &at);
    let asked = asked(given, &row, port);
    let allowed = asked.as_ref().map(|asked| asked.access);
    let unasked = ruled.reach.who.needs().is_some_and(|needed| allowed < Some(needed));
    let remedy = unasked.then(|| remedy(given, &row, asked.as_ref()));
    Opening {
        protocol: row.protocol,
        port: row.port,
        family: row.family,
        address: row.address,
        at,
        owner: row.owner,
        reach: ruled.reach,
        rule: ruled.rule,
        asked,
        unasked,
        remedy,
        probed: None,
        mismatch: None,
        is_ours_to_say: ruled.is_ours_to_say,
    }
}

/// Who has asked for it; what a record wants is not asked for by whoever else has the port.
fn asked(given: &Given<'_>, row: &rows::Row, port: HostPort) -> Option<Asked> {
    let of_record = given
        .asked
        .get(&port)
        .filter(|asked| matches!(&row.owner, Owner::Record { name } if *name == asked.key));
    let is_it = |service: &&Service| service.has(port.protocol, port.port);
    let of_service = || given.services.iter().find(is_it).map(|service| &service.asked);
    of_record.or_else(of_service).cloned()
}

fn remedy(given: &Given<'_>, row: &rows::Row, asked: Option<&Asked>) -> String {
    let is_guarded = matches!(given.around.guard, Standing::Loaded(_));
    let property = match row.protocol {
        Protocol::Tcp => "TCPPort",
        Protocol::Udp => "UDPPort",
    };
    let wanted = |key: &str| match asked {
        Some(asked) => format!("config setprop {} access public", asked.key),
        None => {
            format!("config set {key} service {property} {} access public status enabled", row.port)
        }
    };
    match &row.owner {
        Owner::Record { .. } if !is_guarded => "wharf apply (it loads the guard)".to_owned(),
        Owner::Record { .. } => "wharf apply (it takes away what no record asks for)".to_owned(),
        Owner::Container { name, .. } => match row.inside {
            Some(inside) => format!(
                "publish it for this host only (-p 127.0.0.1:{}:{inside}), or make it a record of docker_containers; when it is wanted: {}",
                row.port,
                wanted(&word(name))
            ),
            None => format!(
                "bind it to 127.0.0.1, or take the container off the host's network; when it is wanted: {}",
                wanted(&word(name))
            ),
        },
        Owner::Process { name, .. } => {
            format!("end it, or bind it to 127.0.0.1; when it is wanted: {}", wanted(&word(name)))
        }
        Owner::Unknown => format!("look who it is, as root; when it is wanted: {}", wanted("NAME")),
    }
}

/// `name` as a key that a shell takes for one word.
fn word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    if plain.is_empty() { "NAME".to_owned() } else { plain }
}

impl Who {
    /// What must have been asked for so that this is right.
    const fn needs(self) -> Option<Access> {
        match self {
            Self::Localhost => None,
            Self::Link | Self::Local => Some(Access::Private),
            Self::Listed | Self::Internet => Some(Access::Public),
        }
    }
}
