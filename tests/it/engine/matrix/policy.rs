// SPDX-License-Identifier: GPL-2.0-or-later

//! What each cell of the matrix must be, said once more in the words of the manual and apart from
//! the code under test.
//!
//! The outside opens only when a port is set, `access` is public and `status` enabled. The LAN always
//! passes where access is private. A container reaches another one along a link only, and this
//! host at no port but those of its `HostAccess`. Who says an address that is not his gets nothing.

use crate::lab::{Engine, Mode};

/// The records, one for each kind of exposure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Private,
    Public,
    Localhost,
    /// Public, `AllowHosts` names the friend's half of the Internet.
    Allow,
    /// Public, `DenyHosts` names the stranger's half of the Internet.
    Deny,
    /// Public, and disabled.
    Disabled,
    /// Public, and no port of the host is set.
    Portless,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Private,
        Self::Public,
        Self::Localhost,
        Self::Allow,
        Self::Deny,
        Self::Disabled,
        Self::Portless,
    ];

    /// Also the record's key.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::Localhost => "localhost",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Disabled => "disabled",
            Self::Portless => "portless",
        }
    }

    /// The host port, TCP and UDP.
    pub(super) const fn port(self) -> u16 {
        9001 + self as u16
    }

    /// Whether a port of the host leads to it.
    pub(super) const fn is_published(self) -> bool {
        match self {
            Self::Private | Self::Public | Self::Localhost | Self::Allow | Self::Deny => true,
            Self::Disabled | Self::Portless => false,
        }
    }
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Host,
    Lan,
    /// On the Internet, in the half that `AllowHosts` names.
    Friend,
    /// On the Internet, in the half that `DenyHosts` names.
    Stranger,
    /// A container with a link to each of the records.
    Linked,
    /// A container without.
    Unlinked,
    /// A container without links, whose `HostAccess` names the private port.
    Granted,
    /// Somebody else's container, on the engine's own bridge.
    Foreign,
    /// Somebody else's container that was put on our bridge.
    Intruder,
}

impl Source {
    pub(super) const ALL: [Self; 9] = [
        Self::Host,
        Self::Lan,
        Self::Friend,
        Self::Stranger,
        Self::Linked,
        Self::Unlinked,
        Self::Granted,
        Self::Foreign,
        Self::Intruder,
    ];

    /// Also the container's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Lan => "lan",
            Self::Friend => "friend",
            Self::Stranger => "stranger",
            Self::Linked => "linked",
            Self::Unlinked => "unlinked",
            Self::Granted => "granted",
            Self::Foreign => "foreign",
            Self::Intruder => "intruder",
        }
    }

    pub(super) const fn is_container(self) -> bool {
        match self {
            Self::Host | Self::Lan | Self::Friend | Self::Stranger => false,
            Self::Linked | Self::Unlinked | Self::Granted | Self::Foreign | Self::Intruder => true,
        }
    }
}

/// What a packet is sent to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// The host's address on the LAN, whichever side the source is on.
    ToLan,
    /// The host's address on the Internet side.
    ToWan,
    /// The host's address on the source's link, good on that link only.
    ToLink,
    /// The host's address on the containers' bridge.
    ToBridge,
    /// The container's own address.
    Direct,
    /// `127.0.0.1` or `::1` of the host; from elsewhere by the wire.
    Loopback,
    /// The nearest address of the host, from an address of the LAN that is not the sender's.
    SpoofLan,
    /// The nearest address of the host, from 127.0.0.1.
    SpoofLoopback,
}

impl Way {
    pub(super) const ALL: [Self; 8] = [
        Self::ToLan,
        Self::ToWan,
        Self::ToLink,
        Self::ToBridge,
        Self::Direct,
        Self::Loopback,
        Self::SpoofLan,
        Self::SpoofLoopback,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ToLan => "LAN address",
            Self::ToWan => "WAN address",
            Self::ToLink => "link-local",
            Self::ToBridge => "bridge address",
            Self::Direct => "container address",
            Self::Loopback => "loopback",
            Self::SpoofLan => "spoofed LAN source",
            Self::SpoofLoopback => "spoofed loopback source",
        }
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// Whether a question of `source` must be answered.
pub(super) fn may(
    engine: Engine,
    mode: Mode,
    source: Source,
    way: Way,
    kind: Kind,
    family: Family,
) -> bool {
    // Podman has no proxy, and its containers only what the kernel gives each interface: links and
    // HostAccess are of IPv4 addresses, so that nobody but the host has anything to do there.
    if engine == Engine::Podman && family == Family::V6 {
        return way == Way::Direct && source == Source::Host && kind != Kind::Disabled;
    }
    let is_up = kind != Kind::Disabled;
    match way {
        Way::Direct => is_up && matches!(source, Source::Host | Source::Linked),
        Way::Loopback => source == Source::Host && is_bound(kind, family),
        Way::SpoofLoopback => false,
        // On one wire, an address is all that tells a neighbour from another one.
        Way::SpoofLan => mode == Mode::ServerOnly && !source.is_container() && as_local(kind),
        // The bridge's network is nothing that the outside could route to, the host's address in
        // it included.
        Way::ToBridge if !source.is_container() && source != Source::Host => false,
        Way::ToLan | Way::ToWan | Way::ToLink | Way::ToBridge => {
            kind.is_published() && kind != Kind::Localhost && to_host(source, way, kind)
        }
    }
}

/// Localhost is `127.0.0.1` and not `::1`.
fn is_bound(kind: Kind, family: Family) -> bool {
    kind.is_published() && (kind != Kind::Localhost || family == Family::V4)
}

/// Whether local networks pass.
fn as_local(kind: Kind) -> bool {
    matches!(kind, Kind::Private | Kind::Public | Kind::Allow | Kind::Deny)
}

fn to_host(source: Source, way: Way, kind: Kind) -> bool {
    // Everybody on the link has such an address: neither local nor named by a list.
    let is_nobody = way == Way::ToLink;
    match source {
        Source::Host => true,
        Source::Lan if !is_nobody => as_local(kind),
        Source::Friend if !is_nobody => matches!(kind, Kind::Public | Kind::Allow | Kind::Deny),
        Source::Stranger if !is_nobody => kind == Kind::Public,
        Source::Lan | Source::Friend | Source::Stranger | Source::Foreign => {
            matches!(kind, Kind::Public | Kind::Deny)
        }
        Source::Granted => kind == Kind::Private,
        Source::Linked | Source::Unlinked | Source::Intruder => false,
    }
}
