// SPDX-License-Identifier: GPL-2.0-or-later

//! Addresses, networks, and what may be reached outside; the engine's endpoint.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{BadValue, Parsed, absolute_path, host_label, list, number, port, quoted};

/// Longest path of a Unix socket in bytes: `sun_path` (108) less the closing NUL. Source: unix(7).
pub const MAX_SOCKET_PATH: usize = 107;

const ADDRESS: &str = "an IPv4 address, as 10.0.3.10";
const NETWORKS: &str = "addresses or networks, as 192.168.1.7,192.168.2.0/24,10.1.0.0/255.255.0.0";
const SUBNET: &str = "a network of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10 with a prefix from 16 to 29, as 10.0.3.0/24";
const EGRESS: &str = "none, lan, all, or IPv4 addresses and networks, as 192.168.1.7,10.1.0.0/16";
const ENDPOINT: &str = "unix:///PATH or tcp://HOST:PORT, as unix:///var/run/docker.sock";

/// Address space that is never routed on the Internet. Source: RFC 1918 and RFC 6598.
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// What a container may reach outside this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Egress {
    /// Nothing.
    None,
    /// The local networks.
    Lan,
    /// Everything.
    All,
    /// These networks; sorted, never empty.
    List(Vec<Ipv4Net>),
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lan => f.write_str("lan"),
            Self::All => f.write_str("all"),
            Self::List(networks) => {
                let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
                f.write_str(&networks.join(","))
            }
        }
    }
}

text_form!(Egress, egress);

/// An IPv4 address.
///
/// # Errors
///
/// It is none.
pub fn ipv4(text: &str) -> Parsed<Ipv4Addr> {
    text.parse().map_err(|_| BadValue::new(format!("{} is no IPv4 address", quoted(text)), ADDRESS))
}

/// Addresses and networks, with a prefix or e-smith's `ADDRESS/MASK`; sorted, each once, and each as
/// the address of the network (`192.168.1.7/24` is `192.168.1.0/24`).
///
/// # Errors
///
/// An element is neither address nor network; host names are not taken, because what they stand for
/// changes.
pub fn ip_networks(text: &str) -> Parsed<Vec<IpNet>> {
    let networks: BTreeSet<IpNet> = list(text, NETWORKS, network)?.into_iter().collect();
    Ok(networks.into_iter().collect())
}

/// The subnet of a bridge.
///
/// # Errors
///
/// It is no private IPv4 network, has host bits set, or has too many or too few addresses: a prefix
/// below 16 would take the site's own networks with it, one above 29 has no room for containers.
pub fn subnet(text: &str) -> Parsed<Ipv4Net> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), SUBNET);
    let Ok(found) = text.parse::<Ipv4Net>() else { return Err(bad("is no IPv4 network")) };
    if !(16..=29).contains(&found.prefix_len()) {
        return Err(bad(&format!("has a prefix of {}", found.prefix_len())));
    }
    if found.addr() != found.network() {
        return Err(bad(&format!("is an address in the network {}", found.trunc())));
    }
    let private = PRIVATE
        .iter()
        .filter_map(|(address, prefix)| Ipv4Net::new(*address, *prefix).ok())
        .any(|space| space.contains(&found));
    if private { Ok(found) } else { Err(bad("is no private address space")) }
}

/// What may be reached: `none`, `lan`, `all`, or IPv4 addresses and networks.
///
/// # Errors
///
/// It is none of the words and no list of networks.
pub fn egress(text: &str) -> Parsed<Egress> {
    match text {
        "none" => return Ok(Egress::None),
        "lan" => return Ok(Egress::Lan),
        "all" => return Ok(Egress::All),
        _ => {}
    }
    let networks = list(text, EGRESS, |element| match network(element) {
        Ok(IpNet::V4(network)) => Ok(network),
        Ok(IpNet::V6(_)) => Err(BadValue::new(format!("{} is not IPv4", quoted(element)), EGRESS)),
        Err(bad) => Err(BadValue::new(bad.wrong, EGRESS)),
    })?;
    let sorted: BTreeSet<Ipv4Net> = networks.into_iter().collect();
    Ok(Egress::List(sorted.into_iter().collect()))
}

/// Where an engine listens: `unix:///PATH` or `tcp://HOST:PORT`.
///
/// # Errors
///
/// It is another kind of address (`ssh://` too: nothing here runs ssh), or its path or port is none.
pub fn endpoint(text: &str) -> Parsed<String> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), ENDPOINT);
    if let Some(path) = text.strip_prefix("unix://") {
        absolute_path(path).map_err(|_| bad("has no absolute path"))?;
        if path.len() > MAX_SOCKET_PATH {
            let what = format!("has a path of {} bytes, at most {MAX_SOCKET_PATH} fit", path.len());
            return Err(bad(&what));
        }
        return Ok(text.to_owned());
    }
    let Some(address) = text.strip_prefix("tcp://") else {
        return Err(bad("is neither unix:// nor tcp://"));
    };
    let (host, number) = address.rsplit_once(':').ok_or_else(|| bad("has no port"))?;
    port(number).map_err(|_| bad("has no port from 1 to 65535"))?;
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fine = match literal {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host_label(host).is_ok(),
    };
    if fine { Ok(text.to_owned()) } else { Err(bad("has no host before the port")) }
}

/// `ADDRESS`, `ADDRESS/PREFIX` or `ADDRESS/MASK`.
fn network(text: &str) -> Parsed<IpNet> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), NETWORKS);
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| bad("is neither address nor network"))?;
    let network = match mask {
        None => Ok(IpNet::from(address)),
        Some(mask) => match (number::<u8>(mask), mask.parse::<IpAddr>()) {
            (Some(prefix), _) => IpNet::new(address, prefix),
            (None, Ok(mask)) => IpNet::with_netmask(address, mask),
            (None, Err(_)) => return Err(bad("has neither a prefix nor a mask after the '/'")),
        },
    };
    network.map(|network| network.trunc()).map_err(|_| bad("has a mask that no network has"))
}
