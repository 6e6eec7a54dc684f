// SPDX-License-Identifier: GPL-2.0-or-later

use super::*;
use crate::desired::Rejection;
use crate::reconcile::report::{Failure, Row};

fn row(name: &str) -> Row {
    Row {
        record: name.to_owned(),
        wanted: "running".to_owned(),
        state: "running".to_owned(),
        health: None,
        address: None,
        ports: Vec::new(),
        exposure: None,
        links: Vec::new(),
        routes: Vec::new(),
        image: String::new(),
        status: None,
        held: None,
    }
}

fn troubled(name: &str, why: &str) -> Report {
    Report {
        troubled: [name.to_owned()].into(),
        held: [(name.to_owned(), why.to_owned())].into(),
        containers: vec![row(name)],
        ..Report::default()
    }
}

fn rejected(property: &str) -> Report {
    let rejection = Rejection {
        database: "docker_containers".to_owned(),
        key: "wiki".to_owned(),
        property: Some(property.to_owned()),
        value: Some("99999".to_owned()),
        wrong: "is no port".to_owned(),
        remedy: Some("db docker_containers setprop wiki TCPPort 80".to_owned()),
    };
    Report { rejected: vec![rejection], ..Report::default() }
}

/// What is told after each of `reports`, one word and the record each.
fn told(reports: &[(&Report, &[&str])]) -> Vec<String> {
    let mut known = Known::default();
    let mut words = Vec::new();
    for (report, unwell) in reports {
        let unwell = unwell.iter().map(|name| (*name).to_owned()).collect();
        let (found, now) = alerts(&known, report, true, &unwell);
        known = now;
        let word = |alert: &Alert| {
            format!("{} {}", alert.event.as_str(), alert.record.as_deref().unwrap_or("host"))
        };
        words.push(found.iter().map(word).collect::<Vec<_>>().join(", "));
    }
    words
}

#[test]
fn trouble_is_told_once_and_recovery_when_it_is_over_and_not_before() {
    let ill = troubled("wiki", "ended 3 times");
    let up = Report { containers: vec![row("wiki")], ..Report::default() };
    let gone = Report::default();
    assert_eq!(
        told(&[(&ill, &["wiki"]), (&ill, &["wiki"]), (&up, &["wiki"]), (&up, &[]), (&up, &[])]),
        ["troubled wiki", "", "", "recovered wiki", ""]
    );
    assert_eq!(
        told(&[(&ill, &[]), (&gone, &[]), (&ill, &[])]),
        ["troubled wiki", "", "troubled wiki"]
    );
}

#[test]
fn a_refused_exposure_is_told_from_another_fault_of_a_record() {
    let (port, memory) = (rejected("TCPPort"), rejected("MaxMemory"));
    let nothing = Report::default();
    assert_eq!(told(&[(&port, &[]), (&port, &[])]), ["exposure-refused wiki", ""]);
    assert_eq!(
        told(&[(&memory, &[]), (&nothing, &[]), (&memory, &[])]),
        ["record-rejected wiki", "", "record-rejected wiki"]
    );
}

#[test]
fn an_update_that_was_taken_back_is_told_once_and_without_what_the_container_wrote() {
    let mut report = troubled("wiki", "the replacement failed");
    report.failed.push(Failure {
        step: "replace container wiki".to_owned(),
        record: Some("wiki".to_owned()),
        because: vec![
            "the old one is back: exit code 1; its log ends: password is hunter2".to_owned(),
        ],
        remedy: None,
        is_taken_back: true,
    });
    let (found, _) = alerts(&Known::default(), &report, true, &BTreeSet::new());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].event, Kind::UpdateFailed);
    assert_eq!(found[0].text, "replace container wiki: the old one is back: exit code 1");
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + 60 * minutes).unwrap()
}

fn one(text: &str) -> Vec<Alert> {
    vec![alert(Kind::DriftRepaired, Some("wiki"), text, None)]
}

#[test]
fn of_the_same_one_an_hour_is_told_and_the_rest_is_counted() {
    let mut limit = Limit::default();
    assert_eq!(limit.pass(one("first"), at(0)).len(), 1);
    for minute in 1..=59 {
        assert_eq!(limit.pass(one("again"), at(minute)), Vec::new());
    }
    let other = vec![alert(Kind::Troubled, Some("wiki"), "x", None)];
    assert_eq!(limit.pass(other, at(59)).len(), 1, "another kind waits for nothing");
    let digest = limit.pass(Vec::new(), at(60));
    assert_eq!((digest[0].text.as_str(), digest[0].more), ("again", 58));
    assert_eq!(limit.pass(one("soon"), at(61)), Vec::new(), "the digest counts too");
    let next = limit.pass(one("late"), at(125));
    assert_eq!((next[0].text.as_str(), next[0].more), ("late", 1));
    assert_eq!(limit.pass(Vec::new(), at(190)), Vec::new());
    assert_eq!(limit, Limit::default(), "nothing is kept for ever");
}

#[test]
fn what_was_put_off_and_is_not_so_any_more_is_not_told() {
    let of = |event: Kind| Alert { event, ..one("x").remove(0) };
    let mut limit = Limit::default();
    for (minute, event, told) in [
        (0, Kind::Troubled, 1),
        (1, Kind::Recovered, 1),
        (5, Kind::Troubled, 0),
        (6, Kind::Recovered, 0),
        (7, Kind::Troubled, 0),
    ] {
        assert_eq!(limit.pass(vec![of(event)], at(minute)).len(), told, "minute {minute}");
    }
    let later = limit.pass(Vec::new(), at(62));
    assert_eq!(later.iter().map(|alert| alert.event).collect::<Vec<_>>(), [Kind::Troubled]);
}

#[test]
fn a_clock_that_was_set_back_silences_nobody() {
    let mut limit = Limit::default();
    limit.pass(one("of tomorrow"), at(24 * 60));
    assert_eq!(limit.pass(one("now"), at(0)).len(), 1);
    assert_eq!(limit.pass(one("now"), at(1)), Vec::new());
}

#[test]
fn values_are_data_and_no_headers() {
    let evil = "wiki\nBcc: all@example.org\n\nbody ä";
    let alerts =
        [alert(Kind::RecordRejected, Some(evil), "text\n.\nTo: x", Some("a\nb".to_owned()))];
    let message = send::message("admin", "host\nX-Evil: 1", &alerts);
    let (head, body) = message.split_once("\n\n").unwrap();
    assert_eq!(head.lines().count(), 6, "{message}");
    assert!(head.lines().all(|line| line.len() <= 78 && line.is_ascii()), "{message}");
    assert_eq!(body.lines().count(), 2, "{message}");
    assert!(
        head.starts_with("To: admin\nSubject: wharf on host?X-Evil: 1: wiki?Bcc: all"),
        "{head}"
    );
}

#[test]
fn what_was_told_outlives_the_daemon_and_a_damaged_file_is_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("alerts.json");
    let (sender, mut parcels) = mpsc::channel(1);
    let notify = Notify { mail: Some("admin".to_owned()), command: None };
    let ill = troubled("wiki", "ended");
    let tell = |desk: &mut Desk, notify: &Notify| desk.take(&ill, notify, true, &BTreeSet::new());

    let mut desk = Desk::new(file.clone(), sender.clone());
    tell(&mut desk, &Notify::default());
    assert!(!file.exists(), "nobody is told, nothing is kept");
    tell(&mut desk, &notify);
    assert_eq!(parcels.try_recv().unwrap().alerts.len(), 1);
    tell(&mut Desk::new(file.clone(), sender.clone()), &notify);
    assert!(parcels.try_recv().is_err(), "told before the restart");
    file::replace(&file, b"{", 0o600).unwrap();
    tell(&mut Desk::new(file, sender), &notify);
    assert_eq!(parcels.try_recv().unwrap().alerts.len(), 1);
}
