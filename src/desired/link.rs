// SPDX-License-Identifier: GPL-2.0-or-later

//! Links between records: their targets must exist, run and be reachable, and no chain of them may
//! come back to where it began, because each container waits for those it links to.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::value::ContainerName;
use crate::desired::container::Draft;
use crate::state::container::{Attachment, Wanted};

type Drafts = BTreeMap<ContainerName, Draft>;

/// Rejects records whose links cannot hold.
pub fn check(drafts: &mut Drafts) {
    let faults: Vec<_> = drafts
        .values()
        .flat_map(|draft| {
            draft.links.iter().filter_map(|link| {
                let (wrong, remedy) = fault(draft, &link.target, drafts)?;
                Some((draft.name.clone(), link.target.clone(), wrong, remedy))
            })
        })
        .collect();
    for (name, target, wrong, remedy) in faults {
        if let Some(draft) = drafts.get_mut(&name) {
            draft.reject("Interlinked", Some(target.to_string()), wrong, Some(remedy));
        }
    }
    for cycle in cycles(drafts) {
        let path: Vec<&str> =
            cycle.iter().chain(cycle.first()).map(ContainerName::as_str).collect();
        let path = path.join(" -> ");
        for name in &cycle {
            if let Some(draft) = drafts.get_mut(name) {
                let wrong =
                    format!("these links go round in a circle: {path}; none could start first");
                let remedy = format!("db docker_containers delprop {name} Interlinked");
                draft.reject("Interlinked", None, wrong, Some(remedy));
            }
        }
    }
}

/// What is wrong with the link from `draft` to `target`, and what would mend it.
fn fault(draft: &Draft, target: &ContainerName, drafts: &Drafts) -> Option<(String, String)> {
    if *target == draft.name {
        return Some((
            "a container cannot be linked to itself".to_owned(),
            format!("db docker_containers delprop {target} Interlinked"),
        ));
    }
    let Some(found) = drafts.get(target) else {
        return Some((
            format!("there is no record '{target}' in docker_containers"),
            format!("db docker_containers set {target} service status enabled Image IMAGE"),
        ));
    };
    if !found.bridged {
        return Some((
            format!("'{target}' is in the host's network, where no link can lead"),
            format!("db docker_containers setprop {target} network bridge"),
        ));
    }
    match (draft.wanted.is_up(), found.wanted) {
        (true, Wanted::Stopped) => Some((
            format!("record '{target}' is disabled"),
            format!("db docker_containers setprop {target} status enabled"),
        )),
        (
            true,
            Wanted::Running
            | Wanted::StartedByHand
            | Wanted::StoppedByHand
            | Wanted::StartedByEvent
            | Wanted::StoppedByEvent
            | Wanted::StoppedByClock,
        )
        | (false, _) => None,
    }
}

/// The circles among the links, each beginning with its first name in byte order.
fn cycles(drafts: &Drafts) -> Vec<Vec<ContainerName>> {
    let mut found: Vec<Vec<ContainerName>> = Vec::new();
    let mut done: BTreeMap<&ContainerName, bool> = BTreeMap::new();
    for start in drafts.keys() {
        let mut path: Vec<&ContainerName> = Vec::new();
        // Depth first without recursion: the targets still to be tried, with the depth of their
        // source; a chain of links may be as long as there are records.
        let mut todo: Vec<(usize, &ContainerName)> = vec![(0, start)];
        while let Some((depth, name)) = todo.pop() {
            for left in path.drain(depth..) {
                done.insert(left, true);
            }
            if done.get(name).copied().unwrap_or(false) {
                continue;
            }
            if let Some(at) = path.iter().position(|seen| *seen == name) {
                let mut circle: Vec<ContainerName> =
                    path[at..].iter().map(|n| (*n).clone()).collect();
                if circle.len() > 1 {
                    rotate_to_least(&mut circle);
                    if !found.contains(&circle) {
                        found.push(circle);
                    }
                }
                continue;
            }
            path.push(name);
            let links = drafts.get(name).map(|draft| draft.links.as_slice()).unwrap_or_default();
            todo.extend(
                links
                    .iter()
                    .filter_map(|link| drafts.get_key_value(&link.target))
                    .map(|(target, _)| (path.len(), target)),
            );
        }
        for left in path {
            done.insert(left, true);
        }
    }
    found
}

fn rotate_to_least(circle: &mut [ContainerName]) {
    let least = circle
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| a.cmp(b))
        .map(|(at, _)| at)
        .unwrap_or_default();
    circle.rotate_left(least);
}

/// Tells each container its links as names with addresses. In the host's network the engine's own names do not
/// exist, and Podman's name server knows no name that one container alone has for another.
pub fn name_by_address(drafts: &mut Drafts) {
    let addresses: BTreeMap<ContainerName, _> =
        drafts.iter().filter_map(|(name, draft)| Some((name.clone(), draft.address?))).collect();
    for draft in drafts.values_mut() {
        let mut found = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for link in &draft.links {
            match addresses.get(&link.target) {
                Some(address) => drop(found.insert(link.alias.clone(), *address)),
                None => drop(missing.insert(link.target.to_string())),
            }
        }
        match draft.spec.as_mut().map(|spec| &mut spec.attachment) {
            Some(Attachment::Bridge { names, .. } | Attachment::Host { names }) => *names = found,
            None => {}
        }
        // Without the name it would be made anew, and could not find what it is linked to.
        let known = !draft.faults.is_empty();
        for target in missing.into_iter().filter(|_| !known) {
            let wrong = format!("'{target}' has no address; see record '{target}'");
            draft.reject("Interlinked", Some(target), wrong, None);
        }
    }
}
