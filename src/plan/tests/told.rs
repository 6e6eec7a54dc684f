// What somebody has changed and is left so, files, and what is known to be right.

use super::seen::Seen;
use super::{BLOG, MYSQL, name_of};
use crate::plan::drift::right;
use crate::state::container::Masked;
use crate::state::file::{Adjust, Verb};
use crate::state::settings::{ImageDefaults, Settings};
use crate::state::{
    DriftKind, FileKind, ObservedFile, ObservedNetwork, OnlyTold, RenderedFile, Running,
};

/// What an engine shows of the container of `MYSQL`.
fn shown(seen: &Seen) -> Settings {
    let spec = &seen.desired.containers[&name_of("mysql")].spec;
    Settings {
        image: Some(ImageDefaults::default()),
        environment: spec.environment.clone(),
        published: [":3306->3306/tcp".to_owned()].into(),
        network_mode: "wharf0".to_owned(),
        changed_at: Some(jiff::Timestamp::from_second(1000).unwrap()),
        ..Settings::default()
    }
}

/// The container is `changed`, and looked into.
fn looked_into(only_told: &[DriftKind], changed: impl FnOnce(&mut Settings)) -> Seen {
    let mut seen = Seen::as_of(MYSQL);
    seen.desired.only_told = only_told.iter().copied().collect();
    let mut settings = shown(&seen);
    changed(&mut settings);
    seen.found("mysql").settings = Some(Box::new(settings));
    seen
}

fn restarts(settings: &mut Settings) {
    "always".clone_into(&mut settings.restart_policy);
}

fn drift(seen: &Seen) -> Vec<String> {
    seen.plan().drift.iter().map(|one| one.what.clone()).collect()
}

#[test]
fn a_container_that_somebody_has_changed_is_mended_or_told() {
    let mended = looked_into(&[], restarts);
    insta::assert_snapshot!(mended.plan(), @"update container mysql: somebody has changed it at 1970-01-01 00:16:40 UTC: restart policy always -> (none)");
    let told = looked_into(&[DriftKind::Containers], restarts);
    assert_eq!(drift(&told), ["container mysql: restart policy always -> (none)"]);
    assert!(told.plan().is_empty());
    let other = looked_into(&[DriftKind::Files], restarts);
    assert_eq!(drift(&other), [""; 0]);
    assert_eq!(other.steps(), ["0 update container mysql {}"]);
    let anew = looked_into(&[], |found| found.privileged = true);
    assert_eq!(anew.steps(), ["0 replace container mysql {}"]);
    let as_it_should_be = looked_into(&[DriftKind::Containers], |_| ());
    assert_eq!(as_it_should_be.plan().to_string(), "");
    let as_it_should_be = looked_into(&[], |_| ());
    assert_eq!(as_it_should_be.plan().to_string(), "");
}

#[test]
fn networks_are_mended_or_told() {
    let strange = |only_told: &[DriftKind]| {
        let mut seen = Seen::as_of(MYSQL);
        seen.desired.only_told = only_told.iter().copied().collect();
        seen.found("mysql").networks = Some(["other".to_owned()].into());
        seen
    };
    assert_eq!(drift(&strange(&[])), [""; 0]);
    let told = strange(&[DriftKind::Networks]);
    assert_eq!(drift(&told), ["container mysql: it is on other, not on wharf0"]);
    assert!(told.plan().is_empty());
    assert_eq!(drift(&strange(&[DriftKind::Containers])), [""; 0]);
}

#[test]
fn nothing_is_told_of_a_container_that_goes_or_is_made_anew() {
    let told = |wanted: &str| {
        let mut seen = Seen::new(MYSQL, wanted);
        seen.desired.only_told = [DriftKind::Networks].into();
        seen.found("mysql").networks = Some(["other".to_owned()].into());
        drift(&seen)
    };
    assert_eq!(told(MYSQL).len(), 1);
    assert_eq!(told(&MYSQL.replace("status|enabled", "status|disabled")), [""; 0]);
    assert_eq!(told(&MYSQL.replace("status|", "MaxMemory|64|status|")), [""; 0]);
    assert_eq!(told(""), [""; 0]);
}

#[test]
fn forwarding_stays_off_only_where_that_is_told_and_was_on_before() {
    let off = |only_told: OnlyTold, network: ObservedNetwork| {
        let mut seen = Seen::as_of(MYSQL);
        seen.desired.only_told = only_told;
        (seen.observed.forwarding, seen.observed.network) = (false, network);
        let is_set = seen.steps().iter().any(|step| step.contains("ip_forward"));
        (is_set, drift(&seen).len())
    };
    let sysctls = || [DriftKind::Sysctls].into();
    assert_eq!(off([].into(), ObservedNetwork::Right), (true, 0));
    assert_eq!(off(sysctls(), ObservedNetwork::Right), (false, 1));
    assert_eq!(off(sysctls(), ObservedNetwork::Absent), (true, 0));
    assert_eq!(off([DriftKind::Files].into(), ObservedNetwork::Right), (true, 0));
    let mut on = Seen::as_of(MYSQL);
    on.desired.only_told = sysctls();
    assert_eq!(drift(&on), [""; 0]);
}

fn file(kind: FileKind) -> RenderedFile {
    RenderedFile {
        kind,
        target: "/etc/file".into(),
        content: b"new".to_vec(),
        mode: 0o644,
        check: None,
        adjust: None,
    }
}

/// What is done about a file of `kind`, and told.
fn filed(kind: FileKind, only_told: OnlyTold, seen: Option<ObservedFile>) -> (Vec<String>, usize) {
    let mut all = Seen::as_of(MYSQL);
    all.desired.only_told = only_told;
    all.observed.guard = crate::state::ObservedGuard::Loaded(file(kind).hash());
    all.observed.files.extend(seen.map(|seen| ("/etc/file".into(), seen)));
    all.files = vec![file(kind)];
    let plan = all.plan();
    let steps = plan.steps.iter().map(|one| format!("{}: {}", one.step, one.reason)).collect();
    (steps, plan.drift.len())
}

#[test]
fn a_file_that_somebody_has_changed_is_kept_aside_or_left_and_told() {
    let seen = |hash: &str, written: Option<&str>| {
        Some(ObservedFile { hash: hash.to_owned(), written: written.map(str::to_owned) })
    };
    let aside = vec![
        "write /etc/file, keeping what is there as /etc/file.wharf-save: somebody else has changed it"
            .to_owned(),
    ];
    let older = vec!["write /etc/file: records or template have changed".to_owned()];
    let told = || OnlyTold::from([DriftKind::Files]);
    let right = file(FileKind::Names).hash();
    for only_told in [OnlyTold::default(), told()] {
        let of = |file| filed(FileKind::Names, only_told.clone(), file);
        assert_eq!(of(seen("a", Some("a"))), (older.clone(), 0));
        assert_eq!(of(seen("a", None)), (aside.clone(), 0));
        assert_eq!(of(seen(&right, Some("a"))), (vec![], 0));
        assert_eq!(of(seen(&right, Some(&right))), (vec![], 0));
    }
    let changed = || seen("b", Some("a"));
    assert_eq!(filed(FileKind::Names, [].into(), changed()), (aside.clone(), 0));
    assert_eq!(filed(FileKind::Names, told(), changed()), (vec![], 1));
    let other = [DriftKind::Sysctls].into();
    assert_eq!(filed(FileKind::Names, other, changed()), (aside.clone(), 0));
    assert_eq!(filed(FileKind::Guard, told(), changed()), (aside, 0), "the guard is never left");
}

#[test]
fn who_is_asked_for_nothing_gets_no_file() {
    let written = |records: &str, kind: FileKind| {
        let mut seen = Seen::as_of(records);
        seen.files = vec![file(kind)];
        !seen.plan().is_empty()
    };
    let public = BLOG.replace("status|", "WebAlias|blog|access|public|status|");
    let public = format!("{MYSQL}{public}");
    for (kind, without, with) in [
        (FileKind::WebAlias, MYSQL, public.as_str()),
        (FileKind::Ports, MYSQL, public.as_str()),
        (FileKind::Cron, "", MYSQL),
    ] {
        assert!(!written(without, kind), "{kind:?}");
        assert!(written(with, kind), "{kind:?}");
    }
    assert!(!written(MYSQL, FileKind::Names));
    assert!(written("", FileKind::EngineOptions) && written("", FileKind::Guard));
}

#[test]
fn a_service_that_takes_its_file_costs_its_restart() {
    let told = |verb: Verb| {
        let mut seen = Seen::as_of(MYSQL);
        let adjust = Some(Adjust { unit: "httpd".to_owned(), verb });
        seen.files = vec![RenderedFile { adjust, ..file(FileKind::EngineOptions) }];
        seen.plan().to_string()
    };
    let written = "write /etc/file: is not there\n";
    assert_eq!(
        told(Verb::Restart),
        format!(
            "{written}restart service httpd: its file has changed\n  cost: service httpd is down \
             until it has started again\n"
        )
    );
    assert_eq!(
        told(Verb::ReloadOrRestart),
        format!("{written}reload-or-restart service httpd: its file has changed\n")
    );
}

#[test]
fn right_is_what_was_looked_into_and_is_as_its_record_says() {
    let names = |seen: &Seen| seen.given(right).into_iter().collect::<Vec<_>>();
    assert_eq!(names(&looked_into(&[], |_| ())), [(name_of("mysql"), "mysql-id".to_owned())]);
    assert_eq!(names(&looked_into(&[], restarts)), []);
    assert_eq!(names(&Seen::as_of(MYSQL)), [], "nobody has looked");
    let mut other = looked_into(&[], |_| ());
    "v1:other".clone_into(&mut other.found("mysql").hash);
    assert_eq!(names(&other), []);
    let mut secret = looked_into(&[], |found| {
        found.environment.insert("A".to_owned(), Masked::new("b".to_owned()));
    });
    secret.found("mysql").state = Running::Exited;
    assert_eq!(names(&secret), []);
}
