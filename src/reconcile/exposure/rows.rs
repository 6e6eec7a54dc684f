// SPDX-License-Identifier: GPL-2.0-or-later

//! Published ports and sockets, brought together into one row for each port, address and family.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use super::{Family, Owner};
use crate::db::value::Protocol;
use crate::state::socket::{Binding, Listed, Socket, Surroundings};

/// Programs of engines that listen on behalf of a container.
const PROXIES: [&str; 6] =
    ["docker-proxy", "dockerd", "conmon", "rootlessport", "slirp4netns", "pasta"];

/// Somebody at a port.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) protocol: Protocol,
    pub(super) port: NonZeroU16,
    pub(super) family: Family,
    pub(super) address: IpAddr,
    pub(super) owner: Owner,
    /// The port in the container, when the engine passes it on.
    pub(super) inside: Option<NonZeroU16>,
}

type Key = (Protocol, NonZeroU16, Family, IpAddr);

/// All rows, in order of protocol, port, family and address.
pub(super) fn rows(around: &Surroundings) -> Vec<Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let mut published: BTreeMap<(Protocol, NonZeroU16), (&Listed, Binding)> = BTreeMap::new();
    for container in &around.containers {
        for binding in &container.bindings {
            published.insert((binding.protocol, binding.port), (container, *binding));
            add(&mut rows, passed_on(container, *binding, binding.address));
        }
    }
    for socket in &around.sockets {
        let behind = published.get(&(socket.protocol, socket.port)).filter(|_| {
            let holder = socket.holder.as_ref();
            holder.is_none_or(|holder| PROXIES.contains(&holder.name.as_str()))
        });
        add(
            &mut rows,
            match behind {
                Some((container, binding)) => passed_on(container, *binding, socket.address),
                None => own(around, socket),
            },
        );
    }
    // A socket for all IPv6 addresses takes IPv4 too, unless somebody else has the port there.
    let both: Vec<Row> = rows
        .values()
        .filter(|row| row.address.is_ipv6() && row.address.is_unspecified())
        .filter(|row| row.inside.is_none())
        .cloned()
        .collect();
    for row in both {
        let all = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        add(&mut rows, Row { family: Family::V4, address: all, ..row });
    }
    rows.into_values().collect()
}

fn add(rows: &mut BTreeMap<Key, Row>, row: Row) {
    rows.entry((row.protocol, row.port, row.family, row.address)).or_insert(row);
}

fn passed_on(container: &Listed, binding: Binding, address: IpAddr) -> Row {
    Row {
        protocol: binding.protocol,
        port: binding.port,
        family: Family::of(address),
        address,
        owner: owner(container),
        inside: Some(binding.inside),
    }
}

fn owner(container: &Listed) -> Owner {
    match &container.record {
        Some(record) => Owner::Record { name: record.to_string() },
        None => Owner::Container { name: container.name.clone(), image: container.image.clone() },
    }
}

/// A socket of a process, which may be one in a container on the host's network.
fn own(around: &Surroundings, socket: &Socket) -> Row {
    let owner = match &socket.holder {
        None => Owner::Unknown,
        Some(holder) => {
            let is_in = |container: &&Listed| {
                let id = container.id.as_str();
                !id.is_empty() && holder.groups.iter().any(|group| group.contains(id))
            };
            around.containers.iter().find(is_in).map_or_else(
                || Owner::Process { name: holder.name.clone(), pid: holder.pid },
                owner,
            )
        }
    };
    Row {
        protocol: socket.protocol,
        port: socket.port,
        family: Family::of(socket.address),
        address: socket.address,
        owner,
        inside: None,
    }
}

impl Surroundings {
    /// The addresses of this host that a socket bound to `address` answers at, loopback left out.
    pub(super) fn addresses_of(&self, address: IpAddr, family: Family) -> Vec<IpAddr> {
        let is_meant = |own: &&IpAddr| {
            Family::of(**own) == family && (address.is_unspecified() || **own == address)
        };
        self.addresses.iter().filter(is_meant).copied().collect()
    }
}
