// What is taken off the host, and what is not ours to take.

use super::seen::{Seen, steps};
use super::{BLOG, MYSQL};
use crate::plan::{Plan, teardown};
use crate::state::{Foreign, ForwardingBy, ObservedFile, ObservedGuard, ObservedNetwork, Role};

/// The teardown after `change` of a host that has something of everything.
fn torn_down(change: impl FnOnce(&mut Seen)) -> Plan {
    let mut seen = Seen::as_of(&format!("{MYSQL}{BLOG}"));
    seen.leave("mysql", Role::Previous);
    seen.observed.guard = ObservedGuard::Altered;
    seen.observed.facts.forwarding_by = ForwardingBy::Us;
    let ours = ObservedFile { hash: "a".to_owned(), written: Some("a".to_owned()) };
    let changed = ObservedFile { hash: "b".to_owned(), written: Some("a".to_owned()) };
    seen.observed.files = [("/etc/ours".into(), ours), ("/etc/theirs".into(), changed)].into();
    change(&mut seen);
    teardown(&seen.observed, seen.desired.bridge.as_ref())
}

fn texts(change: impl FnOnce(&mut Seen)) -> Vec<String> {
    torn_down(change).steps.iter().map(|step| step.step.to_string()).collect()
}

fn forwarding(change: impl FnOnce(&mut Seen)) -> Option<String> {
    texts(change).into_iter().find(|step| step.contains("ip_forward"))
}

#[test]
fn the_network_goes_after_the_containers_and_the_rest_after_the_network() {
    assert_eq!(
        steps(&torn_down(|_| ())),
        [
            "0 remove leftover mysql.prev {}",
            "1 remove container blog {}",
            "2 remove container mysql {}",
            "3 remove network wharf0 {0, 1, 2}",
            "4 set net.ipv4.ip_forward = 0 {3}",
            "5 remove the guard table {3}",
            "6 remove /etc/ours {3}",
        ]
    );
}

#[test]
fn what_is_not_there_is_not_taken() {
    let bare = torn_down(|seen| {
        seen.observed.network = ObservedNetwork::Absent;
        seen.observed.guard = ObservedGuard::Absent;
        seen.observed.forwarding = false;
    });
    assert_eq!(
        steps(&bare),
        [
            "0 remove leftover mysql.prev {}",
            "1 remove container blog {}",
            "2 remove container mysql {}",
            "3 remove /etc/ours {0, 1, 2}",
        ]
    );
}

#[test]
fn forwarding_goes_off_only_when_it_was_us_and_nobody_else_needs_it() {
    let off = "set net.ipv4.ip_forward = 0";
    assert_eq!(forwarding(|_| ()).as_deref(), Some(off));
    let by = |by: ForwardingBy| forwarding(|seen| seen.observed.facts.forwarding_by = by);
    assert_eq!(by(ForwardingBy::Others), None);
    let left = |who: &str| {
        Some(format!("leave net.ipv4.ip_forward = 1 for others, and what may pass with it: {who}"))
    };
    assert_eq!(
        by(ForwardingBy::NotKnown),
        left("whoever turned it on after this host was started")
    );
    let others = forwarding(|seen| {
        let foreign = |name: &str, status: &str| Foreign {
            name: name.to_owned(),
            image: "app".to_owned(),
            status: status.to_owned(),
            published: [].into(),
            networks: [].into(),
        };
        seen.observed.foreign = vec![foreign("one", "Up 2 minutes"), foreign("two", "Exited (0)")];
        seen.observed.facts.foreign_bridges = ["virbr0".to_owned()].into();
        seen.observed.facts.forwarders = vec!["the router".to_owned()];
    });
    assert_eq!(others, left("the router, the bridge virbr0, the container one"));
}
