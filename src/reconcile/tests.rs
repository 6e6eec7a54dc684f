// The promise of the whole, over the fake host.

mod model;

use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;

use crate::db::schema::Schema;
use crate::db::value::Protocol;
use crate::db::{Audit, Change, DbName, Location};
use crate::host::fake::{Drift, FakeHost};
use crate::reconcile::{Context, Kept, Mode, Report, Wish, pass};
use crate::settings::{Profile, Root};
use crate::state::exposure::HostPort;
use crate::state::{Facts, Guard, Observed, ObservedGuard};
use crate::template::Roots;

struct Bench {
    cx: Context<FakeHost>,
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let observed = Observed { facts: Facts::of_lan("10.77.0.0/24"), ..Observed::default() };
        let cx = Context {
            root: Root::new("/nowhere"),
            profile: Profile::Generic,
            store: Location::Esmith(directory.path().to_owned()),
            kept: Kept::default(),
            audit: Audit { limit: 0, ..Audit::default() },
            schema: Schema::new(None),
            templates: Roots::default(),
            host: FakeHost::new(observed),
            overrides: directory.path().join("overrides.json"),
            parallel: 3,
            engine_wait: Duration::ZERO,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { cx, directory, runtime }
    }

    fn records(&self, text: &str) {
        let file = self.directory.path().join("docker_containers");
        crate::host::file::replace(&file, text.as_bytes(), 0o600).unwrap();
    }

    fn pass(&self, mode: Mode) -> Report {
        let stop = AtomicBool::new(false);
        self.runtime.block_on(pass(&self.cx, mode, &Wish::default(), &stop)).unwrap()
    }
}

/// Records of up to five containers: linked to earlier ones, some disabled, ports apart.
fn any_records() -> impl Strategy<Value = String> {
    let one = (any::<bool>(), 0_usize..5, prop::option::of(64_u32..70), 0_usize..3, any::<bool>());
    prop::collection::vec(one, 0..5).prop_map(|all| {
        let mut text = String::new();
        for (n, (enabled, link, memory, access, mapped)) in all.iter().enumerate() {
            // Only an enabled one can be linked to by an enabled one.
            let linked = *link < n && all[*link].0;
            let mut properties = vec![
                format!("access|{}", ["public", "private", "localhost"][*access]),
                "Image|app".to_owned(),
                format!("status|{}", if *enabled { "enabled" } else { "disabled" }),
                "TCPPort|80".to_owned(),
            ];
            if *mapped {
                properties.push(format!("PortMapping|custom|PortMappingPorts|{}:80", 8000 + n));
            } else {
                properties.push("PortMapping|none".to_owned());
            }
            properties.extend(memory.map(|memory| format!("MaxMemory|{memory}")));
            properties.extend(linked.then(|| format!("Interlinked|c{link}:db")));
            writeln!(text, "c{n}=service|{}", properties.join("|")).unwrap();
        }
        text
    })
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Records(String),
    Drift(Drift, usize),
    /// A pass, cut after so many effects.
    Cut(usize),
    Pass,
}

fn any_event() -> impl Strategy<Value = Event> {
    let drift = prop::sample::select(vec![
        Drift::Stopped,
        Drift::Removed,
        Drift::ImageMoved,
        Drift::Guard,
        Drift::Forwarding,
        Drift::BridgeFilter,
        Drift::Files,
    ]);
    prop_oneof![
        3 => any_records().prop_map(Event::Records),
        2 => (drift, 0_usize..5).prop_map(|(drift, number)| Event::Drift(drift, number)),
        4 => (0_usize..30).prop_map(Event::Cut),
        1 => Just(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens, and however often a pass is cut in it: one more pass arrives, and the one after
    /// it has nothing to do. What is read of the machine in the middle is never two of one.
    #[test]
    fn whatever_happened_one_pass_arrives(events in prop::collection::vec(any_event(), 1..12)) {
        let bench = Bench::new();
        bench.records("");
        for event in events {
            match event {
                Event::Records(records) => bench.records(&records),
                Event::Drift(drift, number) => {
                    // One that ends twice would wait before it is started again: not what is asked here.
                    bench.cx.host.forget_troubles();
                    bench.cx.host.drift(drift, number);
                }
                Event::Cut(effects) => {
                    bench.cx.host.fail_after(effects);
                    let _cut = bench.pass(Mode::Apply);
                    bench.cx.host.never_fail();
                }
                Event::Pass => {
                    let report = bench.pass(Mode::Apply);
                    prop_assert!(report.is_as_desired(), "{report:#?}");
                }
            }
        }
        let report = bench.pass(Mode::Apply);
        prop_assert!(report.is_as_desired(), "{report:#?}");
        prop_assert!(bench.cx.host.state().leftovers.is_empty());
        bench.cx.host.take_performed();
        let report = bench.pass(Mode::Apply);
        prop_assert!(report.plan.is_empty(), "{report:#?}");
        prop_assert_eq!(bench.cx.host.take_performed(), Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// From any records, to any others, after a cut at any step, one more pass arrives, and the one
    /// after it has nothing to do.
    #[test]
    fn a_pass_after_a_cut_arrives(before in any_records(), after in any_records(), cut in 0_usize..14) {
        let bench = Bench::new();
        bench.records(&before);
        let report = bench.pass(Mode::Apply);
        prop_assert!(report.is_as_desired(), "{report:#?}");

        bench.records(&after);
        bench.cx.host.fail_after(cut);
        let _interrupted = bench.pass(Mode::Apply);
        bench.cx.host.never_fail();

        let report = bench.pass(Mode::Apply);
        prop_assert!(report.is_as_desired(), "{report:#?}");
        bench.cx.host.take_performed();
        let report = bench.pass(Mode::Apply);
        prop_assert!(report.plan.is_empty(), "{report:#?}");
        prop_assert_eq!(bench.cx.host.take_performed(), Vec::<String>::new());
    }
}

/// Five containers in a row of links, with these addresses and ports.
fn placed(addresses: &[u8], ports: &[u16], linked: &[bool]) -> String {
    let all = addresses.iter().zip(ports).zip(linked).enumerate();
    all.fold(String::new(), |mut text, (n, ((address, port), linked))| {
        let links = if *linked && n > 0 { format!("Interlinked|c{}:db|", n - 1) } else { String::new() };
        writeln!(
            text,
            "c{n}=service|Address|10.0.3.{address}|Image|app|{links}PortMapping|custom|PortMappingPorts|{port}:80|status|enabled|TCPPort|80"
        )
        .unwrap();
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Addresses and ports that records change with each other, in any circles and along links, are given
    /// up before they are taken (the fake host asserts it), in one pass.
    #[test]
    fn what_records_change_with_each_other_is_given_up_before_it_is_taken(
        addresses in Just((2_u8..7).collect::<Vec<_>>()).prop_shuffle(),
        ports in Just((8000_u16..8005).collect::<Vec<_>>()).prop_shuffle(),
        linked in prop::collection::vec(any::<bool>(), 5),
    ) {
        let bench = Bench::new();
        bench.records(&placed(&[2, 3, 4, 5, 6], &[8000, 8001, 8002, 8003, 8004], &linked));
        prop_assert!(bench.pass(Mode::Apply).is_as_desired());
        bench.records(&placed(&addresses, &ports, &linked));
        let report = bench.pass(Mode::Apply);
        prop_assert!(report.is_as_desired() && report.failed.is_empty(), "{report:#?}");
        for line in &report.plan {
            prop_assert!(line.needs.iter().all(|before| *before < line.id), "{:#?}", report.plan);
        }
    }
}

#[test]
fn looking_changes_nothing_and_gives_the_addresses_it_would_give() {
    let bench = Bench::new();
    bench.records("wiki=service|Image|app|status|enabled\n");
    let report = bench.pass(Mode::Look);
    assert_eq!(report.assigned[0].address.to_string(), "10.0.3.2");
    assert!(!report.remaining.is_empty());
    assert!(bench.cx.host.take_performed().is_empty());
    assert_eq!(bench.pass(Mode::Look).assigned, report.assigned);
}

#[test]
fn a_lost_database_removes_nothing() {
    let bench = Bench::new();
    bench.records("wiki=service|Image|app|status|enabled\n");
    bench.pass(Mode::Apply);
    std::fs::remove_file(bench.directory.path().join("docker_containers")).unwrap();
    let stop = AtomicBool::new(false);
    let error =
        bench.runtime.block_on(pass(&bench.cx, Mode::Apply, &Wish::default(), &stop)).unwrap_err();
    assert!(error.to_string().contains("the 1 containers here were made"), "{error}");
    assert_eq!(bench.cx.host.state().containers.len(), 1);
}

#[test]
fn a_database_that_was_emptied_removes_all() {
    let bench = Bench::new();
    bench.records("wiki=service|Image|app|status|enabled\n");
    bench.pass(Mode::Apply);
    bench.records("");
    assert!(bench.pass(Mode::Apply).is_as_desired());
    assert!(bench.cx.host.state().containers.is_empty());
}

#[test]
fn what_somebody_has_changed_is_left_and_told_where_the_host_record_says_so() {
    let bench = Bench::new();
    bench.records("wiki=service|Image|app|status|enabled|TCPPort|80|WebAlias|wiki\n");
    assert!(bench.pass(Mode::Apply).is_as_desired());
    let configure = |text: &str| {
        let file = bench.directory.path().join("configuration");
        crate::host::file::replace(&file, text.as_bytes(), 0o600).unwrap();
    };
    let spoil = || {
        bench.cx.host.drift(Drift::Forwarding, 0);
        bench.cx.host.drift(Drift::BridgeFilter, 0);
        bench.cx.host.spoil_files();
        bench.cx.host.take_performed();
    };

    configure("docker=service|DriftFiles|report|DriftSysctls|report\n");
    spoil();
    let report = bench.pass(Mode::Apply);
    assert!(report.is_as_desired(), "{report:#?}");
    let told: Vec<String> = report.drift.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("net.ipv4.ip_forward is 0"), "{told:?}");
    assert!(told[1].contains("is not as it was written (only told, as DriftFiles"), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
    // The guard is none of it: its file, and what lets packets pass it.
    let done = bench.cx.host.take_performed();
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(done[0].starts_with("write /nowhere/etc/wharf/guard.nft, keeping"), "{done:?}");
    assert!(done[1].starts_with("set net.bridge"), "{done:?}");

    configure("docker=service\n");
    spoil();
    let report = bench.pass(Mode::Apply);
    assert!(report.is_as_desired() && report.drift.is_empty(), "{report:#?}");
    let done = bench.cx.host.take_performed();
    assert!(done.iter().any(|step| step == "set net.ipv4.ip_forward = 1"), "{done:?}");
    assert_eq!(done.iter().filter(|step| step.starts_with("write")).count(), 2, "{done:?}");
}

#[test]
fn a_guard_that_begins_no_more_with_the_machine_is_told_or_enabled_as_the_host_record_says() {
    let bench = Bench::new();
    bench.records("wiki=service|Image|app|status|enabled\n");
    let configure = |text: &str| {
        let file = bench.directory.path().join("configuration");
        crate::host::file::replace(&file, text.as_bytes(), 0o600).unwrap();
    };
    let told = |is_masked: bool| {
        bench.cx.host.idle_guard(is_masked);
        let report = bench.pass(Mode::Apply);
        assert!(report.is_as_desired() && report.failed.is_empty(), "{report:#?}");
        report.drift.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let by_itself = told(false);
    assert!(
        by_itself[0].starts_with("wharf-guard.service is disabled: after a boot"),
        "{by_itself:?}"
    );
    assert!(by_itself[0].ends_with("(only told, as DriftUnits of record docker says)"));

    configure("docker=service|DriftUnits|repair\n");
    bench.cx.host.take_performed();
    assert_eq!(told(false), Vec::<String>::new());
    assert_eq!(bench.cx.host.take_performed(), ["enable wharf-guard.service"]);
    // Who masks a unit has forbidden it.
    assert!(told(true)[0].starts_with("wharf-guard.service is masked"));
    assert_eq!(bench.cx.host.take_performed(), Vec::<String>::new());

    bench.records("");
    assert_eq!(told(false), Vec::<String>::new());
}

fn port(number: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, port: NonZeroU16::new(number).unwrap() }
}

/// Two containers with private ports, one with a public one, and one that is new.
fn with_a_guard_that_is_lost(guard: ObservedGuard, in_force: Guard) -> (Bench, Report) {
    let bench = Bench::new();
    let record = |name: &str, port: u16, access: &str| {
        format!("{name}=service|access|{access}|Image|app|TCPPort|{port}|status|enabled\n")
    };
    let old =
        record("aa", 81, "private") + &record("bb", 82, "private") + &record("cc", 83, "public");
    bench.records(&old);
    bench.pass(Mode::Apply);
    bench.records(&(old + &record("dd", 84, "private")));
    bench.cx.host.refuse_guard(true);
    bench.cx.host.lose_guard(guard, in_force);
    bench.cx.host.take_performed();
    let report = bench.pass(Mode::Apply);
    (bench, report)
}

#[test]
fn while_the_guard_cannot_be_loaded_only_ports_that_the_kernel_does_not_keep_are_closed() {
    let keeps_a = Guard { private: [port(81)].into(), ..Guard::default() };
    let (bench, report) = with_a_guard_that_is_lost(ObservedGuard::Altered, keeps_a);
    assert!(report.has_faults() && !report.is_as_desired());
    let performed = bench.cx.host.take_performed();
    let touched: Vec<&String> =
        performed.iter().filter(|step| step.contains("container")).collect();
    assert_eq!(touched, ["create container dd from app", "replace container bb"], "{report:#?}");
    assert_eq!(report.held.keys().collect::<Vec<_>>(), ["bb", "dd"]);
    let published = |name: &str| {
        let name = name.parse().unwrap();
        bench.cx.host.state().containers.get(&name).map(|found| found.published.len())
    };
    assert_eq!(["aa", "bb", "cc"].map(published), [Some(1), Some(0), Some(1)]);

    // Again and again, nothing more.
    bench.pass(Mode::Apply);
    assert!(!bench.cx.host.take_performed().iter().any(|step| step.contains("container")));

    bench.cx.host.refuse_guard(false);
    let report = bench.pass(Mode::Apply);
    assert!(report.is_as_desired(), "{report:#?}");
    assert_eq!(["aa", "bb", "cc", "dd"].map(published), [Some(1); 4]);
}

#[test]
fn a_guard_that_is_gone_keeps_nothing_closed() {
    let (bench, _) = with_a_guard_that_is_lost(ObservedGuard::Absent, Guard::default());
    let performed = bench.cx.host.take_performed();
    let replaced: Vec<_> = performed.iter().filter(|step| step.starts_with("replace")).collect();
    assert_eq!(replaced, ["replace container aa", "replace container bb"]);
}

#[test]
fn records_that_are_written_while_addresses_are_given_are_for_the_next_pass() {
    let bench = Bench::new();
    bench.records("");
    let (store, audit) = (bench.cx.store.clone(), bench.cx.audit.clone());
    let writer = std::thread::spawn(move || {
        let containers = DbName::try_from(DbName::CONTAINERS).unwrap();
        for n in 0..40 {
            let text = "service|Image|app|PortMapping|none|TCPPort|80|status|enabled";
            let key = format!("c{n}").into();
            let change = Change::Set { key, kind: text.into(), props: Vec::new() };
            crate::db::open(&store, &audit).unwrap().commit(&containers, &change).unwrap();
        }
    });
    while !writer.is_finished() {
        let rejected = bench.pass(Mode::Apply).rejected;
        assert!(rejected.is_empty(), "{rejected:?}");
    }
    writer.join().unwrap();
    bench.pass(Mode::Apply);
    assert_eq!(bench.pass(Mode::Apply).plan.len(), 0);
    assert_eq!(bench.pass(Mode::Look).containers.len(), 40);
}

#[test]
fn a_second_container_that_waits_for_the_same_one_is_brought_in_the_same_pass() {
    let record = |name: &str, more: &str| {
        format!("{name}=service|Image|app|PortMapping|none|TCPPort|80|status|enabled{more}\n")
    };
    let before = record("c0", "") + &record("c1", "");
    let link = "|Interlinked|c0:db";
    let after = record("c0", "") + &record("c1", link) + &record("c2", link);
    // Where a cut leaves c1 with its other name and c2 not started, the name is given back while c2 waits
    // for c0, and then c1 waits for it.
    let waits = (0..14).map(|cut| {
        let bench = Bench::new();
        bench.records(&before);
        assert!(bench.pass(Mode::Apply).is_as_desired());
        bench.records(&after);
        bench.cx.host.fail_after(cut);
        bench.pass(Mode::Apply);
        bench.cx.host.never_fail();
        let report = bench.pass(Mode::Apply);
        assert!(report.is_as_desired(), "cut {cut}: {report:#?}");
        report.done.iter().filter(|step| *step == "wait until c0 serves").count()
    });
    assert_eq!(waits.max(), Some(2));
}

/// Who is looked into follows from a plan, and what is found there makes another plan.
#[test]
fn what_is_replaced_because_another_one_stays_is_looked_into_too() {
    let record = |name: &str, address: u8, port: u16, more: &str| {
        format!(
            "{name}=service|Address|10.0.3.{address}|Image|app|PortMapping|custom|PortMappingPorts|{port}:80|\
             status|enabled{more}\n"
        )
    };
    let link = "|Interlinked|elk:db";
    let bench = Bench::new();
    bench.records(
        &(record("elk", 2, 80, "") + &record("cat", 3, 90, "") + &record("ant", 4, 91, link)),
    );
    assert!(bench.pass(Mode::Apply).is_as_desired());
    let [elk, cat, ant] = ["elk", "cat", "ant"].map(|name| name.parse().unwrap());
    bench.records(
        &(record("elk", 2, 81, "") + &record("cat", 3, 90, "") + &record("ant", 4, 91, link)),
    );
    bench.cx.host.break_container(&elk);
    assert!(!bench.pass(Mode::Apply).failed.is_empty());
    bench.cx.host.never_fail();
    bench.cx.host.end(&elk);
    bench.cx.host.write_undeclared(&cat, &["/data"]);
    bench.cx.host.write_undeclared(&ant, &["/data"]);

    // As it was made, `elk` has the port that `cat` would get if it did not stay for its data.
    let more = format!("|MaxMemory|64{link}");
    bench.records(
        &(record("elk", 2, 81, "") + &record("cat", 3, 80, "") + &record("ant", 4, 91, &more)),
    );
    let report = bench.pass(Mode::Apply);
    assert_eq!(report.held["cat"], "port 80/tcp stays with 'elk', which is held itself");
    assert!(report.done.contains(&"start container elk".to_owned()), "{report:#?}");
    assert!(report.held["ant"].contains("/data"), "{report:#?}");
    assert!(!report.done.iter().any(|step| step.contains("replace container ant")), "{report:#?}");
}
