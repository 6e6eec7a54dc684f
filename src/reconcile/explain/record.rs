// SPDX-License-Identifier: GPL-2.0-or-later

//! A record of `docker_containers`: what it says, where that stands, and what its container does.

use std::collections::BTreeSet;

use bstr::BStr;

use crate::db::DbName;
use crate::db::value::{self, ContainerName, Protocol};
use crate::desired::Props;
use crate::reconcile::exposure::{Opening, Owner};
use crate::reconcile::survey::Survey;
use crate::state::container::Attachment;
use crate::state::exposure::{HostPort, Matches};
use crate::state::{Container, Wanted};

/// A record and all that was seen of it.
pub(super) struct Subject<'a> {
    pub(super) survey: &'a Survey,
    pub(super) openings: Vec<&'a Opening>,
    pub(super) name: &'a str,
    key: Option<ContainerName>,
    props: Props,
    defaults: Props,
}

impl<'a> Subject<'a> {
    pub(super) fn new(survey: &'a Survey, openings: &'a [Opening], name: &'a str) -> Self {
        let records = &survey.snapshot;
        let props = records.containers.get(name).map(Props::of).unwrap_or_default();
        let image = props.get("Image").and_then(|image| records.images.get(BStr::new(image)));
        let is_its =
            |one: &&Opening| matches!(&one.owner, Owner::Record { name: of } if of == name);
        Self {
            survey,
            openings: openings.iter().filter(is_its).collect(),
            name,
            key: value::container_name(name).ok(),
            defaults: image.map(Props::of).unwrap_or_default(),
            props,
        }
    }

    /// What it is to become, unless it is held.
    pub(super) fn container(&self) -> Option<&Container> {
        self.survey.resolution.desired.containers.get(self.key.as_ref()?)
    }

    /// The value of `property`, of the record or of its image's.
    pub(super) fn get(&self, property: &str) -> Option<&str> {
        self.props.get(property).or_else(|| self.defaults.get(property))
    }

    /// `access is private (docker_containers record 'shop')`.
    pub(super) fn says(&self, property: &str, default: &str) -> String {
        let image = self.props.get("Image").unwrap_or_default();
        match (self.props.get(property), self.defaults.get(property)) {
            (Some(value), _) => {
                format!("{property} is {value} ({} record '{}')", DbName::CONTAINERS, self.name)
            }
            (None, Some(value)) => {
                format!("{property} is {value} ({} record '{image}')", DbName::IMAGES)
            }
            (None, None) => format!(
                "{property} is not set ({} record '{}'), which means {default}",
                DbName::CONTAINERS,
                self.name
            ),
        }
    }

    /// A command that sets `property` of the record.
    pub(super) fn set(&self, property: &str, value: &str) -> String {
        format!("db {} setprop {} {property} {value}", DbName::CONTAINERS, self.name)
    }

    pub(super) fn is_on_host_network(&self) -> bool {
        self.get("network") == Some("host")
    }

    pub(super) fn is_up(&self) -> bool {
        let is_it = |record: &ContainerName| record.as_str() == self.name;
        let containers = &self.survey.around.containers;
        containers.iter().any(|one| one.is_up && one.record.as_ref().is_some_and(is_it))
    }

    /// The ports of the host that are its, asked for or still open.
    pub(super) fn host_ports(&self) -> BTreeSet<HostPort> {
        let exposure = self.container().and_then(|container| container.exposure.as_ref());
        let asked = exposure.into_iter().flat_map(|exposure| &exposure.ports);
        let open = self.openings.iter().map(|one| super::port_of(one));
        asked.map(|port| HostPort::from(*port)).chain(open).collect()
    }

    /// The ports that it serves, in the container.
    pub(super) fn served(&self) -> BTreeSet<HostPort> {
        let of = |property, protocol| {
            let ranges = self.get(property).and_then(|text| value::ports(text).ok());
            let ports = ranges
                .unwrap_or_default()
                .into_iter()
                .flat_map(|range| range.iter().collect::<Vec<_>>());
            ports.map(move |port| HostPort { protocol, port })
        };
        of("TCPPort", Protocol::Tcp).chain(of("UDPPort", Protocol::Udp)).collect()
    }

    /// Why its container does not run, and what would make it; none when it does.
    pub(super) fn why_down(&self) -> Option<(String, String)> {
        if self.is_up() {
            return None;
        }
        let wanted = self.container().map(|container| container.wanted);
        Some(match wanted {
            _ if self.held().is_some() => (
                "the record is rejected, so its container is not made".to_owned(),
                "wharf plan".to_owned(),
            ),
            Some(Wanted::Stopped) => {
                (self.says("status", "disabled"), self.set("status", "enabled"))
            }
            Some(Wanted::StoppedByHand) => {
                ("it was stopped by hand".to_owned(), format!("wharf start {}", self.name))
            }
            Some(Wanted::StoppedByEvent) => (
                "it was stopped by an event (StopOn)".to_owned(),
                format!("wharf start {}", self.name),
            ),
            Some(Wanted::StoppedByClock) => (
                "it is not between its StartAt and StopAt".to_owned(),
                format!("wharf start {}", self.name),
            ),
            Some(Wanted::Running | Wanted::StartedByHand | Wanted::StartedByEvent) | None => {
                ("its container does not run".to_owned(), "wharf apply".to_owned())
            }
        })
    }

    fn held(&self) -> Option<&str> {
        Some(self.survey.resolution.desired.held.get(self.key.as_ref()?)?.as_str())
    }

    /// What it is and where it is.
    pub(super) fn facts(&self) -> Vec<String> {
        let mut facts = vec![self.place()];
        if let Some((why, change)) = self.why_down() {
            facts.push(format!("It does not run: {why}; to change: {change}."));
        }
        if let Some(why) = self.held() {
            facts.push(format!("It stays as it is, and opens nothing new: {why}."));
        }
        for rejection in &self.survey.resolution.rejected {
            if rejection.database == DbName::CONTAINERS && rejection.key == self.name {
                let remedy = rejection.remedy.as_deref().unwrap_or("wharf plan");
                facts.push(format!("{}: {}; hint: {remedy}.", rejection.place(), rejection.wrong));
            }
        }
        if !super::is_guarded(self.survey) {
            let guard = self.survey.around.guard.as_str();
            facts.push(format!(
                "The guard is NOT IN FORCE ({guard}): neither access nor links keep anybody out; to change: wharf apply."
            ));
        }
        facts.extend(self.mapping());
        facts.extend(self.routes());
        facts
    }

    fn place(&self) -> String {
        let attachment = self.container().map(|container| &container.spec.attachment);
        match attachment {
            Some(Attachment::Bridge { address, published, .. }) => {
                let ports: Vec<String> = published
                    .iter()
                    .map(|one| format!("{}/{} to its {}", one.host, one.protocol, one.container))
                    .collect();
                let leads = if ports.is_empty() {
                    "no port of the host leads to it".to_owned()
                } else {
                    format!("the host passes on {}", ports.join(", "))
                };
                format!("Container on the managed bridge at {address}; {leads}.")
            }
            Some(Attachment::Host { .. }) => format!(
                "Container in the host's own network ({}): its ports are the host's, and no link leads to it.",
                self.says("network", "bridge")
            ),
            None => "No container can be made of the record.".to_owned(),
        }
    }

    fn mapping(&self) -> Option<String> {
        match self.get("PortMapping") {
            Some("none") => Some(format!(
                "{}: only links and web routes lead to it; to change: {}.",
                self.says("PortMapping", "native"),
                self.set("PortMapping", "native")
            )),
            Some("custom") => Some(format!(
                "{}: {}.",
                self.says("PortMapping", "native"),
                self.says("PortMappingPorts", "none")
            )),
            Some(_) | None => None,
        }
    }

    fn routes(&self) -> Vec<String> {
        let routes = self.survey.resolution.desired.routes.iter();
        let of_this = routes.filter(|route| route.container.as_str() == self.name);
        of_this
            .map(|route| {
                let property = match route.matches {
                    Matches::Path(_) => "WebAlias",
                    Matches::Host(_) => "SubDomainName",
                };
                format!(
                    "The host's web server passes {} on to {}:{} ({property}), for {} ({}): there its own rules decide.",
                    route.matches,
                    route.address,
                    route.port,
                    route.access.as_str(),
                    self.says("access", "private")
                )
            })
            .collect()
    }

    /// What it reaches itself.
    pub(super) fn outward(&self) -> Vec<String> {
        if self.is_on_host_network() {
            return vec!["It reaches what this host reaches.".to_owned()];
        }
        let links = self.get("Interlinked").unwrap_or("no other container");
        let links = if self.survey.resolution.desired.guard.members.is_empty() {
            let change = self.set("Interlinked", "TARGET");
            format!("It reaches {links} (Interlinked); to change: {change}.")
        } else {
            "It reaches every container of a record (Links is open); to change: config setprop docker Links guarded.".to_owned()
        };
        vec![
            links,
            format!(
                "Of this host it reaches port 53, and by HostAccess: {}; to change: {}.",
                self.get("HostAccess").unwrap_or("none"),
                self.set("HostAccess", "PORT/tcp")
            ),
            format!(
                "Outside it reaches: {} (Egress); to change: {}.",
                self.get("Egress").unwrap_or("all"),
                self.set("Egress", "none|lan|all|NETWORK")
            ),
        ]
    }

    /// Its links, with the record's own words for them.
    pub(super) fn links(&self) -> Vec<value::Link> {
        self.get("Interlinked").and_then(|text| value::links(text).ok()).unwrap_or_default()
    }
}
