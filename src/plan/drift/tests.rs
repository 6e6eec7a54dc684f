// A spec against what an engine shows of it.

use super::*;
use crate::db::value;
use crate::plan::parameters::tests::spec;
use crate::state::container::Publish;
use crate::state::settings::ImageDefaults;

const MEGABYTE: u64 = 1024 * 1024;

/// A spec with something of everything that is compared, and what Docker shows of it.
fn pair() -> (ContainerSpec, Settings) {
    let mut spec = spec();
    spec.memory_bytes = Some(64 * MEGABYTE);
    spec.attachment = Attachment::Bridge {
        address: "10.0.3.7".parse().unwrap(),
        published: vec![Publish {
            host: 8080.try_into().unwrap(),
            container: 80.try_into().unwrap(),
            protocol: value::Protocol::Tcp,
            listen: Listen::Everywhere,
        }],
        aliases: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    spec.capabilities_added = ["NET_ADMIN".to_owned()].into();
    spec.mounts = vec![Mount {
        source: MountedFrom::Host("/srv/data/".into()),
        target: "/data".into(),
        read_only: true,
    }];
    let variable = |name: &str, value: &str| (name.to_owned(), Masked::new(value.to_owned()));
    let of_image = variable("LANG", "C");
    let image = ImageDefaults { environment: [of_image.clone()].into(), ..Default::default() };
    let found = Settings {
        image: Some(image),
        environment: spec.environment.clone().into_iter().chain([of_image]).collect(),
        command: spec.command.clone(),
        memory_bytes: 64 * MEGABYTE,
        swap_bytes: 128 << 20,
        published: [":8080->80/tcp".to_owned()].into(),
        mounts: vec![Mount {
            source: MountedFrom::Host("/srv/data".into()),
            target: "/data".into(),
            read_only: true,
        }],
        capabilities_added: ["NET_ADMIN".to_owned()].into(),
        network_mode: "wharf0".to_owned(),
        ..Settings::default()
    };
    (spec, found)
}

/// What differs after `change`, and whether the engine can mend it as it runs.
fn after(change: impl Fn(&mut Settings)) -> (Vec<String>, bool) {
    let (spec, mut found) = pair();
    change(&mut found);
    let differences = differences(&spec, &found);
    let limits = limits(&spec, &found, &differences);
    (differences.iter().map(ToString::to_string).collect(), limits.is_some())
}

#[test]
fn what_the_engine_shows_of_a_spec_is_no_difference() {
    assert_eq!(after(|_| ()).0, Vec::<String>::new());
    // Added by engines.
    let usual = |found: &mut Settings| {
        found.swap_bytes = -1;
        found.environment.insert("PATH".to_owned(), Masked::new("/bin".to_owned()));
    };
    assert_eq!(after(usual).0, Vec::<String>::new());
}

#[test]
fn limits_and_the_restart_policy_are_mended_as_it_runs() {
    let (shown, is_mended) = after(|found| found.memory_bytes = 200 * MEGABYTE);
    assert_eq!((shown[0].as_str(), is_mended), ("MaxMemory 200m -> 64m", true));
    assert!(after(|found| found.swap_bytes = 200 << 20).1);
    let (shown, is_mended) = after(|found| found.restart_policy = "always".to_owned());
    assert_eq!((shown[0].as_str(), is_mended), ("restart policy always -> (none)", true));
    assert!(after(|found| found.pids = 5).1);
    // No engine takes a limit away again.
    assert!(!after(|found| found.nano_cpus = 5).1);
}

#[test]
fn what_is_made_with_a_container_takes_another_one() {
    type Change = fn(&mut Settings);
    let cases: [(&str, Change); 8] = [
        ("Env_MOOD *** -> (none)", |found| {
            found.environment.insert("MOOD".to_owned(), Masked::new("bad".to_owned()));
        }),
        ("Env_LANG (none) -> ***", |found| drop(found.environment.remove("LANG"))),
        ("Command *** -> (none)", |found| found.command.push("--more".to_owned())),
        ("User root -> ", |found| found.user = "root".to_owned()),
        ("Privileged yes -> (none)", |found| found.privileged = true),
        ("mounts (none) -> /srv/data:/data:ro", |found| found.mounts.clear()),
        ("published ports (none) -> :8080->80/tcp", |found| found.published.clear()),
        ("network host -> bridge", |found| found.network_mode = "host".to_owned()),
    ];
    for (expected, change) in cases {
        assert_eq!(after(change), (vec![expected.to_owned()], false));
    }
}

#[test]
fn of_an_image_that_is_gone_and_of_podman_less_is_known() {
    let mood = |found: &mut Settings| {
        found.environment.insert("container".to_owned(), Masked::new("podman".to_owned()));
    };
    assert_eq!(after(mood).0.len(), 1);
    let podman = |found: &mut Settings| {
        mood(found);
        found.is_podman = true;
    };
    assert_eq!(after(podman).0, Vec::<String>::new());
    let gone = |found: &mut Settings| {
        mood(found);
        found.environment.remove("LANG");
        found.image = None;
    };
    assert_eq!(after(gone).0, Vec::<String>::new());
}

/// What differs of the pair after `change` of the spec and of what is shown of it.
fn shown(change: impl Fn(&mut ContainerSpec, &mut Settings)) -> Vec<String> {
    let (mut spec, mut found) = pair();
    change(&mut spec, &mut found);
    differences(&spec, &found).iter().map(ToString::to_string).collect()
}

#[test]
fn no_limit_is_no_limit_and_a_rounded_one_is_the_same() {
    let none = shown(|spec, found| {
        (spec.memory_bytes, found.memory_bytes, found.swap_bytes) = (None, 0, 0);
    });
    assert_eq!(none, [""; 0]);
    let cpu = |wanted: Option<u64>, is: u64| {
        shown(|spec, found| (spec.nano_cpus, found.nano_cpus) = (wanted, is))
    };
    let billion = 1_000_000_000;
    assert_eq!(cpu(Some(billion), billion), [""; 0]);
    assert_eq!(cpu(Some(billion), 999_999_999), [""; 0]);
    assert_eq!(cpu(Some(billion), 990_000_000), [""; 0]);
    assert_eq!(cpu(Some(billion), 989_999_999), ["MaxCpu 989999999 -> 1000000000"]);
    assert_eq!(cpu(Some(billion), 0), ["MaxCpu (none) -> 1000000000"]);
    assert_eq!(cpu(None, 5), ["MaxCpu 5 -> (none)"]);
    let swap = shown(|_, found| found.swap_bytes = 200 << 20);
    assert_eq!(swap, ["limit of swap 209715200 -> (none)"]);
}

#[test]
fn podman_has_a_limit_of_processes_of_its_own() {
    let pids = |wanted: Option<i64>, is: i64, is_podman: bool| {
        shown(|spec, found| {
            (spec.pids, found.pids, found.is_podman) = (wanted, is, is_podman);
        })
    };
    assert_eq!(pids(None, 5, false), ["MaxPids 5 -> (none)"]);
    assert_eq!(pids(None, 0, false), [""; 0]);
    assert_eq!(pids(None, 2048, true), [""; 0]);
    assert_eq!(pids(Some(5), 2048, true), ["MaxPids 2048 -> 5"]);
}

#[test]
fn devices_and_capabilities_are_compared_as_far_as_the_engine_tells() {
    let device = || crate::state::container::Device {
        host: "/dev/a".into(),
        container: "/dev/b".into(),
        permissions: "rw".to_owned(),
    };
    let devices = |is_podman: bool| {
        shown(|_, found| {
            found.is_podman = is_podman;
            found.devices = vec![device()];
        })
    };
    assert_eq!(devices(false), ["Devices /dev/a -> (none)"]);
    assert_eq!(devices(true), [""; 0]);

    let capabilities = |wants: &[&str], has: &[&str], dropped: &[&str], is_podman: bool| {
        let set = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        shown(|spec, found| {
            spec.capabilities_added = set(wants);
            found.capabilities_added = set(has);
            found.capabilities_dropped = set(dropped);
            found.is_podman = is_podman;
        })
    };
    assert_eq!(capabilities(&["CAP_A"], &["A"], &[], false), [""; 0]);
    assert_eq!(capabilities(&["A"], &["A", "B"], &[], false), ["Capabilities A B -> A"]);
    assert_eq!(capabilities(&["A"], &["A"], &["C"], false), ["Capabilities (dropped) C -> (none)"]);
    assert_eq!(capabilities(&["A"], &["A", "B"], &[], true), ["Capabilities A B -> A"]);
    assert_eq!(capabilities(&["A", "B"], &["A"], &["C"], true), [""; 0]);
    assert_eq!(capabilities(&["ALL"], &["A"], &[], true), [""; 0]);
}

#[test]
fn an_engine_is_told_the_limits_of_the_spec() {
    let (mut spec, mut found) = pair();
    spec.nano_cpus = Some(7_000_000);
    (found.memory_bytes, found.pids) = (1, 5);
    let all = differences(&spec, &found);
    let told = limits(&spec, &found, &all).unwrap();
    let expected = Limits {
        memory_bytes: Some(64 * MEGABYTE),
        nano_cpus: Some(7_000_000),
        pids: Some(-1),
        restart_policy: false,
    };
    assert_eq!(told, expected);
    found.is_podman = true;
    assert_eq!(limits(&spec, &found, &all), None, "Podman cannot");
}
