// SPDX-License-Identifier: GPL-2.0-or-later

//! Ports: single, as ranges, mapped from host to container.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{BadValue, Parsed, list, number, quoted};

/// Most ports in one list.
///
/// Ours: each is a listening socket of the engine, which opens one process a port where the
/// userland proxy is on, and thousands make a container take minutes to start.
pub const MAX_PORTS: usize = 1024;

const PORT: &str = "a number from 1 to 65535, as 80";
const PORT_LIST: &str = "ports from 1 to 65535 and ranges of them, as 80,443,5000-5010";
const PORT_MAP: &str = "HOST:CONTAINER or HOST:CONTAINER/udp, as 8080:80,5353:53/udp";
const HOST_ACCESS: &str = "none, or ports with /udp where it is not TCP, as 53/udp,25";

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Of `tcp` or `udp`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port with its protocol, `8080/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// From 1 to 65535.
    pub number: NonZeroU16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

text_form!(Port, port_with_protocol);

/// Ports from `first` to `last`, both included; `80` or `5000-5010`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16,
}

impl PortRange {
    /// The lowest port.
    pub const fn first(self) -> NonZeroU16 {
        self.first
    }

    /// The highest port, not below the first.
    pub const fn last(self) -> NonZeroU16 {
        self.last
    }

    /// How many ports it has, at least one.
    pub fn count(self) -> usize {
        usize::from(self.last.get()) - usize::from(self.first.get()) + 1
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: NonZeroU16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Each port, lowest first.
    pub fn iter(self) -> impl Iterator<Item = NonZeroU16> {
        (self.first.get()..=self.last.get()).filter_map(NonZeroU16::new)
    }
}

impl From<NonZeroU16> for PortRange {
    fn from(port: NonZeroU16) -> Self {
        Self { first: port, last: port }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

text_form!(PortRange, port_range);

/// A host port passed on to a container port, `8080:80` or `5353:53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMap {
    /// Port on the host.
    pub host: NonZeroU16,
    /// Port in the container.
    pub container: NonZeroU16,
    /// Of both.
    pub protocol: Protocol,
}

impl fmt::Display for PortMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}:{}", self.host, self.container),
            Protocol::Udp => write!(f, "{}:{}/udp", self.host, self.container),
        }
    }
}

text_form!(PortMap, port_map);

/// One port, `80`.
///
/// # Errors
///
/// It is no number from 1 to 65535.
pub fn port(text: &str) -> Parsed<NonZeroU16> {
    number(text).ok_or_else(|| BadValue::new(format!("{} is no port", quoted(text)), PORT))
}

/// Ports and ranges, `80,443,5000-5010`; e-smith's `5000:5010` is a range too.
///
/// The answer is sorted; ranges that touch or overlap have become one.
///
/// # Errors
///
/// An element is no port or range, a range runs backwards, or there are more than [`MAX_PORTS`].
pub fn ports(text: &str) -> Parsed<Vec<PortRange>> {
    let mut ranges = list(text, PORT_LIST, port_range)?;
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.first.get() <= last.last.get().saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            Some(_) | None => merged.push(range),
        }
    }
    let count: usize = merged.iter().map(|range| range.count()).sum();
    if count > MAX_PORTS {
        let wrong = format!("{} names {count} ports", quoted(text));
        return Err(BadValue::new(wrong, format!("at most {MAX_PORTS} ports in all")));
    }
    Ok(merged)
}

/// Host ports with the container ports behind them, `8080:80,5353:53/udp`, sorted.
///
/// # Errors
///
/// An element is no mapping, or one host port is mapped twice.
pub fn port_maps(text: &str) -> Parsed<Vec<PortMap>> {
    let mut maps = list(text, PORT_MAP, port_map)?;
    if maps.len() > MAX_PORTS {
        let wrong = format!("the list has {} ports", maps.len());
        return Err(BadValue::new(wrong, format!("at most {MAX_PORTS} ports in all")));
    }
    maps.sort_unstable();
    let mut seen = BTreeSet::new();
    for map in &maps {
        if !seen.insert((map.host, map.protocol)) {
            let wrong = format!("host port '{}/{}' is mapped twice", map.host, map.protocol);
            return Err(BadValue::new(wrong, "each host port once, as 8080:80,8081:81"));
        }
    }
    Ok(maps)
}

/// Ports of the host that a container may reach: `none`, or `53/udp,25`; sorted, each once.
///
/// # Errors
///
/// An element is no port.
pub fn host_access(text: &str) -> Parsed<Vec<Port>> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let ports: BTreeSet<Port> = list(text, HOST_ACCESS, port_with_protocol)?.into_iter().collect();
    Ok(ports.into_iter().collect())
}

fn port_with_protocol(text: &str) -> Parsed<Port> {
    let bad = || BadValue::new(format!("{} is no port", quoted(text)), HOST_ACCESS);
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Ok(Port {
        protocol: Protocol::parse(protocol).ok_or_else(bad)?,
        number: super::number(number).ok_or_else(bad)?,
    })
}

fn port_range(text: &str) -> Parsed<PortRange> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), PORT_LIST);
    let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
    let end = |end: &str| number(end.trim()).ok_or_else(|| bad("is no port and no range"));
    let (first, last) = (end(first)?, end(last)?);
    if first > last {
        return Err(bad("runs backwards"));
    }
    Ok(PortRange { first, last })
}

fn port_map(text: &str) -> Parsed<PortMap> {
    let bad = || BadValue::new(format!("{} is no port mapping", quoted(text)), PORT_MAP);
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (host, container) = ports.split_once(':').ok_or_else(bad)?;
    Ok(PortMap {
        host: number(host.trim()).ok_or_else(bad)?,
        container: number(container.trim()).ok_or_else(bad)?,
        protocol: Protocol::parse(protocol).ok_or_else(bad)?,
    })
}
