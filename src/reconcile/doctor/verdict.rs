// SPDX-License-Identifier: GPL-2.0-or-later

//! From what was seen to a verdict and a remedy. Pure.
//!
//! To add a check: a field of [`Checkup`], a function here that gives its [`Check`]s, a line in [`judge`],
//! a case on each verdict in `tests.rs`.

use std::fmt::Write as _;

use jiff::SignedDuration;
use serde::Serialize;

use crate::state::checkup::{
    Checkup, Clock, CronSeen, Disk, FileMode, GuardSeen, Guarded, Module, Seen,
};
use crate::state::{ObservedGuard, PacketFilter};

/// What is thought of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as it should be.
    Fine,
    /// It is not.
    Fault,
    /// It could not be told.
    Unknown,
}

impl Verdict {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Fault => "FAULT",
            Self::Unknown => "could not check",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `engine`, `sysctl net.ipv4.ip_forward`.
    pub check: String,
    /// What is thought of it.
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub seen: String,
    /// What would mend it.
    pub remedy: Option<String>,
}

fn check(check: impl Into<String>, verdict: Verdict, seen: impl Into<String>) -> Check {
    Check { check: check.into(), verdict, seen: seen.into(), remedy: None }
}

impl Check {
    fn mended_by(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    fn maybe_mended_by(self, remedy: Option<&String>) -> Self {
        Self { remedy: remedy.cloned(), ..self }
    }
}

/// All checks, in the order in which one depends on another.
pub fn judge(checkup: &Checkup) -> Vec<Check> {
    let mut checks = vec![records(checkup), engine(checkup), cgroup(checkup)];
    checks.extend(modules(checkup));
    checks.extend(sysctls(checkup));
    checks.extend(guard(&checkup.guard, checkup.needs_bridge));
    checks.push(subnet(checkup));
    checks.push(resolver(checkup));
    checks.extend(clock(&checkup.clock));
    checks.extend(checkup.disks.iter().map(disk));
    checks.extend(files(checkup));
    checks.push(daemon(checkup));
    checks.extend(units(checkup));
    checks
}

fn records(checkup: &Checkup) -> Check {
    match &checkup.records {
        Ok(count) => check("records", Verdict::Fine, format!("{count} in docker_containers")),
        Err(ailing) => check("records", Verdict::Fault, &ailing.because)
            .maybe_mended_by(ailing.remedy.as_ref()),
    }
}

fn engine(checkup: &Checkup) -> Check {
    match &checkup.engine {
        Ok(about) => {
            let seen = format!("{} at {}, API {}", about.name, about.endpoint, about.api);
            check("engine", Verdict::Fine, seen)
        }
        Err(ailing) => {
            check("engine", Verdict::Fault, &ailing.because).maybe_mended_by(ailing.remedy.as_ref())
        }
    }
}

/// Without these the limits of records (`MaxMemory`, `MaxPids`, `MaxCpu`) do nothing.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

fn cgroup(checkup: &Checkup) -> Check {
    let cgroup = match &checkup.cgroup {
        Ok(cgroup) => cgroup,
        Err(why) => return check("cgroup", Verdict::Unknown, why),
    };
    let missing: Vec<&str> =
        CONTROLLERS.into_iter().filter(|name| !cgroup.controllers.contains(*name)).collect();
    if missing.is_empty() {
        let seen = format!("version {} with {}", cgroup.version, CONTROLLERS.join(", "));
        return check("cgroup", Verdict::Fine, seen);
    }
    let missing = missing.join(", ");
    let seen = format!(
        "version {} without {missing}: limits of records by it are not kept",
        cgroup.version
    );
    check("cgroup", Verdict::Fault, seen).mended_by(format!(
        "have the kernel offer it (boot with cgroup_enable=memory), or its owner: /sys/fs/cgroup/cgroup.subtree_control must name {missing}"
    ))
}

fn modules(checkup: &Checkup) -> Vec<Check> {
    let storage = checkup.engine.as_ref().ok().and_then(|about| about.storage_driver.as_deref());
    let is_needed = |name: &str| match name {
        "overlay" => storage.is_none_or(|driver| driver.starts_with("overlay")),
        "nf_tables" => checkup.guard.filter == PacketFilter::Nftables,
        _ => true,
    };
    let modules = checkup.modules.iter().filter(|(name, _)| is_needed(name));
    modules
        .map(|(name, seen)| {
            let what = format!("module {name}");
            match seen {
                Ok(Module::Present) => check(what, Verdict::Fine, "in the kernel"),
                Ok(Module::Loadable) => check(what, Verdict::Fine, "loaded when it is needed"),
                Ok(Module::Absent) => check(what, Verdict::Fault, "this kernel has none")
                    .mended_by(format!(
                        "install the modules of the running kernel, or boot the installed one, then: modprobe {name}"
                    )),
                Err(why) => check(what, Verdict::Unknown, why),
            }
        })
        .collect()
}

fn sysctls(checkup: &Checkup) -> Vec<Check> {
    let one = |(name, seen): (&&str, &Seen<Option<String>>)| {
        let what = format!("sysctl {name}");
        let value = match seen {
            Ok(value) => value.as_deref(),
            Err(why) => return check(what, Verdict::Unknown, why),
        };
        let shown = value.unwrap_or("not there");
        if value.is_some_and(|value| value != "0") {
            return check(what, Verdict::Fine, shown);
        }
        if !checkup.needs_bridge {
            return check(what, Verdict::Fine, format!("{shown}; no container needs it"));
        }
        let remedy = match value {
            Some(_) => format!(
                "wharf apply; who has turned it off stands in: grep -r {} /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d",
                name.rsplit('.').next().unwrap_or(name)
            ),
            None => "modprobe br_netfilter, then: wharf apply".to_owned(),
        };
        let effect = if name.starts_with("net.bridge") {
            "containers reach each other without a link"
        } else {
            "nobody reaches a container from outside this host"
        };
        check(what, Verdict::Fault, format!("{shown}: {effect}")).mended_by(remedy)
    };
    checkup.sysctls.iter().map(one).collect()
}

fn guard(seen: &GuardSeen, is_needed: bool) -> Vec<Check> {
    let by = seen.filter.as_str();
    let mut checks = vec![match &seen.guard {
        Err(why) => check("guard", Verdict::Unknown, why),
        Ok(ObservedGuard::Absent) if !is_needed => {
            check("guard", Verdict::Fine, "not loaded; no container needs it")
        }
        Ok(ObservedGuard::Absent) => {
            check("guard", Verdict::Fault, format!("not loaded ({by}): private ports may be open"))
                .mended_by("wharf apply")
        }
        Ok(ObservedGuard::Altered) => {
            check("guard", Verdict::Fault, format!("loaded ({by}), and altered by somebody since"))
                .mended_by("wharf apply")
        }
        Ok(ObservedGuard::Loaded(_)) => match seen.is_outdated {
            Some(false) => check("guard", Verdict::Fine, format!("loaded ({by}), as records say")),
            Some(true) => {
                check("guard", Verdict::Fault, format!("loaded ({by}), by records of before"))
                    .mended_by("wharf apply")
            }
            None => check(
                "guard",
                Verdict::Unknown,
                format!(
                    "loaded ({by}); without a plan nobody knows whether it is that of the records"
                ),
            ),
        },
    }];
    if !seen.lost.is_empty() {
        let lost = format!("the engine's rules are gone from {}", seen.lost.join(", "));
        checks.push(
            check("rules of the engine", Verdict::Fault, lost)
                .mended_by("systemctl restart docker (Podman: wharf apply)"),
        );
    }
    checks.push(match &seen.closed_by {
        Err(why) => check("rules of others", Verdict::Unknown, why),
        Ok(tables) if tables.is_empty() => {
            check("rules of others", Verdict::Fine, "no other table drops what is forwarded")
        }
        Ok(tables) => {
            let tables = tables.join(", ");
            let seen = format!(
                "what nobody lets through in {tables} is dropped; whether containers are, it does not say"
            );
            check("rules of others", Verdict::Unknown, seen).mended_by(format!(
                "nft list table {tables}: the bridge needs an accept there in both directions"
            ))
        }
    });
    checks
}

fn subnet(checkup: &Checkup) -> Check {
    match &checkup.subnet {
        Ok(None) => check("subnet", Verdict::Fine, "no route or peer of this host is in it"),
        Ok(Some(ailing)) => {
            check("subnet", Verdict::Fault, &ailing.because).maybe_mended_by(ailing.remedy.as_ref())
        }
        Err(why) => check("subnet", Verdict::Unknown, why),
    }
}

fn resolver(checkup: &Checkup) -> Check {
    match &checkup.resolver {
        Err(why) => check("name servers", Verdict::Unknown, why),
        Ok(resolver) if resolver.servers.is_empty() => {
            let seen = format!("{} names none: containers find no name", resolver.path.display());
            check("name servers", Verdict::Fault, seen)
                .mended_by(format!("add a line to {}: nameserver ADDRESS", resolver.path.display()))
        }
        Ok(resolver) => check("name servers", Verdict::Fine, resolver.servers.join(", ")),
    }
}

/// Clocks of file systems are coarser than that of the kernel.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

fn clock(clock: &Clock) -> Vec<Check> {
    let shown = clock.now.strftime("%F %T UTC");
    let behind = clock.latest.as_ref().filter(|(at, _)| at.duration_since(clock.now) > SLACK);
    let set = "set it: timedatectl set-ntp true (without systemd: chronyc makestep)";
    let time = match behind {
        Some((at, path)) => {
            let (at, path) = (at.strftime("%F %T UTC"), path.display());
            let seen = format!("{shown}, and {path} was written at {at}: the clock has gone back");
            check("clock", Verdict::Fault, seen).mended_by(set)
        }
        None => check("clock", Verdict::Fine, shown.to_string()),
    };
    let kept = match &clock.is_synchronised {
        Ok(true) => check("clock kept right", Verdict::Fine, "synchronised"),
        Ok(false) => check(
            "clock kept right",
            Verdict::Unknown,
            "by nobody: windows of records go by it, and certificates are judged by it",
        )
        .mended_by(set),
        Err(why) => check("clock kept right", Verdict::Unknown, why),
    };
    vec![time, kept]
}

/// Of a hundred files that there can be.
const LEAST_INODES: u64 = 1;

fn disk(disk: &Disk) -> Check {
    let (what, path) = (format!("disk for {}", disk.purpose), disk.path.display());
    let space = match &disk.space {
        Ok(space) => space,
        Err(why) => return check(what, Verdict::Unknown, why),
    };
    let free = mebibytes(space.free_bytes);
    if space.free_bytes < disk.least_bytes {
        let least = mebibytes(disk.least_bytes);
        let seen = format!("{free} free at {path}, less than {least}");
        return check(what, Verdict::Fault, seen).mended_by(format!(
            "see what takes it: df -h {path}; du -xh {path} | sort -h | tail{}",
            if disk.purpose == "engine" { "; docker system df" } else { "" }
        ));
    }
    let (left, all) = space.inodes;
    if all > 0 && left.saturating_mul(100) < all.saturating_mul(LEAST_INODES) {
        let seen = format!("{left} of {all} inodes free at {path}");
        return check(what, Verdict::Fault, seen).mended_by(format!(
            "see who has made so many files: du -x --inodes {path} | sort -n | tail"
        ));
    }
    check(what, Verdict::Fine, format!("{free} free at {path}"))
}

fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes >> 20;
    if mebibytes == 0 { format!("{} KiB", bytes >> 10) } else { format!("{mebibytes} MiB") }
}

/// Bits of the mode: everybody may read it.
const READ: u32 = 0o004;
/// Everybody may write it.
const WRITE: u32 = 0o002;
/// Nobody may replace the files of another in it.
const STICKY: u32 = 0o1000;

fn files(checkup: &Checkup) -> Vec<Check> {
    let files = match &checkup.files {
        Ok(files) => files,
        Err(why) => return vec![check("permissions", Verdict::Unknown, why)],
    };
    let faults: Vec<Check> = files.iter().filter_map(|file| mode(file, checkup.uid)).collect();
    if faults.is_empty() {
        let seen = format!("{} files and directories are nobody else's", files.len());
        return vec![check("permissions", Verdict::Fine, seen)];
    }
    faults
}

fn mode(file: &FileMode, uid: u32) -> Option<Check> {
    let path = file.path.display();
    let fault = |seen: String, remedy: String| {
        let what = format!("permissions of {path}");
        Some(check(what, Verdict::Fault, seen).mended_by(remedy))
    };
    if file.uid != 0 && file.uid != uid {
        return fault(format!("it is of user {}", file.uid), format!("chown root {path}"));
    }
    if file.mode & WRITE != 0 && file.mode & STICKY == 0 {
        let seen = format!("mode {:04o}: everybody can write it", file.mode);
        return fault(seen, format!("chmod o-w {path}; see what it holds"));
    }
    if file.guarded == Guarded::FromReading && file.mode & READ != 0 {
        let seen = format!("mode {:04o}: everybody can read it, secrets too", file.mode);
        return fault(seen, format!("chmod o-rwx {path}; change the secrets in it"));
    }
    None
}

/// Passes that may be late, and a long one (images come slowly) before the daemon counts as stuck.
const LATE_PASSES: u64 = 3;
const LONG_PASS_SECONDS: u64 = 30 * 60;

const DAEMON: &str = "wharfd.service";

/// Makes the passes where the daemon does not run.
const TIMER: &str = "wharf-reconcile.timer";

fn is_enabled(checkup: &Checkup, unit: &str) -> bool {
    let units = checkup.units.as_ref();
    units.is_ok_and(|units| units.get(unit).is_some_and(|word| word == "enabled"))
}

/// cron, when a host lives on it: one on which `wharfd` begins with the machine has a daemon that is gone.
fn in_its_place(checkup: &Checkup) -> Option<&CronSeen> {
    checkup.cron.as_ref().filter(|_| !is_enabled(checkup, DAEMON))
}

fn by_cron(cron: &CronSeen) -> Check {
    let path = cron.path.display();
    if cron.runs {
        let seen = format!("does not run; cron makes a pass every five minutes ({path})");
        return check("wharfd", Verdict::Fine, seen);
    }
    let seen = format!("does not run, nor does the cron that would make passes ({path})");
    check("wharfd", Verdict::Fault, seen)
        .mended_by("service crond start (Debian: cron); or systemctl enable --now wharfd")
}

fn daemon(checkup: &Checkup) -> Check {
    let daemon = match &checkup.daemon {
        Err(why) => return check("wharfd", Verdict::Unknown, why),
        Ok(None) if is_enabled(checkup, TIMER) => {
            return check(
                "wharfd",
                Verdict::Fine,
                format!("does not run; {TIMER} is in its place"),
            );
        }
        Ok(None) if let Some(cron) = in_its_place(checkup) => return by_cron(cron),
        Ok(None) => {
            let seen = "does not run: containers are as the last pass left them";
            return check("wharfd", Verdict::Fault, seen).mended_by(
                "systemctl enable --now wharfd (a host without it: wharf-reconcile.timer)",
            );
        }
        Ok(Some(daemon)) => daemon,
    };
    let ours = env!("CARGO_PKG_VERSION");
    let mut text = format!("process {}, version {}", daemon.pid, daemon.version);
    if let Some(at) = daemon.last_pass {
        // Writing to a String cannot fail.
        write!(text, ", last pass {}", at.strftime("%F %T UTC")).ok();
    }
    if daemon.version != ours {
        let seen = format!("{text}; this program is {ours}");
        return check("wharfd", Verdict::Fault, seen).mended_by("systemctl restart wharfd");
    }
    let limit =
        checkup.interval_seconds.saturating_mul(LATE_PASSES).saturating_add(LONG_PASS_SECONDS);
    let limit = SignedDuration::from_secs(i64::try_from(limit).unwrap_or(i64::MAX));
    if daemon.last_pass.is_some_and(|at| checkup.clock.now.duration_since(at) > limit) {
        return check("wharfd", Verdict::Fault, format!("{text}: none since"))
            .mended_by("journalctl -u wharfd; systemctl restart wharfd");
    }
    check("wharfd", Verdict::Fine, text)
}

fn units(checkup: &Checkup) -> Vec<Check> {
    let units = match &checkup.units {
        Ok(units) => units,
        Err(why) => return vec![check("units", Verdict::Unknown, why)],
    };
    let guard = match checkup.guard.filter {
        PacketFilter::Nftables => "wharf-guard.service",
        PacketFilter::Iptables => "wharf-guard-iptables.service",
    };
    let shown = |name: &str| units.get(name).cloned().unwrap_or_else(|| "not-found".to_owned());
    let first = if is_enabled(checkup, guard) {
        check(format!("unit {guard}"), Verdict::Fine, "enabled")
    } else {
        let seen = format!("{}: between boot and first pass nothing is guarded", shown(guard));
        check(format!("unit {guard}"), Verdict::Fault, seen)
            .mended_by(format!("systemctl enable {guard}"))
    };
    let second = match (is_enabled(checkup, DAEMON), is_enabled(checkup, TIMER)) {
        (true, _) => check(format!("unit {DAEMON}"), Verdict::Fine, "enabled"),
        (false, true) => check(format!("unit {TIMER}"), Verdict::Fine, "enabled, in its place"),
        (false, false) if checkup.cron.is_some() => {
            let seen = format!("{}: cron is in its place", shown(DAEMON));
            check(format!("unit {DAEMON}"), Verdict::Fine, seen)
        }
        (false, false) => {
            let seen = format!("{}: no container starts with the machine", shown(DAEMON));
            check(format!("unit {DAEMON}"), Verdict::Fault, seen)
                .mended_by(format!("systemctl enable --now {DAEMON}"))
        }
    };
    vec![first, second]
}
