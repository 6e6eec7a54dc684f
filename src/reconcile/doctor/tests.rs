// SPDX-License-Identifier: GPL-2.0-or-later

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::reconcile::doctor::verdict::{Verdict, judge};
use crate::state::checkup::{
    Ailing, Cgroup, Checkup, Clock, CronSeen, DaemonSeen, Disk, EngineAbout, FileMode, GuardSeen,
    Guarded, Module, Resolver, Space,
};
use crate::state::{ObservedGuard, PacketFilter};

/// A machine on which everything is as it should be, and nothing is hidden.
fn fine() -> Checkup {
    let units = ["wharf-guard.service", "wharfd.service"];
    let sysctls = ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"];
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    Checkup {
        records: Ok(2),
        needs_bridge: true,
        engine: Ok(EngineAbout {
            endpoint: "unix:///run/docker.sock".to_owned(),
            name: "Docker 26.1.5".to_owned(),
            api: "1.45".to_owned(),
            data_root: Some("/var/lib/docker".into()),
            storage_driver: Some("overlay2".to_owned()),
        }),
        cgroup: Ok(Cgroup {
            version: 2,
            controllers: ["cpu", "io", "memory", "pids"].map(str::to_owned).into(),
        }),
        modules: [("nf_tables", Ok(Module::Present)), ("overlay", Ok(Module::Loadable))].into(),
        sysctls: sysctls.map(|name| (name, Ok(Some("1".to_owned())))).into(),
        guard: GuardSeen {
            filter: PacketFilter::Nftables,
            guard: Ok(ObservedGuard::Loaded("hash".to_owned())),
            is_outdated: Some(false),
            lost: Vec::new(),
            closed_by: Ok(Vec::new()),
        },
        subnet: Ok(None),
        resolver: Ok(Resolver {
            path: "/etc/resolv.conf".into(),
            servers: vec!["192.0.2.53".to_owned()],
        }),
        clock: Clock {
            now,
            latest: Some((now, "/usr/sbin/wharf".into())),
            is_synchronised: Ok(true),
        },
        disks: vec![disk("state", 1 << 30, (500, 1000))],
        files: Ok(vec![file("/var/lib/wharf/config.sqlite", Guarded::FromReading, 0o600, 0)]),
        uid: 0,
        daemon: Ok(Some(DaemonSeen {
            pid: 4711,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            last_pass: Some(now),
        })),
        cron: None,
        interval_seconds: 60,
        units: Ok(units.map(|unit| (unit, "enabled".to_owned())).into()),
    }
}

fn disk(purpose: &'static str, free_bytes: u64, inodes: (u64, u64)) -> Disk {
    let path = PathBuf::from("/var/lib/wharf");
    Disk { purpose, path, least_bytes: 16 << 20, space: Ok(Space { free_bytes, inodes }) }
}

fn file(path: &str, guarded: Guarded, mode: u32, uid: u32) -> FileMode {
    FileMode { path: path.into(), guarded, mode, uid }
}

/// The checks that are not fine after `change`: verdict, check, and what was seen, a line each.
fn told(change: impl FnOnce(&mut Checkup)) -> String {
    let mut checkup = fine();
    change(&mut checkup);
    let mut lines = String::new();
    for check in judge(&checkup).iter().filter(|check| check.verdict != Verdict::Fine) {
        let remedy = check.remedy.as_deref().unwrap_or("-");
        let verdict = check.verdict.as_str();
        writeln!(
            lines,
            "{verdict}: {}: {}
  {remedy}",
            check.check, check.seen
        )
        .unwrap();
        let has_remedy = check.verdict == Verdict::Unknown || check.remedy.is_some();
        assert!(has_remedy, "{check:?} is a fault without a remedy");
    }
    lines
}

#[test]
fn a_machine_without_fault_has_none_and_nothing_is_unknown() {
    assert_eq!(told(|_| {}), "");
}

#[test]
fn an_engine_that_does_not_answer_is_told_with_its_remedy() {
    let ailing = || Ailing {
        because: "no engine answers at unix:///x".to_owned(),
        remedy: Some("systemctl start docker".to_owned()),
    };
    insta::assert_snapshot!(told(|all| {
        all.engine = Err(ailing());
        all.records = Err(ailing());
        all.guard.is_outdated = None;
    }), @"
    FAULT: records: no engine answers at unix:///x
      systemctl start docker
    FAULT: engine: no engine answers at unix:///x
      systemctl start docker
    could not check: guard: loaded (nftables); without a plan nobody knows whether it is that of the records
      -
    ");
}

#[test]
fn what_the_kernel_lacks_is_told_only_where_it_is_needed() {
    insta::assert_snapshot!(told(|all| {
        all.cgroup = Ok(Cgroup { version: 1, controllers: ["cpu".to_owned(), "pids".to_owned()].into() });
        all.modules.insert("overlay", Ok(Module::Absent));
        all.modules.insert("veth", Err("no list of modules".to_owned()));
        all.sysctls.insert("net.ipv4.ip_forward", Ok(Some("0".to_owned())));
        all.sysctls.insert("net.bridge.bridge-nf-call-iptables", Ok(None));
    }), @"
    FAULT: cgroup: version 1 without memory: limits of records by it are not kept
      have the kernel offer it (boot with cgroup_enable=memory), or its owner: /sys/fs/cgroup/cgroup.subtree_control must name memory
    FAULT: module overlay: this kernel has none
      install the modules of the running kernel, or boot the installed one, then: modprobe overlay
    could not check: module veth: no list of modules
      -
    FAULT: sysctl net.bridge.bridge-nf-call-iptables: not there: containers reach each other without a link
      modprobe br_netfilter, then: wharf apply
    FAULT: sysctl net.ipv4.ip_forward: 0: nobody reaches a container from outside this host
      wharf apply; who has turned it off stands in: grep -r ip_forward /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d
    ");
    let without_need = told(|all| {
        all.needs_bridge = false;
        all.sysctls.insert("net.ipv4.ip_forward", Ok(Some("0".to_owned())));
        all.guard.guard = Ok(ObservedGuard::Absent);
        all.modules.insert("overlay", Ok(Module::Absent));
        all.engine.as_mut().unwrap().storage_driver = Some("btrfs".to_owned());
    });
    assert_eq!(without_need, "");
}

#[test]
fn a_guard_that_is_gone_altered_or_old_is_a_fault_and_a_table_of_others_is_a_question() {
    insta::assert_snapshot!(told(|all| all.guard.guard = Ok(ObservedGuard::Absent)), @"
    FAULT: guard: not loaded (nftables): private ports may be open
      wharf apply
    ");
    insta::assert_snapshot!(told(|all| all.guard.guard = Ok(ObservedGuard::Altered)), @"
    FAULT: guard: loaded (nftables), and altered by somebody since
      wharf apply
    ");
    insta::assert_snapshot!(told(|all| all.guard.is_outdated = Some(true)), @"
    FAULT: guard: loaded (nftables), by records of before
      wharf apply
    ");
    insta::assert_snapshot!(told(|all| {
        all.guard.lost = vec!["iptables nat".to_owned()];
        all.guard.closed_by = Ok(vec!["inet strict".to_owned()]);
    }), @"
    FAULT: rules of the engine: the engine's rules are gone from iptables nat
      systemctl restart docker (Podman: wharf apply)
    could not check: rules of others: what nobody lets through in inet strict is dropped; whether containers are, it does not say
      nft list table inet strict: the bridge needs an accept there in both directions
    ");
}

#[test]
fn names_and_the_clock_are_judged_by_what_was_seen() {
    insta::assert_snapshot!(told(|all| {
        all.resolver.as_mut().unwrap().servers.clear();
        all.subnet = Ok(Some(Ailing { because: "it overlaps".to_owned(), remedy: Some("db".to_owned()) }));
        all.clock.now = "2026-02-01T12:00:00Z".parse().unwrap();
        all.clock.is_synchronised = Ok(false);
    }), @"
    FAULT: subnet: it overlaps
      db
    FAULT: name servers: /etc/resolv.conf names none: containers find no name
      add a line to /etc/resolv.conf: nameserver ADDRESS
    FAULT: clock: 2026-02-01 12:00:00 UTC, and /usr/sbin/wharf was written at 2026-03-01 12:00:00 UTC: the clock has gone back
      set it: timedatectl set-ntp true (without systemd: chronyc makestep)
    could not check: clock kept right: by nobody: windows of records go by it, and certificates are judged by it
      set it: timedatectl set-ntp true (without systemd: chronyc makestep)
    ");
}

#[test]
fn room_is_bytes_and_inodes() {
    insta::assert_snapshot!(told(|all| {
        all.disks = vec![
            disk("state", (16 << 20) - 1, (500, 1000)),
            disk("records", 1 << 30, (9, 1000)),
            // btrfs counts none.
            disk("engine", 1 << 30, (0, 0)),
        ];
    }), @"
    FAULT: disk for state: 15 MiB free at /var/lib/wharf, less than 16 MiB
      see what takes it: df -h /var/lib/wharf; du -xh /var/lib/wharf | sort -h | tail
    FAULT: disk for records: 9 of 1000 inodes free at /var/lib/wharf
      see who has made so many files: du -x --inodes /var/lib/wharf | sort -n | tail
    ");
}

#[test]
fn a_file_is_nobody_elses_to_write_and_one_with_secrets_not_to_read() {
    insta::assert_snapshot!(told(|all| {
        all.files = Ok(vec![
            file("/etc/wharf", Guarded::FromWriting, 0o755, 0),
            file("/run/wharf", Guarded::FromWriting, 0o1777, 0),
            file("/var/lib/wharf", Guarded::FromWriting, 0o777, 0),
            file("/var/lib/wharf/applied/wiki.json", Guarded::FromReading, 0o644, 0),
            file("/home/e-smith/db/docker_containers", Guarded::FromReading, 0o640, 1000),
        ]);
    }), @"
    FAULT: permissions of /var/lib/wharf: mode 0777: everybody can write it
      chmod o-w /var/lib/wharf; see what it holds
    FAULT: permissions of /var/lib/wharf/applied/wiki.json: mode 0644: everybody can read it, secrets too
      chmod o-rwx /var/lib/wharf/applied/wiki.json; change the secrets in it
    FAULT: permissions of /home/e-smith/db/docker_containers: it is of user 1000
      chown root /home/e-smith/db/docker_containers
    ");
}

#[test]
fn a_daemon_runs_is_of_this_version_and_makes_passes() {
    insta::assert_snapshot!(told(|all| all.daemon = Ok(None)), @"
    FAULT: wharfd: does not run: containers are as the last pass left them
      systemctl enable --now wharfd (a host without it: wharf-reconcile.timer)
    ");
    let daemon = |change: fn(&mut DaemonSeen)| {
        told(|all| change(all.daemon.as_mut().unwrap().as_mut().unwrap()))
    };
    insta::assert_snapshot!(daemon(|seen| seen.version = "0.0.1".to_owned()), @"
    FAULT: wharfd: process 4711, version 0.0.1, last pass 2026-03-01 12:00:00 UTC; this program is 0.1.0
      systemctl restart wharfd
    ");
    let late = "2026-03-01T11:26:00Z".parse().unwrap();
    insta::assert_snapshot!(told(|all| all.daemon.as_mut().unwrap().as_mut().unwrap().last_pass = Some(late)), @"
    FAULT: wharfd: process 4711, version 0.1.0, last pass 2026-03-01 11:26:00 UTC: none since
      journalctl -u wharfd; systemctl restart wharfd
    ");
}

#[test]
fn units_begin_with_the_machine() {
    insta::assert_snapshot!(told(|all| {
        all.units = Ok([("wharfd.service", "disabled".to_owned())].into());
    }), @"
    FAULT: unit wharf-guard.service: not-found: between boot and first pass nothing is guarded
      systemctl enable wharf-guard.service
    FAULT: unit wharfd.service: disabled: no container starts with the machine
      systemctl enable --now wharfd.service
    ");
    let timer = told(|all| {
        let units = all.units.as_mut().unwrap();
        units.remove("wharfd.service");
        units.insert("wharf-reconcile.timer", "enabled".to_owned());
        all.daemon = Ok(None);
    });
    assert_eq!(timer, "");
}

#[test]
fn a_host_that_lives_on_cron_has_no_fault_and_one_whose_daemon_is_gone_has() {
    let cron = |runs| Some(CronSeen { path: "/etc/cron.d/wharf".into(), runs });
    let without = |word: Option<&'static str>, runs| {
        told(|checkup| {
            checkup.daemon = Ok(None);
            checkup.cron = cron(runs);
            let units = checkup.units.as_mut().unwrap();
            units.remove("wharfd.service");
            units.extend(word.map(|word| ("wharfd.service", word.to_owned())));
        })
    };
    assert_eq!(without(Some("disabled"), true), "");
    assert_eq!(without(None, true), "");
    assert!(without(Some("disabled"), false).contains("nor does the cron"));
    assert!(without(Some("enabled"), true).contains("does not run: containers"));
    let no_systemd = told(|checkup| {
        (checkup.daemon, checkup.cron) = (Ok(None), cron(true));
        checkup.units = Err("systemd does not run this machine".to_owned());
    });
    assert!(!no_systemd.contains("wharfd"), "{no_systemd}");
}
