// SPDX-License-Identifier: GPL-2.0-or-later

//! Connections to this host from outside of it: from a network namespace that exists for that alone.
//!
//! A thread leaves for a new namespace, a pair of interfaces joins it to the host, both with addresses
//! of a network for documentation (RFC 5737, RFC 3849) that no route here knows. Its only routes lead to
//! the host's own addresses, one by one, so nothing can go further. The namespace has no name and lives
//! as long as the thread: whatever ends this process, the kernel takes namespace and interfaces away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::db::value::Protocol;
use crate::host::{Error as HostError, command, network};
use crate::state::socket::Probed;

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not allowed, or the kernel has no namespaces.
    #[error("cannot make a network namespace to probe from")]
    Namespace {
        /// What the system said.
        source: Errno,
    },
    /// The three networks for documentation are all in use here.
    #[error(
        "192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24 all have routes here, and a probe needs one"
    )]
    NoNetwork,
    /// The interfaces could not be made.
    #[error("cannot join the probe's namespace to this host")]
    Link {
        /// What `ip` said.
        source: command::Error,
    },
    /// The routes could not be read.
    #[error("cannot choose a network to probe from")]
    Routes {
        /// Why not.
        source: Box<HostError>,
    },
    /// The thread or its runtime could not be had, or it ended without an answer.
    #[error("the probe ended early")]
    Ended {
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// What would mend it, when that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Namespace { source: Errno::EPERM } => Some("run this as root".to_owned()),
            Self::Link { source } => source.remedy(),
            Self::Routes { source } => source.remedy(),
            Self::Namespace { .. } | Self::NoNetwork | Self::Ended { .. } => None,
        }
    }
}

/// Where a connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// An address of this host, and the port.
    pub at: SocketAddr,
}

/// What was tried and seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Where the connections came from; IPv6 may be missing.
    pub sources: Vec<IpAddr>,
    /// What became of them.
    pub seen: BTreeMap<Target, Probed>,
}

/// How long a connection may take: the second SYN is sent after one second.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many at a time; a process may usually have 1024 files open.
const AT_A_TIME: usize = 400;

/// The network between host and namespace: its first address is the host's, the second one the probe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Between {
    four: Ipv4Net,
    /// None where every one is in use.
    six: Option<Ipv6Net>,
}

impl Between {
    fn of_host(self) -> Vec<IpNet> {
        self.addresses(1)
    }

    fn of_probe(self) -> Vec<IpNet> {
        self.addresses(2)
    }

    fn addresses(self, number: usize) -> Vec<IpNet> {
        let four = self.four.hosts().nth(number - 1).map(IpAddr::V4);
        let six = self.six.and_then(|six| six.hosts().nth(number)).map(IpAddr::V6);
        let prefix = |address: IpAddr| match address {
            IpAddr::V4(_) => self.four.prefix_len(),
            IpAddr::V6(_) => self.six.map_or(64, |six| six.prefix_len()),
        };
        let with_prefix = |address| IpNet::new(address, prefix(address)).ok();
        four.into_iter().chain(six).filter_map(with_prefix).collect()
    }
}

/// Connects to each of `targets`, which are addresses of this host; `taken` are networks that mean
/// somebody else here.
///
/// # Errors
///
/// The namespace could not be made or joined; then nothing was sent, and nothing is left.
pub async fn probe(targets: &BTreeSet<Target>, taken: &BTreeSet<IpNet>) -> Result<Findings, Error> {
    let routes = network::routes().map_err(|source| Error::Routes { source: Box::new(source) })?;
    let mut taken: BTreeSet<IpNet> = taken.clone();
    taken.extend(routes.into_keys().filter(|route| route.prefix_len() > 0));
    // A kernel without IPv6 has no such file.
    let six = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    taken.extend(routes6(&six).into_iter().map(IpNet::V6));
    let mut between = choose(&taken).ok_or(Error::NoNetwork)?;

    let (tell_thread, thread_told) = oneshot::channel();
    let (tell_plan, told_plan) = oneshot::channel();
    let (tell_seen, told_seen) = oneshot::channel();
    let mine = targets.clone();
    let ended = |source| Error::Ended { source };
    let worker = thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || inside(&mine, tell_thread, told_plan, tell_seen))
        .map_err(ended)?;
    let gone = |_| ended(io::Error::other("its thread is gone"));
    let thread = thread_told.await.map_err(gone)?.map_err(|source| Error::Namespace { source })?;

    let link = Link::new();
    let made = link.make(thread, &mut between).await;
    let seen = match made {
        Ok(()) => {
            // When it is gone, its answer is missing too.
            tell_plan.send(between).ok();
            told_seen.await.map_err(gone).flatten()
        }
        Err(source) => {
            drop(tell_plan);
            Err(Error::Link { source })
        }
    };
    link.remove().await;
    // It has told all that it will.
    worker.join().ok();
    let sources = between.of_probe().into_iter().map(|network| network.addr()).collect();
    Ok(Findings { sources, seen: seen? })
}

/// The host's end of the pair.
struct Link(String);

impl Link {
    fn new() -> Self {
        // At most 15 bytes, and of this process alone.
        Self(format!("veth-w{}", std::process::id()))
    }

    /// Makes the pair, the other end in the namespace of `thread`; takes IPv6 out of `between` where the
    /// host has it switched off.
    async fn make(&self, thread: i32, between: &mut Between) -> Result<(), command::Error> {
        let name = &self.0;
        let mut lines = format!("link add {name} type veth peer name {INSIDE} netns {thread}\n");
        lines.push_str(&addresses(name, &between.of_host(), IpNet::V4(between.four)));
        writeln!(lines, "link set {name} up").ok();
        ip(&lines).await?;
        if let Some(six) = between.six
            && ip(&addresses(name, &between.of_host(), IpNet::V6(six))).await.is_err()
        {
            between.six = None;
        }
        Ok(())
    }

    async fn remove(&self) {
        // Gone already is what was wanted: it goes with the namespace.
        ip(&format!("link del {}\n", self.0)).await.ok();
    }
}

/// The probe's end of the pair.
const INSIDE: &str = "probe0";

async fn ip(lines: &str) -> Result<(), command::Error> {
    command::run("ip", &["-batch", "-"], lines.as_bytes()).await.map(drop)
}

/// Lines for `ip` that give `interface` those of `addresses` that are in `network`.
fn addresses(interface: &str, addresses: &[IpNet], network: IpNet) -> String {
    let mut lines = String::new();
    for address in addresses.iter().filter(|address| network.contains(&address.addr())) {
        // Nobody else is there who could have the address.
        let more = if address.addr().is_ipv6() { " nodad" } else { "" };
        // Writing to a String cannot fail.
        writeln!(lines, "addr add {address} dev {interface}{more}").ok();
    }
    lines
}

type Seen = Result<BTreeMap<Target, Probed>, Error>;

/// What the thread does; every thread and program that it starts is in its namespace.
fn inside(
    targets: &BTreeSet<Target>,
    tell_thread: oneshot::Sender<Result<i32, Errno>>,
    told_plan: oneshot::Receiver<Between>,
    tell_seen: oneshot::Sender<Seen>,
) {
    let left = unshare(CloneFlags::CLONE_NEWNET);
    let is_left = left.is_ok();
    let told = tell_thread.send(left.map(|()| nix::unistd::gettid().as_raw()));
    if !is_left || told.is_err() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let seen = match runtime {
        Ok(runtime) => runtime.block_on(async {
            // The other side has given up, and says itself why.
            let Ok(between) = told_plan.await else { return Ok(BTreeMap::new()) };
            prepare(targets, between).await.map_err(|source| Error::Link { source })?;
            Ok(connect_all(targets).await)
        }),
        Err(source) => Err(Error::Ended { source }),
    };
    tell_seen.send(seen).ok();
}

/// Addresses, and one route for each address of the host that is tried.
async fn prepare(targets: &BTreeSet<Target>, between: Between) -> Result<(), command::Error> {
    let mut lines = format!("link set lo up\nlink set {INSIDE} up\n");
    let networks = [Some(IpNet::V4(between.four)), between.six.map(IpNet::V6)];
    for network in networks.into_iter().flatten() {
        lines.push_str(&addresses(INSIDE, &between.of_probe(), network));
    }
    let tried: BTreeSet<IpAddr> = targets.iter().map(|target| target.at.ip()).collect();
    for address in tried {
        let gateway = between
            .of_host()
            .into_iter()
            .find(|gateway| gateway.addr().is_ipv4() == address.is_ipv4());
        if let Some(gateway) = gateway {
            writeln!(lines, "route add {address} via {} dev {INSIDE}", gateway.addr()).ok();
        }
    }
    ip(&lines).await
}

async fn connect_all(targets: &BTreeSet<Target>) -> BTreeMap<Target, Probed> {
    futures_util::stream::iter(targets.iter().copied())
        .map(|target| async move {
            let seen = match target.protocol {
                Protocol::Tcp => connect(target.at).await,
                Protocol::Udp => send(target.at).await,
            };
            (target, seen)
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await
}

async fn connect(at: SocketAddr) -> Probed {
    match timeout(PATIENCE, TcpStream::connect(at)).await {
        Ok(Ok(_)) => Probed::Open,
        Ok(Err(error)) => refused(&error, Probed::NoAnswer),
        Err(_) => Probed::NoAnswer,
    }
}

/// Two empty datagrams: only an answer, or a word of the kernel, says something.
async fn send(at: SocketAddr) -> Probed {
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Only a connected socket is told that it is refused.
    let connected = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(at).await?;
        socket.send(&[]).await?;
        socket.recv(&mut [0; 64]).await.map(drop)
    };
    // And only one that is not gets the answer of a server that does not mind from which of the
    // host's addresses it answers.
    let loose = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.send_to(&[], at).await?;
        loop {
            if socket.recv_from(&mut [0; 64]).await?.1.port() == at.port() {
                return Ok(());
            }
        }
    };
    let (connected, loose) = tokio::join!(timeout(PATIENCE, connected), timeout(PATIENCE, loose));
    let seen = [connected, loose].map(|talk| match talk {
        Ok(Ok(())) => Probed::Open,
        Ok(Err(error)) => refused(&error, Probed::NotKnown),
        Err(_) => Probed::NotKnown,
    });
    seen.into_iter().max().unwrap_or(Probed::NotKnown)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "forty ways of a socket that fails")]
fn refused(error: &io::Error, silent: Probed) -> Probed {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Probed::Closed,
        ErrorKind::HostUnreachable | ErrorKind::PermissionDenied | ErrorKind::TimedOut => silent,
        _ => Probed::NotKnown,
    }
}

/// A network for documentation of each family that nothing of `taken` touches.
fn choose(taken: &BTreeSet<IpNet>) -> Option<Between> {
    let is_free = |network: IpNet| {
        taken.iter().all(|other| !other.contains(&network) && !network.contains(other))
    };
    let four = [[192, 0, 2, 0], [198, 51, 100, 0], [203, 0, 113, 0]]
        .into_iter()
        .filter_map(|network| Ipv4Net::new(network.into(), 24).ok())
        .find(|network| is_free((*network).into()))?;
    let six = (1..=3)
        .filter_map(|n| Ipv6Net::new([0x2001, 0xdb8, 0x57a0, n, 0, 0, 0, 0].into(), 64).ok())
        .find(|network| is_free((*network).into()));
    Some(Between { four, six })
}

/// The destinations of `/proc/net/ipv6_route`, the default one left out.
fn routes6(text: &str) -> BTreeSet<Ipv6Net> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u128::from_str_radix(words.next()?, 16).ok()?;
            let prefix = u8::from_str_radix(words.next()?, 16).ok()?;
            Ipv6Net::new(Ipv6Addr::from(address), prefix).ok()
        })
        .filter(|network| network.prefix_len() > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_in_use_is_not_taken() {
        let taken = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect();
        let four = |list: &[&str]| choose(&taken(list)).map(|between| between.four.to_string());
        assert_eq!(four(&[]).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(four(&["192.0.2.128/25"]).as_deref(), Some("198.51.100.0/24"));
        let both = ["192.0.0.0/16", "198.51.100.7/32"];
        assert_eq!(four(&both).as_deref(), Some("203.0.113.0/24"));
        assert_eq!(four(&[both[0], both[1], "203.0.113.0/24"]), None);
        assert_eq!(choose(&taken(&["2001:db8::/32"])).unwrap().six, None);
    }

    #[test]
    fn each_side_has_an_address_of_each_family() {
        let between = choose(&BTreeSet::new()).unwrap();
        let shown = |addresses: Vec<IpNet>| -> Vec<String> {
            addresses.iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown(between.of_host()), ["192.0.2.1/24", "2001:db8:57a0:1::1/64"]);
        assert_eq!(shown(between.of_probe()), ["192.0.2.2/24", "2001:db8:57a0:1::2/64"]);
    }

    #[tokio::test]
    async fn a_datagram_says_something_only_when_it_is_answered_or_refused() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(send(silent.local_addr().unwrap()).await, Probed::NotKnown);
        let gone = silent.local_addr().unwrap();
        drop(silent);
        assert_eq!(send(gone).await, Probed::Closed);

        // It answers from another address of its host.
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let other = UdpSocket::bind(("127.0.0.2", at.port())).await.unwrap();
        let answer = async {
            loop {
                let (_, from) = server.recv_from(&mut [0; 8]).await.unwrap();
                other.send_to(b"here", from).await.unwrap();
            }
        };
        tokio::select! {
            seen = send(at) => assert_eq!(seen, Probed::Open),
            () = answer => {}
        }
    }

    #[tokio::test]
    async fn a_connection_is_taken_or_refused() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        assert_eq!(connect(at).await, Probed::Open);
        drop(server);
        assert_eq!(connect(at).await, Probed::Closed);
    }

    #[test]
    fn routes_of_ipv6_are_read() {
        let text = "20010db8000000000000000000000000 20 0 0 0 0 0 0 0 eth0\n\
            00000000000000000000000000000000 00 0 0 0 0 0 0 0 eth0\nodd\n";
        let shown: Vec<String> = routes6(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["2001:db8::/32"]);
    }
}
