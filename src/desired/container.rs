// SPDX-License-Identifier: GPL-2.0-or-later

//! One container record, with the defaults of its image under it.
//!
//! A [`Draft`] holds what could be read of a record even when something in it is wrong: a running
//! container whose record got a typo keeps its address, its exposure and its links.

mod health;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use crate::db::DbName;
use crate::db::value::{
    self, ContainerName, Egress, HealthTest, ImageRef, Link, MountSource, Parsed, Port, PortRange,
    Protocol,
};
use crate::desired::network::{Addressing, HostRecord};
use crate::desired::window::Window;
use crate::desired::{Override, Props, Rejection};
use crate::state::container::{
    Attachment, Container, ContainerSpec, DEFAULT_LOG_BYTES, DEFAULT_STOP_GRACE, Device,
    HealthPace, Listen, Masked, Mount, MountedFrom, Publish, Readiness, Wanted,
};
use crate::state::{Access, Exposure, Facts};

/// What could be read of one record.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The record's key.
    pub name: ContainerName,
    /// Whether it should run.
    pub wanted: Wanted,
    /// The times between which it runs.
    pub window: Option<Window>,
    /// Whether it is on the managed bridge.
    pub bridged: bool,
    /// Its address on the bridge.
    pub address: Option<Ipv4Addr>,
    /// Whether it is given one.
    pub addressing: Addressing,
    /// The ports it serves, in the container.
    pub served: BTreeSet<(Protocol, PortRange)>,
    /// Who may reach which host port.
    pub exposure: Option<Exposure>,
    /// The containers it needs.
    pub links: Vec<Link>,
    /// `/alias` on the primary site.
    pub web_alias: Option<String>,
    /// Name in the primary domain, whole.
    pub sub_domain: Option<String>,
    /// Port that routes go to.
    pub web_port: Option<NonZeroU16>,
    /// Access as the record says, also without host ports.
    pub access: Access,
    /// Whether host and container ports are mapped by `PortMappingPorts`.
    pub maps_ports: bool,
    /// Host ports it may reach.
    pub host_access: Vec<Port>,
    /// What it may reach outside.
    pub egress: Egress,
    /// What the engine is told; `None` when the record does not say what to run.
    pub spec: Option<ContainerSpec>,
    /// Why the container stays as it is.
    pub faults: Vec<Rejection>,
    hold: bool,
    priority: i64,
    readiness: Option<HealthTest>,
    pace: HealthPace,
    directories: BTreeSet<PathBuf>,
}

/// Reads `record`; `image` gives the defaults of an image, `faults` is what the schema found.
pub fn draft(
    name: &ContainerName,
    record: &Props,
    image: &dyn Fn(&str) -> Option<Props>,
    host: &HostRecord,
    by_hand: Option<Override>,
    faults: Vec<Rejection>,
) -> Draft {
    let defaults = record.get("Image").and_then(image).unwrap_or_default();
    let from = Layered { record, defaults: &defaults };
    let bridged = from.get("network") != Some("host");
    let served = served(&from);
    let web_alias = from.read("WebAlias", value::web_alias);
    let sub_domain = (from.get("SubDomain") == Some("enabled"))
        .then(|| from.read("SubDomainName", value::host_label))
        .flatten()
        .map(|label| host.full_name(&label));
    let access = match from.get("access") {
        Some("public") => Access::Public,
        Some("localhost") => Access::Localhost,
        Some(_) | None => Access::Private,
    };
    let web_port = web_port(&from, &served);
    let routed = web_alias.is_some() || sub_domain.is_some();
    let published =
        if bridged { published(&from, &served, access, routed, web_port) } else { Vec::new() };
    let exposure = exposure(&from, access, &published, bridged, &served);
    let (mounts, directories) = mounts(&from, name, &host.data_root);
    let mut draft = Draft {
        name: name.clone(),
        wanted: wanted(record.get("status"), by_hand),
        window: window(record, by_hand),
        bridged,
        address: from.read("Address", value::ipv4).filter(|_| bridged),
        addressing: Addressing::Stays,
        exposure,
        links: from.read("Interlinked", value::links).unwrap_or_default(),
        web_alias,
        sub_domain,
        web_port,
        access,
        maps_ports: from.get("PortMapping") == Some("custom"),
        host_access: from.read("HostAccess", value::host_access).unwrap_or_default(),
        egress: from.read("Egress", value::egress).unwrap_or(Egress::All),
        spec: None,
        hold: from.get("Hold") == Some("yes"),
        priority: from.read("InterLinkPriority", priority).unwrap_or(100),
        readiness: from.read("Health", value::health),
        pace: health::pace(&from),
        served,
        directories,
        faults,
    };
    draft.spec = from
        .read("Image", value::image_ref)
        .map(|image| spec(&draft, &from, image, published, mounts));
    draft
}

/// A record over the defaults of its image.
struct Layered<'a> {
    record: &'a Props,
    defaults: &'a Props,
}

impl Layered<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.record.get(name).or_else(|| self.defaults.get(name))
    }

    /// The value of `name`, when there is one and it is right; the schema has said what is wrong.
    fn read<T>(&self, name: &str, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        self.get(name).and_then(|text| parse(text).ok())
    }

    fn environment(&self) -> BTreeMap<String, Masked> {
        let of = |props: &Props| -> Vec<(String, Masked)> {
            props
                .family("Env_")
                .map(|(name, value)| (name.to_owned(), Masked::new(value.to_owned())))
                .collect()
        };
        of(self.defaults).into_iter().chain(of(self.record)).collect()
    }
}

fn priority(text: &str) -> Parsed<i64> {
    value::integer(text, 0, 9999)
}

fn pids(text: &str) -> Parsed<i64> {
    value::integer(text, 1, 4_194_304)
}

fn wanted(status: Option<&str>, by_hand: Option<Override>) -> Wanted {
    match (status == Some("enabled"), by_hand) {
        (true, Some(Override::Stop)) => Wanted::StoppedByHand,
        (true, Some(Override::StopByEvent)) => Wanted::StoppedByEvent,
        (true, _) => Wanted::Running,
        (false, Some(Override::Start)) => Wanted::StartedByHand,
        (false, Some(Override::StartByEvent)) => Wanted::StartedByEvent,
        (false, _) => Wanted::Stopped,
    }
}

/// The times between which it runs, when they decide: by hand and by events is more than by the clock.
fn window(record: &Props, by_hand: Option<Override>) -> Option<Window> {
    let at = |name| record.get(name).and_then(|text| value::cron(text).ok());
    if record.get("status") != Some("enabled") || by_hand.is_some() {
        return None;
    }
    Some(Window { start: at("StartAt")?, stop: at("StopAt")? })
}

fn served(from: &Layered<'_>) -> BTreeSet<(Protocol, PortRange)> {
    let of = |property, protocol| {
        let ranges = from.read(property, value::ports).unwrap_or_default();
        ranges.into_iter().map(move |range| (protocol, range))
    };
    of("TCPPort", Protocol::Tcp).chain(of("UDPPort", Protocol::Udp)).collect()
}

/// The port that routes go to: as said, else 80 when it is served, else the first TCP port.
fn web_port(from: &Layered<'_>, served: &BTreeSet<(Protocol, PortRange)>) -> Option<NonZeroU16> {
    let tcp = || {
        served.iter().filter(|(protocol, _)| *protocol == Protocol::Tcp).map(|(_, range)| *range)
    };
    from.read("WebPort", port)
        .or_else(|| tcp().flat_map(PortRange::iter).find(|port| port.get() == 80))
        .or_else(|| tcp().next().map(PortRange::first))
}

fn port(text: &str) -> Parsed<NonZeroU16> {
    value::port(text)
}

/// The ports that the host passes on.
///
/// A web port with a route is not published when the record does not say how: the web server of the
/// host reaches it by address, and a second way in would only be one more to guard.
fn published(
    from: &Layered<'_>,
    served: &BTreeSet<(Protocol, PortRange)>,
    access: Access,
    routed: bool,
    web_port: Option<NonZeroU16>,
) -> Vec<Publish> {
    let listen = match access {
        Access::Localhost => Listen::Loopback,
        Access::Private | Access::Public => Listen::Everywhere,
    };
    let mapping = from.get("PortMapping");
    let mut published: Vec<Publish> = if mapping == Some("none") {
        Vec::new()
    } else if mapping == Some("custom") {
        from.read("PortMappingPorts", value::port_maps)
            .unwrap_or_default()
            .into_iter()
            .map(|map| Publish {
                host: map.host,
                container: map.container,
                protocol: map.protocol,
                listen,
            })
            .collect()
    } else {
        let hidden = |protocol: Protocol, port: NonZeroU16| {
            mapping.is_none() && routed && protocol == Protocol::Tcp && Some(port) == web_port
        };
        served
            .iter()
            .flat_map(|(protocol, range)| range.iter().map(move |port| (*protocol, port)))
            .filter(|(protocol, port)| !hidden(*protocol, *port))
            .map(|(protocol, port)| Publish { host: port, container: port, protocol, listen })
            .collect()
    };
    published.sort_unstable();
    published
}

fn exposure(
    from: &Layered<'_>,
    access: Access,
    published: &[Publish],
    bridged: bool,
    served: &BTreeSet<(Protocol, PortRange)>,
) -> Option<Exposure> {
    let ports: BTreeSet<Port> = if bridged {
        published
            .iter()
            .map(|publish| Port { protocol: publish.protocol, number: publish.host })
            .collect()
    } else {
        served
            .iter()
            .flat_map(|(protocol, range)| {
                range.iter().map(|number| Port { protocol: *protocol, number })
            })
            .collect()
    };
    (!ports.is_empty()).then(|| Exposure {
        access,
        ports,
        allow: from.read("AllowHosts", value::ip_networks).unwrap_or_default(),
        deny: from.read("DenyHosts", value::ip_networks).unwrap_or_default(),
    })
}

/// The mounts, and the directories below the data root that they need.
fn mounts(
    from: &Layered<'_>,
    name: &ContainerName,
    data_root: &Path,
) -> (Vec<Mount>, BTreeSet<PathBuf>) {
    let below = |target: &Path| {
        data_root.join(name.as_str()).join(target.strip_prefix("/").unwrap_or(target))
    };
    let mut directories = BTreeSet::new();
    let mut mounts = Vec::new();
    for entry in from.read("MountPath", value::mounts).unwrap_or_default() {
        let source = match entry.source {
            MountSource::Host(path) => path,
            MountSource::DataRoot => {
                let path = below(&entry.target);
                directories.insert(path.clone());
                path
            }
        };
        mounts.push(Mount {
            source: MountedFrom::Host(source),
            target: entry.target,
            read_only: entry.read_only,
        });
    }
    if let Some(target) = from.read("DataMountPath", value::absolute_path) {
        let read_only = from.get("DataMountWrite") == Some("no");
        let source = match from.get("DataMount") {
            Some("host") => {
                let path = below(&target);
                directories.insert(path.clone());
                Some(MountedFrom::Host(path))
            }
            Some("container") => Some(MountedFrom::Volume(format!("wharf-{name}-data"))),
            Some(_) | None => None,
        };
        mounts.extend(source.map(|source| Mount { source, target, read_only }));
    }
    (mounts, directories)
}

fn spec(
    draft: &Draft,
    from: &Layered<'_>,
    image: ImageRef,
    published: Vec<Publish>,
    mounts: Vec<Mount>,
) -> ContainerSpec {
    let capabilities = from.read("Capabilities", value::capabilities).unwrap_or_default();
    let aliases: BTreeMap<String, ContainerName> =
        draft.links.iter().map(|link| (link.alias.clone(), link.target.clone())).collect();
    ContainerSpec {
        name: draft.name.clone(),
        image,
        command: from.read("Command", value::command).unwrap_or_default(),
        environment: from.environment(),
        user: from.read("User", value::user),
        attachment: match draft.address.filter(|_| draft.bridged) {
            Some(address) => {
                Attachment::Bridge { address, published, aliases, names: BTreeMap::new() }
            }
            // Without an address a bridged draft has a fault and never becomes a container.
            None => Attachment::Host { names: BTreeMap::new() },
        },
        mounts,
        memory_bytes: from.read("MaxMemory", value::memory_bytes),
        nano_cpus: from.read("MaxCpu", value::cpus),
        pids: from.read("MaxPids", pids),
        health: health::check(from),
        stop_grace: from
            .read("StopGrace", value::seconds)
            .map_or(DEFAULT_STOP_GRACE, |grace| grace.as_secs()),
        capabilities_added: capabilities.add,
        capabilities_dropped: capabilities.drop,
        read_only: from.get("ReadOnly") == Some("yes"),
        devices: from
            .read("Devices", value::devices)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| Device {
                host: entry.host,
                container: entry.container,
                permissions: entry.permissions,
            })
            .collect(),
        tmpfs: from
            .read("Tmpfs", value::tmpfs)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| (entry.target, entry.size_bytes))
            .collect(),
        log_max_bytes: from.read("LogMaxSize", value::size_bytes).unwrap_or(DEFAULT_LOG_BYTES),
    }
}

impl Draft {
    /// Host paths that it mounts.
    pub fn places(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.spec.iter().flat_map(|spec| &spec.mounts).filter_map(|mount| match &mount.source {
            MountedFrom::Host(path) => Some(path.clone()),
            MountedFrom::Volume(_) => None,
        })
    }

    /// Those of them that must be there already.
    pub fn host_sources(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.places().filter(|path| !self.directories.contains(path))
    }

    /// Adds a fault of `property`.
    pub fn reject(
        &mut self,
        property: &str,
        value: Option<String>,
        wrong: String,
        remedy: Option<String>,
    ) {
        self.faults.push(Rejection {
            database: DbName::CONTAINERS.to_owned(),
            key: self.name.to_string(),
            property: Some(property.to_owned()),
            value,
            wrong,
            remedy,
        });
    }

    /// Whether the container stays as it is.
    pub fn is_held(&self) -> bool {
        self.hold || !self.faults.is_empty()
    }

    /// The container, or why it stays as it is.
    ///
    /// # Errors
    ///
    /// It is on hold, or its record has faults.
    pub fn finish(self) -> Result<Container, (String, Vec<Rejection>)> {
        if let Some(first) = self.faults.first() {
            let property = first.property.as_ref().map(|name| format!("{name}: "));
            let why = format!("{}{}", property.unwrap_or_default(), first.wrong);
            return Err((why, self.faults));
        }
        if self.hold {
            return Err(("its record says Hold=yes".to_owned(), Vec::new()));
        }
        let readiness = self.readiness();
        let Some(spec) = self.spec else {
            return Err(("its record names no Image".to_owned(), Vec::new()));
        };
        Ok(Container {
            hash: spec.hash(),
            spec,
            wanted: self.wanted,
            exposure: self.exposure,
            links: self.links.into_iter().map(|link| (link.alias, link.target)).collect(),
            priority: self.priority,
            readiness,
            pace: self.pace,
            is_checked_by_us: matches!(
                self.readiness,
                Some(HealthTest::Tcp { .. } | HealthTest::Http { .. })
            ),
            directories: self.directories,
        })
    }

    fn readiness(&self) -> Readiness {
        let address = self.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let first_tcp = self
            .served
            .iter()
            .find(|(protocol, _)| *protocol == Protocol::Tcp)
            .map(|(_, range)| range.first());
        match (&self.readiness, first_tcp) {
            (Some(HealthTest::Command(_)), _) => Readiness::Health,
            (Some(HealthTest::Tcp { port }), _) => Readiness::Tcp(address, *port),
            (Some(HealthTest::Http { port, path }), _) => {
                Readiness::Http(address, *port, path.clone())
            }
            (None, Some(port)) => Readiness::Tcp(address, port),
            (None, None) => Readiness::Running,
        }
    }
}

/// Rejects records whose name somebody else's container has: it is theirs, and stays.
pub fn check_names(drafts: &mut BTreeMap<ContainerName, Draft>, facts: &Facts) {
    for draft in drafts.values_mut().filter(|draft| draft.wanted.is_up()) {
        let name = draft.name.to_string();
        if facts.foreign_names.contains(&name) && !facts.existing.contains(&draft.name) {
            draft.faults.push(Rejection {
                database: DbName::CONTAINERS.to_owned(),
                key: name.clone(),
                property: None,
                value: None,
                wrong: format!("the engine has a foreign container of the name '{name}', which wharf never touches"),
                remedy: Some(format!("docker rename {name} {name}-old")),
            });
        }
    }
}

/// Rejects records that mount a host path that is not there: the engine would make an empty
/// directory of it, and the application would start without its data.
pub fn check_mounts(drafts: &mut BTreeMap<ContainerName, Draft>, facts: &Facts) {
    for draft in drafts.values_mut().filter(|draft| draft.wanted.is_up()) {
        let missing: Vec<PathBuf> =
            draft.host_sources().filter(|path| facts.missing.contains(path)).collect();
        for path in missing {
            draft.reject(
                "MountPath",
                Some(path.display().to_string()),
                "this path does not exist on the host".to_owned(),
                Some(format!("mkdir -p {}", path.display())),
            );
        }
    }
}
