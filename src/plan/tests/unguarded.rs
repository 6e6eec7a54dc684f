// What is done while the guard cannot be loaded.

use super::name_of;
use super::seen::Seen;
use crate::plan::Step;
use crate::state::exposure::HostPort;
use crate::state::{Guard, Running};

fn record(name: &str, more: &str) -> String {
    format!("{name}=service|access|private|{more}|Image|app|status|enabled\n")
}

fn on_bridge() -> String {
    record("app", "Address|10.0.3.2|TCPPort|80")
}

fn on_host() -> String {
    record("app", "network|host|TCPPort|80")
}

/// The steps, and why `app` is held, after `change`.
fn unguarded(
    before: &str,
    wanted: &str,
    change: impl FnOnce(&mut Seen),
) -> (Vec<String>, Option<String>) {
    let mut seen = Seen::new(before, wanted);
    seen.is_unguarded = true;
    change(&mut seen);
    let plan = seen.plan();
    let steps = plan.steps.iter().map(|one| format!("{}: {}", one.step, one.reason)).collect();
    (steps, plan.held.get(&name_of("app")).cloned())
}

/// The kernel keeps the private port.
fn kept(seen: &mut Seen) {
    let port = HostPort { protocol: crate::db::value::Protocol::Tcp, port: 80.try_into().unwrap() };
    seen.observed.in_force = Guard { private: [port].into(), ..Guard::default() };
}

const NOT_KEPT: &str = "the guard does not keep 80/tcp, and cannot be loaded";

#[test]
fn one_whose_ports_are_kept_stays_as_it_is() {
    for records in [on_bridge(), on_host()] {
        assert_eq!(unguarded(&records, &records, kept), (vec![], None));
        let more = records.replace("status|", "MaxMemory|64|status|");
        let why = "it stays as it is while the guard cannot be loaded".to_owned();
        assert_eq!(unguarded(&records, &more, kept), (vec![], Some(why)));
    }
}

#[test]
fn one_whose_ports_are_not_kept_is_made_anew_without_them() {
    let mut seen = Seen::as_of(&on_bridge());
    seen.is_unguarded = true;
    let plan = seen.plan();
    insta::assert_snapshot!(plan, @r"
    replace container app: the guard does not keep 80/tcp, and cannot be loaded
      cost: app is down for at most 10 s and its start
    hold app: its ports are closed while the guard cannot be loaded
    ");
    let Step::ReplaceContainer { old, old_is_up: true, new, proof: None } = &plan.steps[0].step
    else {
        panic!("{plan}")
    };
    assert_eq!(
        (old.as_str(), new.generation, new.network.as_deref()),
        ("app-id", 4, Some("wharf0"))
    );
    assert!(new.spec.published().is_empty() && new.spec.address().is_some());

    let (steps, why) = unguarded(&on_bridge(), &on_bridge(), |seen| {
        seen.write_undeclared("app", "/srv/data");
    });
    assert_eq!(steps, [format!("stop container app: {NOT_KEPT}")], "its data would be lost");
    assert!(why.is_some_and(|why| why.starts_with("its ports are closed")));
}

#[test]
fn one_in_the_network_of_the_host_is_stopped() {
    let (steps, why) = unguarded(&on_host(), &on_host(), |_| ());
    assert_eq!(steps, [format!("stop container app: {NOT_KEPT}")]);
    assert!(why.is_some_and(|why| why.starts_with("its ports are closed")));
}

#[test]
fn one_that_has_no_ports_any_more_says_so() {
    let closed = |seen: &mut Seen| seen.found("app").published.clear();
    let why = "its ports are closed while the guard cannot be loaded".to_owned();
    assert_eq!(unguarded(&on_bridge(), &on_bridge(), closed), (vec![], Some(why)));
    let silent = record("app", "Address|10.0.3.2");
    assert_eq!(unguarded(&silent, &silent, |_| ()), (vec![], None));
}

#[test]
fn nothing_is_started() {
    let why = Some("nothing is started while the guard cannot be loaded".to_owned());
    let ended = |seen: &mut Seen| seen.found("app").state = Running::Exited;
    assert_eq!(unguarded(&on_bridge(), &on_bridge(), ended), (vec![], why.clone()));
    assert_eq!(unguarded("", &on_bridge(), |_| ()), (vec![], why));
    let down = on_bridge().replace("status|enabled", "status|disabled");
    assert_eq!(unguarded("", &down, |_| ()), (vec![], None));
}

#[test]
fn what_should_not_run_goes_and_what_is_held_stays() {
    let down = on_bridge().replace("status|enabled", "status|disabled");
    let stop = vec!["stop container app: status is not enabled".to_owned()];
    assert_eq!(unguarded(&on_bridge(), &down, |_| ()), (stop, None));
    let ended = |seen: &mut Seen| seen.found("app").state = Running::Exited;
    assert_eq!(unguarded(&on_bridge(), &down, ended), (vec![], None));
    let remove = vec!["remove container app: there is no such record any more".to_owned()];
    assert_eq!(unguarded(&on_bridge(), "", |_| ()), (remove, None));

    let held = on_bridge().replace("status|", "Hold|yes|status|");
    assert_eq!(unguarded(&on_bridge(), &held, kept).0, [""; 0]);
    let stop = [format!("stop container app: {NOT_KEPT}")];
    assert_eq!(unguarded(&on_bridge(), &held, |_| ()).0, stop, "its spec is not known");
}

/// What it publishes, or where it is, is somebody else's by now.
#[test]
fn one_is_closed_also_where_another_one_keeps_what_it_would_get() {
    let db = |address: u8| record("db", &format!("Address|10.0.3.{address}|PortMapping|none"));
    let app = |address: u8| record("app", &format!("Address|10.0.3.{address}|TCPPort|80"));
    let (steps, _) = unguarded(&(app(3) + &db(2)), &(app(2) + &db(4)), |_| ());
    assert_eq!(steps, [format!("replace container app: {NOT_KEPT}")]);
}
