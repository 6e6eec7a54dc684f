// SPDX-License-Identifier: GPL-2.0-or-later

//! Who comes from another container of ours: along a link, or to a port of the host by `HostAccess`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::record::Subject;
use super::{Source, Verdict, in_force, is_guarded};
use crate::reconcile::explain::outside;
use crate::state::exposure::HostPort;

/// Whether the container of record `other` reaches the ports `meant` of `subject`.
pub(super) fn verdicts(
    subject: &Subject<'_>,
    other: &str,
    meant: &BTreeSet<HostPort>,
) -> Vec<Verdict> {
    let from = Subject::new(subject.survey, &[], other);
    let source = Source::Container(other.to_owned());
    let as_host = from.is_on_host_network();
    if as_host {
        let ports = subject.host_ports();
        return ports
            .intersection(meant)
            .flat_map(|port| outside::of_record(subject, *port, &Source::Host))
            .map(|mut verdict| {
                verdict.from = source.words();
                let why = from.says("network", "bridge");
                verdict.because.insert(0, format!("{why}: it is this host to all packets"));
                verdict
            })
            .collect();
    }
    if subject.is_on_host_network() {
        let ports = subject.host_ports();
        return ports.intersection(meant).map(|port| host_access(subject, &from, *port)).collect();
    }
    let served = subject.served();
    let links = served.intersection(meant).map(|port| link(subject, &from, *port));
    // By the host as well, at ports that HostAccess names; of the others nothing need be said.
    let ports = subject.host_ports();
    let by_host = ports.intersection(meant).filter(|port| is_named(subject, &from, **port));
    links.chain(by_host.map(|port| host_access(subject, &from, *port))).collect()
}

/// Whether the guard lets `from` reach `port` of the host.
fn is_named(subject: &Subject<'_>, from: &Subject<'_>, port: HostPort) -> bool {
    let address = from.container().and_then(|container| container.spec.address());
    in_force(subject.survey).host_access.iter().any(|flow| {
        Some(flow.from) == address && (flow.protocol, flow.port) == (port.protocol, port.port)
    })
}

/// A port of the host, where `subject` is.
fn host_access(subject: &Subject<'_>, from: &Subject<'_>, port: HostPort) -> Verdict {
    let is_named = is_named(subject, from, port);
    let is_dns = port.port.get() == 53;
    let mut because = vec![from.says("HostAccess", "name service only")];
    if is_dns {
        because.push("port 53 is open to every container".to_owned());
    } else if is_named {
        because.push("guard, set host_access".to_owned());
    } else {
        because
            .push("guard, chain input: what set host_access does not name is dropped".to_owned());
    }
    let known = from.get("HostAccess").filter(|list| *list != "none");
    let wanted = known.map_or_else(|| port.to_string(), |list| format!("{list},{port}"));
    verdict(subject, from, port, is_named || is_dns, because, &from.set("HostAccess", &wanted))
}

/// A port of the container, by its own address.
fn link(subject: &Subject<'_>, from: &Subject<'_>, port: HostPort) -> Verdict {
    let address = |of: &Subject<'_>| of.container().and_then(|one| one.spec.address());
    let (here, there) = (address(from), address(subject));
    let guard = in_force(subject.survey);
    let is_in = guard.links.iter().any(|flow| {
        (Some(flow.from), Some(flow.to)) == (here, there)
            && flow.protocol == port.protocol
            && flow.ports.contains(port.port)
    });
    let is_member = |one: Option<Ipv4Addr>| one.is_some_and(|one| guard.members.contains(&one));
    if is_member(here) && is_member(there) {
        let because = vec![
            "Links is open (configuration record 'docker'): containers of records reach each other"
                .to_owned(),
            "guard, set members".to_owned(),
        ];
        return verdict(subject, from, port, true, because, "config setprop docker Links guarded");
    }
    let own = from.links();
    let linked = own.iter().find(|link| link.target.as_str() == subject.name);
    let mut because = vec![from.says("Interlinked", "no link")];
    match (linked, is_in) {
        (Some(link), true) => {
            because.push(format!("guard, set links; it knows it as '{}'", link.alias));
        }
        (Some(_), false) => because.push("the link is not in the guard's set links yet".to_owned()),
        (None, _) => {
            because.push(
                "guard: containers reach each other along links, and by ports of the host that HostAccess names"
                    .to_owned(),
            );
            if subject.links().iter().any(|link| link.target.as_str() == from.name) {
                because.push(format!("the link from '{}' leads the other way only", subject.name));
            }
        }
    }
    let change = change_of_link(from, subject.name, linked.is_some(), is_in);
    verdict(subject, from, port, is_in, because, &change)
}

/// What would end the link of `from` to `target`, or make it.
fn change_of_link(from: &Subject<'_>, target: &str, is_linked: bool, is_in: bool) -> String {
    let own = from.links();
    match (is_linked, is_in) {
        (true, true) => {
            let rest: Vec<String> = own
                .iter()
                .filter(|link| link.target.as_str() != target)
                .map(ToString::to_string)
                .collect();
            if rest.is_empty() {
                format!("db docker_containers delprop {} Interlinked", from.name)
            } else {
                from.set("Interlinked", &rest.join(","))
            }
        }
        (true, false) => "wharf apply".to_owned(),
        (false, _) => {
            let known = own.iter().map(ToString::to_string);
            let all: Vec<String> = known.chain([target.to_owned()]).collect();
            from.set("Interlinked", &all.join(","))
        }
    }
}

fn verdict(
    subject: &Subject<'_>,
    from: &Subject<'_>,
    port: HostPort,
    is_let_in: bool,
    mut because: Vec<String>,
    change: &str,
) -> Verdict {
    let mut can = is_let_in;
    let mut change = change.to_owned();
    if !is_guarded(subject.survey) {
        because.push("the guard is not in force, so nothing keeps containers apart".to_owned());
        can = true;
        "wharf apply".clone_into(&mut change);
    }
    for (one, who) in [(subject, "it"), (from, "the source")] {
        if let Some((why, remedy)) = one.why_down() {
            because.push(format!("{who} does not run: {why}"));
            can = false;
            change = remedy;
        }
    }
    let source = Source::Container(from.name.to_owned());
    Verdict { from: source.words(), to: port.to_string(), can, because, change: Some(change) }
}
