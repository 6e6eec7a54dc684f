// SPDX-License-Identifier: GPL-2.0-or-later

//! Why a container is as it is: from its record to its last words, the first fault named. Pure.

use serde::Serialize;

use super::report::{Report, Row};
use crate::state::trouble::Autopsy;

/// The chain from a record to what its container does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The record.
    pub record: String,
    /// What was found, from cause to effect.
    pub links: Vec<Link>,
    /// The first fault of the chain; `None` when all is as the record says.
    pub because: Option<String>,
    /// A command that would mend it, or tell more.
    pub remedy: Option<String>,
    /// The last lines that the container wrote.
    pub last_lines: Vec<String>,
}

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What it is about: record, image, link, plan, container, health, port, route.
    pub about: &'static str,
    /// What is so.
    pub text: String,
    /// Whether this is not as it should be.
    pub is_fault: bool,
}

/// The chain as it grows; the first fault is kept with its remedy.
struct Chain {
    why: Why,
}

impl Chain {
    fn fine(&mut self, about: &'static str, text: impl Into<String>) {
        self.why.links.push(Link { about, text: text.into(), is_fault: false });
    }

    fn fault(&mut self, about: &'static str, text: impl Into<String>, remedy: Option<String>) {
        let text = text.into();
        if self.why.because.is_none() {
            self.why.because = Some(text.clone());
            self.why.remedy = remedy;
        }
        self.why.links.push(Link { about, text, is_fault: true });
    }
}

/// Why the container of `record` is as `report`, of a pass that only looked, and `autopsy` say.
pub fn why(record: &str, report: &Report, autopsy: &Autopsy) -> Why {
    let mut chain = Chain {
        why: Why {
            record: record.to_owned(),
            links: Vec::new(),
            because: None,
            remedy: None,
            last_lines: autopsy.last_lines.clone(),
        },
    };
    of_record(&mut chain, record, report);
    let Some(row) = report.containers.iter().find(|row| row.record == record) else {
        return chain.why;
    };
    if !row.image.is_empty() {
        chain.fine("image", row.image.as_str());
    }
    of_links(&mut chain, row, report);
    of_plan(&mut chain, row, report);
    of_container(&mut chain, row, autopsy);
    of_doors(&mut chain, row);
    chain.why
}

fn of_record(chain: &mut Chain, record: &str, report: &Report) {
    let rejected = report.rejected.iter().filter(|rejection| rejection.key == record);
    let rejected: Vec<_> = rejected.collect();
    for rejection in &rejected {
        chain.fault("record", rejection.to_string(), rejection.remedy.clone());
    }
    let row = report.containers.iter().find(|row| row.record == record);
    if !rejected.is_empty() {
        return;
    }
    match row {
        Some(row) => chain.fine("record", format!("wanted: {}", row.wanted)),
        None => chain.fault(
            "record",
            format!("nothing follows from record '{record}'"),
            Some(format!("db docker_containers show {record}")),
        ),
    }
}

fn of_links(chain: &mut Chain, row: &Row, report: &Report) {
    for link in &row.links {
        let target = link.split_once(':').map_or(link.as_str(), |(target, _)| target);
        let found = report.containers.iter().find(|row| row.record == target);
        let state = found.map_or("absent", |found| found.state.as_str());
        let health = found.and_then(|found| found.health).unwrap_or_default();
        let text = format!("{target} is {state} {health}").trim_end().to_owned();
        if state == "running" && health != "unhealthy" {
            chain.fine("link", text);
        } else {
            chain.fault("link", text, Some(format!("wharf why {target}")));
        }
    }
}

fn of_plan(chain: &mut Chain, row: &Row, report: &Report) {
    if let Some(held) = &row.held {
        let remedy = if report.troubled.contains(&row.record) {
            Some(format!("wharf retry {}", row.record))
        } else {
            None
        };
        chain.fault("plan", format!("it stays as it is: {held}"), remedy);
    }
    let of_it = |step: &&super::report::PlanLine| step.record.as_deref() == Some(&row.record);
    for step in report.remaining.iter().filter(of_it) {
        let text = format!("{}: {}", step.text, step.reason);
        chain.fault("plan", text, Some("wharf apply".to_owned()));
    }
    for failure in report.failed.iter().filter(|one| one.record.as_deref() == Some(&row.record)) {
        let text = format!("{}: {}", failure.step, failure.because.join(": "));
        chain.fault("plan", text, failure.remedy.clone());
    }
}

fn of_container(chain: &mut Chain, row: &Row, autopsy: &Autopsy) {
    let status = row.status.as_deref().filter(|status| *status != row.state);
    let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
    let code = autopsy.exit_code.map(|code| format!(", exit code {code}{}", meaning(code)));
    let code = code.unwrap_or_default();
    let memory = if autopsy.is_out_of_memory {
        ", killed by the kernel for want of memory (see MaxMemory)"
    } else {
        ""
    };
    let text = format!("{}{status}{code}{memory}", row.state);
    let should_run = row.wanted.starts_with("running");
    if should_run && row.state != "running" {
        chain.fault("container", text, Some(format!("wharf logs {}", row.record)));
    } else {
        chain.fine("container", text);
    }
    match row.health {
        Some("unhealthy") => chain.fault(
            "health",
            "its health check fails",
            Some(format!("wharf logs {}", row.record)),
        ),
        Some(health) => chain.fine("health", health),
        None => {}
    }
}

fn of_doors(chain: &mut Chain, row: &Row) {
    if !row.ports.is_empty() {
        let exposure = row.exposure.as_deref().unwrap_or("private");
        let text = format!("{}, {exposure}", row.ports.join(" "));
        if exposure.ends_with("(not in force)") {
            chain.fault("port", text, Some("wharf apply".to_owned()));
        } else {
            chain.fine("port", text);
        }
    }
    for route in &row.routes {
        chain.fine("route", route.as_str());
    }
}

/// What a shell or the engine means by an exit code. Source: `signal(7)`, the exit codes of
/// `docker run`.
const fn meaning(code: i64) -> &'static str {
    match code {
        125 => " (the engine could not start it)",
        126 => " (its program cannot be run)",
        127 => " (its program is not there)",
        134 => " (SIGABRT)",
        137 => " (SIGKILL)",
        139 => " (SIGSEGV)",
        143 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Rejection;

    fn row(record: &str, state: &str) -> Row {
        Row {
            record: record.to_owned(),
            wanted: "running".to_owned(),
            state: state.to_owned(),
            health: None,
            address: None,
            ports: Vec::new(),
            exposure: None,
            links: Vec::new(),
            routes: Vec::new(),
            image: "demo".to_owned(),
            status: None,
            held: None,
        }
    }

    fn faults(why: &Why) -> Vec<&str> {
        why.links.iter().filter(|link| link.is_fault).map(|link| link.about).collect()
    }

    #[test]
    fn what_is_well_has_no_fault_and_no_remedy() {
        let report = Report { containers: vec![row("a", "running")], ..Report::default() };
        let why = why("a", &report, &Autopsy::default());
        assert_eq!((why.because, why.remedy), (None, None));
    }

    #[test]
    fn the_first_fault_of_the_chain_counts() {
        let mut blog = row("blog", "exited");
        blog.links = vec!["mysql:db".to_owned()];
        let report = Report { containers: vec![row("mysql", "absent"), blog], ..Report::default() };
        let autopsy =
            Autopsy { exit_code: Some(137), is_out_of_memory: true, ..Default::default() };
        let why = why("blog", &report, &autopsy);
        assert_eq!(why.because.as_deref(), Some("mysql is absent"));
        assert_eq!(why.remedy.as_deref(), Some("wharf why mysql"));
        assert_eq!(faults(&why), ["link", "container"]);
        let container = why.links.iter().find(|link| link.about == "container").unwrap();
        assert!(
            container.text.contains("exit code 137 (SIGKILL), killed by the kernel"),
            "{why:?}"
        );
    }

    #[test]
    fn a_rejected_record_is_told_with_its_remedy() {
        let rejection = Rejection {
            database: "docker_containers".to_owned(),
            key: "a".to_owned(),
            property: Some("TCPPort".to_owned()),
            value: Some("x".to_owned()),
            wrong: "is no port".to_owned(),
            remedy: Some("db docker_containers setprop a TCPPort 80".to_owned()),
        };
        let report = Report { rejected: vec![rejection.clone()], ..Report::default() };
        let why = why("a", &report, &Autopsy::default());
        assert_eq!(why.because, Some(rejection.to_string()));
        assert_eq!(why.remedy, rejection.remedy);
    }

    #[test]
    fn one_that_needs_a_person_is_retried_by_hand() {
        let mut held = row("a", "exited");
        held.held = Some("it ended five times".to_owned());
        let mut report = Report { containers: vec![held], ..Report::default() };
        assert_eq!(why("a", &report, &Autopsy::default()).remedy, None);
        report.troubled.insert("a".to_owned());
        let why = why("a", &report, &Autopsy::default());
        assert_eq!(why.because.as_deref(), Some("it stays as it is: it ended five times"));
        assert_eq!(why.remedy.as_deref(), Some("wharf retry a"));
    }
}
