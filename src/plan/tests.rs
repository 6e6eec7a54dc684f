// The rules of the order, each on records as an admin writes them; the whole loop over many hosts is
// in `reconcile/tests.rs`.

mod leftovers;
mod order;
pub(super) mod seen;
mod teardown;
mod told;
mod unguarded;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use crate::apply::apply;
use crate::db::Records;
use crate::db::schema::Schema;
use crate::db::value::ContainerName;
use crate::desired::{self, Overrides, Resolution, Snapshot};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::plan::{Given, Plan, Step, data, plan};
use crate::settings::{Profile, Root};
use crate::state::exposure::HostPort;
use crate::state::trouble::{Past, Trouble};
use crate::state::{Facts, Observed, ObservedNetwork, PacketFilter, Query};
use crate::template::{self, Readers, Roots, View};

const READERS: Readers =
    Readers { web_server: true, suse_firewall: false, filter: PacketFilter::Nftables };

pub(super) const MYSQL: &str =
    "mysql=service|Address|10.0.3.2|Image|db|TCPPort|3306|status|enabled\n";
const BLOG: &str = "blog=service|Address|10.0.3.3|Image|web|Interlinked|mysql:db|PortMapping|custom|PortMappingPorts|8080:80|TCPPort|80|status|enabled\n";

pub(super) fn resolve(records: &str, facts: &Facts) -> Resolution {
    let snapshot =
        Snapshot { containers: Records::parse(records.as_bytes()), ..Snapshot::default() };
    let schema = Schema::new(None);
    desired::resolve(&snapshot, &schema, &Root::new("/"), facts, &Overrides::new())
}

fn planned(records: &str, host: &FakeHost) -> Plan {
    planned_giving_up(records, host, &[])
}

/// As a pass does: what would be removed is looked into.
fn planned_giving_up(records: &str, host: &FakeHost, given_up: &[&str]) -> Plan {
    let observed = host.state();
    let resolution = resolve(records, &observed.facts);
    assert!(resolution.rejected.is_empty(), "{:#?}", resolution.rejected);
    let view = View::of(&resolution.desired).into_context();
    let root = Root::new("/");
    let files: Vec<_> = template::targets(&resolution.desired, READERS, Profile::Generic, &root)
        .iter()
        .map(|target| template::render(target, &Roots::default(), &view).unwrap())
        .collect();
    let names: Vec<_> = resolution.desired.containers.keys().cloned().collect();
    let given = Given {
        desired: &resolution.desired,
        files: &files,
        observed: &observed,
        applied: &host.recall(&names),
        restart: &BTreeSet::new(),
        layers: &BTreeMap::new(),
        given_up: &given_up.iter().map(|name| name_of(name)).collect(),
        past: &Past {
            troubles: host.troubles(),
            autopsies: BTreeMap::new(),
            now: jiff::Timestamp::from_second(1_000_000).unwrap(),
        },
        is_unguarded: false,
    };
    let wanted = data::to_look_at(&plan(&given), &given);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let layers = runtime.block_on(host.layers(&wanted)).unwrap();
    plan(&Given { layers: &layers, ..given })
}

pub(super) fn name_of(name: &str) -> ContainerName {
    crate::db::value::container_name(name).unwrap()
}

/// A host that has been brought to `records`, and the plan for it, which is empty.
pub(super) fn brought_to(records: &str) -> FakeHost {
    let host =
        FakeHost::new(Observed { facts: Facts::of_lan("10.77.0.0/24"), ..Observed::default() });
    bring(records, &host);
    host
}

fn bring(records: &str, host: &FakeHost) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        let plan = planned(records, host);
        let outcome = runtime.block_on(apply(&plan, host, 4, &AtomicBool::new(false)));
        assert!(outcome.failed.is_empty() && outcome.blocked.is_empty(), "{outcome:?}");
    }
    assert!(planned(records, host).is_empty(), "{}", planned(records, host));
}

#[test]
fn a_new_host_gets_guard_and_bridge_before_containers_and_the_linked_one_first() {
    let host = FakeHost::default();
    insta::assert_snapshot!(planned(&format!("{MYSQL}{BLOG}"), &host), @r"
    write /etc/wharf/guard.nft: is not there
    load guard from /etc/wharf/guard.nft: is not there
    set net.ipv4.ip_forward = 1: IP forwarding is off, and containers are on a bridge
    create bridge wharf0 10.0.3.0/24: is not there
    set net.bridge.bridge-nf-call-iptables = 1: packets between containers do not pass the guard
    get image db: 'mysql' needs it
    create container mysql from db: record is enabled and has no container
    start container mysql: record is enabled and has no container
    wait until mysql serves: 'blog' needs it
    get image web: 'blog' needs it
    create container blog from web: record is enabled and has no container
    start container blog: record is enabled and has no container
    ");
}

#[test]
fn a_changed_limit_touches_one_container_and_names_the_property() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    let more = MYSQL.replace("status|", "MaxMemory|64|status|");
    insta::assert_snapshot!(planned(&format!("{more}{BLOG}"), &host), @r"
    replace container mysql: MaxMemory (none) -> 64m
      cost: mysql is down for at most 10 s and its start; blog links to it
    ");
}

#[test]
fn the_grace_that_counts_is_that_of_the_container_which_runs() {
    let patient = MYSQL.replace("status|", "StopGrace|120|status|");
    let host = brought_to(&format!("{patient}{BLOG}"));
    insta::assert_snapshot!(planned(&format!("{MYSQL}{BLOG}"), &host), @r"
    replace container mysql: StopGrace 120 -> (none)
      cost: mysql is down for at most 120 s and its start; blog links to it
    ");
}

#[test]
fn what_stays_down_or_goes_is_told_so() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    let disabled = BLOG.replace("status|enabled", "status|disabled");
    let plan = planned(&format!("{MYSQL}{disabled}"), &host).to_string();
    assert!(plan.contains("  cost: blog is down from then on\n"), "{plan}");
    let plan = planned(MYSQL, &host).to_string();
    assert!(plan.contains("  cost: blog is gone\n"), "{plan}");
    let created = planned(&format!("{MYSQL}{BLOG}"), &FakeHost::default()).to_string();
    assert!(!created.contains("cost"), "{created}");
}

#[test]
fn a_change_that_would_lose_undeclared_data_is_held_until_it_is_given_up_or_mounted() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    host.write_undeclared(&name_of("mysql"), &["/srv", "/srv/db", "/srv/db/table", "/tmp/x"]);
    let more = format!("{}{BLOG}", MYSQL.replace("status|", "MaxMemory|64|status|"));
    insta::assert_snapshot!(planned(&more, &host), @"hold mysql: it holds data in no declared mount, which would be lost: /srv/db/table; to keep it, copy it and declare the copy as a mount: docker cp mysql:/srv/db/. DIRECTORY, MountPath DIRECTORY:/srv/db; to give it up: wharf apply --accept-data-loss mysql");
    insta::assert_snapshot!(planned_giving_up(&more, &host, &["mysql"]), @r"
    replace container mysql: MaxMemory (none) -> 64m
      cost: mysql is down for at most 10 s and its start; blog links to it; lost: /srv/db/table
    ");
    let other = planned_giving_up(&more, &host, &["blog"]).to_string();
    assert!(other.starts_with("hold mysql"), "{other}");

    host.write_undeclared(&name_of("mysql"), &["/run", "/run/pid", "/var/log/x"]);
    let noise = planned(&more, &host).to_string();
    assert!(noise.starts_with("replace container mysql"), "{noise}");
}

#[test]
fn a_held_container_that_ended_is_started_as_it_was() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    host.write_undeclared(&name_of("mysql"), &["/srv/db"]);
    host.end(&name_of("mysql"));
    let more = format!("{}{BLOG}", MYSQL.replace("status|", "MaxMemory|64|status|"));
    let plan = planned(&more, &host).to_string();
    assert!(plan.starts_with("start container mysql"), "{plan}");
    assert!(plan.contains("hold mysql: it holds data"), "{plan}");
}

#[test]
fn a_deleted_record_leaves_undeclared_data_in_a_stopped_container() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    host.write_undeclared(&name_of("blog"), &["/srv/upload"]);
    let plan = planned(MYSQL, &host).to_string();
    let stop = "stop container blog: there is no such record any more\n  cost: blog is down from then on\n";
    assert!(plan.contains(stop), "{plan}");
    assert!(plan.contains("hold blog: its record is deleted; it is stopped and kept"), "{plan}");
    let given_up = planned_giving_up(MYSQL, &host, &["blog"]).to_string();
    assert!(given_up.contains("remove container blog: there is no such record"), "{given_up}");
    assert!(given_up.contains("cost: blog is gone; lost: /srv/upload"), "{given_up}");

    bring(MYSQL, &host);
    let plan = planned(MYSQL, &host);
    assert!(plan.is_empty() && plan.held.contains_key(&name_of("blog")), "{plan}");
}

#[test]
fn the_bridge_is_not_made_anew_over_undeclared_data() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    let mut observed = host.state();
    observed.network = ObservedNetwork::Differs {
        id: "old".to_owned(),
        how: "its subnet is 10.0.9.0/24".to_owned(),
        ours: true,
    };
    let host = FakeHost::new(observed);
    host.write_undeclared(&name_of("mysql"), &["/srv/db"]);
    let records = format!("{MYSQL}{BLOG}");

    let plan = planned(&records, &host);
    assert!(plan.steps.iter().all(|step| step.step.kind() != "remove-network"), "{plan}");
    let plan = planned_giving_up(&records, &host, &["mysql"]).to_string();
    assert!(plan.contains("remove network old"), "{plan}");
}

#[test]
fn a_replacement_that_failed_is_held_until_the_record_or_the_image_changes() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    host.break_container(&name_of("mysql"));
    let more = format!("{}{BLOG}", MYSQL.replace("status|", "MaxMemory|64|status|"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome =
        runtime.block_on(apply(&planned(&more, &host), &host, 4, &AtomicBool::new(false)));
    assert_eq!(outcome.failed.len(), 1);
    host.never_fail();

    insta::assert_snapshot!(planned(&more, &host), @"hold mysql: its replacement failed at 1970-01-01 00:00:00 UTC: it does not serve; the old container was put back; to try again: wharf retry mysql");
    let other = format!("{}{BLOG}", MYSQL.replace("status|", "MaxMemory|96|status|"));
    assert!(planned(&other, &host).to_string().starts_with("replace container mysql"));
    host.move_image("db");
    assert!(planned(&more, &host).to_string().starts_with("replace container mysql"));
}

#[test]
fn a_container_that_ends_again_waits_and_holds_back_what_links_to_it() {
    let records = format!("{MYSQL}{BLOG}");
    let host = brought_to(&records);
    let hash = host.state().containers[&name_of("mysql")].hash.clone();
    let now = jiff::Timestamp::from_second(1_000_000).unwrap();
    host.end(&name_of("mysql"));
    host.end(&name_of("blog"));
    let restarted =
        |count| (0..count).fold(Trouble::default(), |it, _| it.restarted(&hash, now, false));

    let first = planned(&records, &host).to_string();
    assert!(first.starts_with("start container mysql: should run, is: "), "{first}");
    host.keep_trouble(&name_of("mysql"), &restarted(4)).unwrap();
    let plan = planned(&records, &host);
    assert!(plan.is_empty(), "{plan}");
    assert!(plan.held[&name_of("mysql")].contains("again at 1970-01-12 13:46:48 UTC"), "{plan}");
    assert!(plan.held[&name_of("blog")].contains("links to 'mysql', which does not run"), "{plan}");
    assert_eq!(plan.troubled[&name_of("mysql")].unwrap().as_second(), 1_000_008);
    host.keep_trouble(&name_of("mysql"), &restarted(16)).unwrap();
    let plan = planned(&records, &host);
    assert!(plan.held[&name_of("mysql")].contains("16 restarts"), "{plan}");
    assert_eq!(plan.troubled[&name_of("mysql")], None);
}

#[test]
fn a_changed_secret_is_named_and_not_shown() {
    let old = MYSQL.replace("status|", "Command|run geheim1|Env_ROOT_PW|geheim2|status|");
    let host = brought_to(&old);
    let new = MYSQL.replace("status|", "Command|run geheim3|Env_ROOT_PW|geheim4|Env_TZ|x|status|");
    insta::assert_snapshot!(planned(&new, &host), @r"
    replace container mysql: Env_ROOT_PW *** -> ***, Env_TZ (none) -> ***, Command *** -> ***
      cost: mysql is down for at most 10 s and its start
    ");
}

#[test]
fn a_change_of_access_touches_no_container() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    let public = BLOG.replace("status|", "access|public|status|");
    insta::assert_snapshot!(planned(&format!("{MYSQL}{public}"), &host), @r"
    write /etc/wharf/guard.nft: records or template have changed
    load guard from /etc/wharf/guard.nft: records or template have changed
    ");
}

#[test]
fn a_disabled_record_stops_and_a_deleted_one_removes() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    let disabled = BLOG.replace("status|enabled", "status|disabled");
    let plan = planned(&format!("{MYSQL}{disabled}"), &host).to_string();
    assert!(plan.contains("stop container blog: status is not enabled"), "{plan}");
    let plan = planned(MYSQL, &host).to_string();
    assert!(plan.contains("remove container blog: there is no such record any more"), "{plan}");
}

#[test]
fn rules_that_podman_has_lost_are_written_again_for_what_runs_on() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    host.lose_rules(false);
    assert_eq!(planned(&format!("{MYSQL}{BLOG}"), &host).to_string(), "", "Docker's is told only");
    host.lose_rules(true);
    insta::assert_snapshot!(planned(&format!("{MYSQL}{BLOG}"), &host), @"have podman write its rules again for blog mysql: the engine's rules for the bridge are gone (iptables nat)");
    let more = MYSQL.replace("status|", "MaxMemory|64|status|");
    let plan = planned(&format!("{more}{BLOG}"), &host).to_string();
    assert!(plan.contains("again for blog:"), "what is made anew has them by that: {plan}");
}

#[test]
fn a_port_is_freed_before_it_is_taken() {
    let old = "aaa=service|Address|10.0.3.2|Image|web|TCPPort|80|status|enabled\n";
    let new = "bbb=service|Address|10.0.3.3|Image|web|TCPPort|80|status|enabled\n";
    let host = brought_to(old);
    let plan =
        planned(&format!("{}{new}", old.replace("status|enabled", "status|disabled")), &host);
    let at =
        |wanted: &str| plan.steps.iter().position(|step| step.step.to_string() == wanted).unwrap();
    let (stop, start) = (at("stop container aaa"), at("start container bbb"));
    assert!(plan.steps[start].needs.contains(&stop), "{plan}");
}

#[test]
fn every_start_waits_for_the_guard() {
    let plan = planned(&format!("{MYSQL}{BLOG}"), &FakeHost::default());
    assert!(!plan.is_empty());
    let guard = plan.steps.iter().position(|s| matches!(s.step, Step::LoadGuard { .. })).unwrap();
    let starts: Vec<_> =
        plan.steps.iter().filter(|s| matches!(s.step, Step::StartContainer(_))).collect();
    assert_eq!(starts.len(), 2);
    assert!(starts.iter().all(|start| start.needs.contains(&guard)));
}

#[test]
fn a_port_that_no_record_opens_stays_closed_until_its_container_is_gone() {
    let public = BLOG.replace("status|", "access|public|status|");
    let host = brought_to(&format!("{MYSQL}{public}"));
    let facts = host.state().facts;
    let guard = resolve(MYSQL, &facts).desired.guard;
    assert!(guard.public.is_empty());
    assert!(guard.private.iter().any(|port| port.port.get() == 8080), "{guard:#?}");
}

#[test]
fn a_port_that_changes_hands_is_opened_to_the_internet_when_it_has() {
    let old = "aaa=service|Address|10.0.3.2|Image|db|TCPPort|80|status|enabled\n";
    let new = "bbb=service|Address|10.0.3.3|Image|web|TCPPort|80|access|public|status|enabled\n";
    let records = format!("{}{new}", old.replace("|80|", "|81|"));
    let host = brought_to(old);
    let opened = |host: &FakeHost| {
        let guard = resolve(&records, &host.state().facts).desired.guard;
        let numbers = |ports: BTreeSet<HostPort>| -> Vec<u16> {
            ports.iter().map(|port| port.port.get()).collect()
        };
        (numbers(guard.public), numbers(guard.private))
    };
    assert_eq!(opened(&host), (vec![], vec![80, 81]), "the private one still answers on it");
    bring(&records, &host);
    assert_eq!(opened(&host), (vec![80], vec![81]));
}

#[test]
fn a_container_that_cannot_start_holds_back_only_what_links_to_it() {
    let other = "other=service|Address|10.0.3.4|Image|web|status|enabled\n";
    let host = FakeHost::default();
    let mysql = crate::db::value::container_name("mysql").unwrap();
    host.break_container(&mysql);
    let plan = planned(&format!("{MYSQL}{BLOG}{other}"), &host);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(apply(&plan, &host, 4, &AtomicBool::new(false)));
    let text = |id: &usize| plan.steps[*id].step.to_string();
    assert_eq!(
        outcome.failed.iter().map(|(id, _)| text(id)).collect::<Vec<_>>(),
        ["start container mysql"]
    );
    assert_eq!(
        outcome.blocked.iter().map(text).collect::<Vec<_>>(),
        ["wait until mysql serves", "start container blog"]
    );
    let up: BTreeMap<_, _> = host
        .state()
        .containers
        .into_iter()
        .map(|(n, c)| (n.to_string(), c.state.is_up()))
        .collect();
    assert_eq!(
        up,
        [("blog", false), ("mysql", false), ("other", true)].map(|(n, s)| (n.to_owned(), s)).into()
    );
}

#[test]
fn the_fake_looks_like_a_host() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let observed = runtime.block_on(FakeHost::default().observe(&Query::default())).unwrap();
    assert_eq!(observed, Observed::default());
}

#[test]
fn a_subnet_that_collides_is_not_guarded_because_it_is_somebody_elses() {
    let mut facts = Facts::of_lan("10.0.3.0/24");
    assert_eq!(resolve(MYSQL, &facts).desired.guard.subnet, "10.0.3.0/24");

    facts.routes = [("10.0.3.0/24".parse().unwrap(), "lan0".to_owned())].into();
    let resolution = resolve(MYSQL, &facts);

    assert_eq!(resolution.desired.guard.subnet, "");
    assert_eq!(resolution.desired.bridge, None);
    assert!(resolution.rejected.iter().any(|it| it.property.as_deref() == Some("Subnet")));
}

#[test]
fn a_held_container_keeps_the_bridge_and_the_others_with_it() {
    let host = brought_to(&format!("{MYSQL}{BLOG}"));
    let mut observed = host.state();
    observed.network = ObservedNetwork::Differs {
        id: "old".to_owned(),
        how: "its subnet is 10.0.9.0/24".to_owned(),
        ours: true,
    };
    let host = FakeHost::new(observed);
    let anew = planned(&format!("{MYSQL}{BLOG}"), &host).to_string();
    assert!(anew.contains("remove container blog: the bridge must be made anew"), "{anew}");

    let held = MYSQL.replace("status|", "Hold|yes|status|");
    let plan = planned(&format!("{held}{BLOG}"), &host);

    assert!(plan.steps.iter().all(|step| step.step.kind() != "remove-container"), "{plan}");
    assert!(plan.steps.iter().all(|step| step.step.kind() != "remove-network"), "{plan}");
}

#[test]
fn what_a_broken_replacement_has_left_is_gone_before_the_next_one_takes_its_name() {
    let host = brought_to(MYSQL);
    host.leave_behind(&"mysql".parse().unwrap(), crate::state::Role::Next);
    let more = MYSQL.replace("status|", "MaxMemory|64|status|");
    let plan = planned(&more, &host);
    let kinds: Vec<_> = plan.steps.iter().map(|planned| planned.step.kind()).collect();
    assert_eq!(kinds, ["remove-leftover", "replace-container"], "{plan}");
    assert!(plan.steps[1].needs.contains(&0), "{:?}", plan.steps[1].needs);
}

#[test]
fn a_part_of_a_plan_has_what_it_needs_and_nothing_of_others() {
    let other = "other=service|Address|10.0.3.4|Image|third|status|enabled\n";
    let plan = planned(&format!("{MYSQL}{BLOG}{other}"), &FakeHost::default());
    let part = plan.select(&[name_of("blog")].into());
    insta::assert_snapshot!(part, @r"
    write /etc/wharf/guard.nft: is not there
    load guard from /etc/wharf/guard.nft: is not there
    set net.ipv4.ip_forward = 1: IP forwarding is off, and containers are on a bridge
    create bridge wharf0 10.0.3.0/24: is not there
    set net.bridge.bridge-nf-call-iptables = 1: packets between containers do not pass the guard
    get image db: 'mysql' needs it
    create container mysql from db: record is enabled and has no container
    start container mysql: record is enabled and has no container
    wait until mysql serves: 'blog' needs it
    get image web: 'blog' needs it
    create container blog from web: record is enabled and has no container
    start container blog: record is enabled and has no container
    ");
    assert!(
        part.steps.iter().enumerate().all(|(id, step)| step.needs.iter().all(|need| *need < id))
    );
}

#[test]
fn a_part_that_takes_a_port_from_another_record_has_all_of_that_record() {
    let old = "aaa=service|Address|10.0.3.2|Image|web|TCPPort|80|status|enabled\n";
    let host = brought_to(old);
    let records = "aaa=service|Address|10.0.3.2|Image|web|TCPPort|81|status|enabled\n\
                   bbb=service|Address|10.0.3.3|Image|web|TCPPort|80|status|enabled\n";
    let part = planned(records, &host).select(&[name_of("bbb")].into()).to_string();
    assert!(
        part.contains("replace container aaa") && part.contains("start container bbb"),
        "{part}"
    );
    let part = planned(records, &host).select(&[name_of("aaa")].into()).to_string();
    assert!(part.contains("replace container aaa") && !part.contains("bbb"), "{part}");
}

#[test]
fn of_a_broken_replacement_whose_record_changed_again_the_one_that_has_run_stays() {
    let name = "mysql".parse().unwrap();
    let more = MYSQL.replace("status|", "MaxMemory|64|status|");
    let host = brought_to(MYSQL);
    host.leave_behind(&name, crate::state::Role::Previous);
    let kinds =
        |plan: &Plan| -> Vec<&str> { plan.steps.iter().map(|step| step.step.kind()).collect() };
    assert_eq!(kinds(&planned(&more, &host)), ["remove-leftover", "replace-container"]);
    assert!(planned(&more, &host).steps[1].needs.contains(&0));

    host.set_state(&name, crate::state::Running::Created);
    let plan = planned(&more, &host);
    assert_eq!(kinds(&plan), ["remove-leftover", "restore-name"]);
    assert!(plan.steps[1].needs.contains(&0));

    let plan = planned(MYSQL, &host);
    assert_eq!(kinds(&plan), ["finish-replacement"]);
}
