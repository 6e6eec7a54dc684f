// SPDX-License-Identifier: GPL-2.0-or-later

//! The report as text. Pure.

use std::fmt::Write as _;

use crate::desired::Rejection;
use crate::reconcile::Report;
use crate::reconcile::report::{PlanLine, Row};

/// What a pass would do.
pub(super) fn plan(report: &Report) -> String {
    let mut text = String::new();
    for assignment in &report.assigned {
        line(
            &mut text,
            &format!("give record {} the address {}", assignment.record, assignment.address),
        );
    }
    for step in &report.plan {
        line(&mut text, &planned(step));
        if !step.cost.is_nothing() {
            line(&mut text, &format!("  cost: {}", step.cost));
        }
    }
    holds(&mut text, report);
    drift(&mut text, report);
    interrupted(&mut text, report);
    for notice in &report.notices {
        line(&mut text, &format!("note: {notice}"));
    }
    let steps = report.plan.len();
    let all = if steps == 0 {
        "Nothing to do.".to_owned()
    } else {
        format!("{steps} to do, nothing was changed.")
    };
    line(&mut text, &all);
    text
}

pub(super) fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn planned(step: &PlanLine) -> String {
    format!("{}: {}", step.text, step.reason)
}

fn holds(text: &mut String, report: &Report) {
    for (name, why) in &report.held {
        line(text, &format!("hold {name}: {why}"));
    }
}

fn drift(text: &mut String, report: &Report) {
    for drift in &report.drift {
        line(text, &format!("drift: {drift}"));
    }
}

fn interrupted(text: &mut String, report: &Report) {
    for step in &report.interrupted {
        line(text, &format!("note: was interrupted: {step}; looked at again"));
    }
}

/// What a pass has done; without the steps, when each was told when it was done.
pub(super) fn applied(report: &Report, has_told: bool) -> String {
    let mut text = done(report, has_told);
    for step in &report.blocked {
        line(&mut text, &format!("not tried: {step}"));
    }
    interrupted(&mut text, report);
    holds(&mut text, report);
    drift(&mut text, report);
    let (done, failed) = (report.done.len(), report.failed.len());
    let all = match (done, failed) {
        (0, 0) => "Nothing to do.".to_owned(),
        (_, 0) => format!("{done} done."),
        _ => format!("{done} done, {failed} failed, {} left.", report.remaining.len()),
    };
    line(&mut text, &all);
    text
}

/// What a pass has done that was ended before its end, and what it has left.
pub(super) fn stopped(report: &Report, has_told: bool) -> String {
    let mut text = done(report, has_told);
    let left = report.left();
    for step in &left {
        line(&mut text, &format!("left: {step}"));
    }
    interrupted(&mut text, report);
    holds(&mut text, report);
    let (done, failed, left) = (report.done.len(), report.failed.len(), left.len());
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    line(
        &mut text,
        &format!("Stopped: {done} done{failed}, {left} left; the next pass goes on from here."),
    );
    text
}

fn done(report: &Report, has_told: bool) -> String {
    let mut text = String::new();
    for assignment in &report.assigned {
        line(
            &mut text,
            &format!("gave record {} the address {}", assignment.record, assignment.address),
        );
    }
    for step in report.done.iter().filter(|_| !has_told) {
        line(&mut text, &format!("done: {step}"));
    }
    text
}

/// Each record and its container, then what is foreign, then the host.
pub(super) fn status(report: &Report) -> String {
    let mut rows = vec![
        ["RECORD", "WANTED", "STATE", "HEALTH", "ADDRESS", "PORTS", "EXPOSURE", "LINK", "ROUTE"]
            .map(str::to_owned),
    ];
    rows.extend(report.containers.iter().map(cells));
    let mut text = table(&rows);
    for foreign in &report.foreign {
        let ports = if foreign.ports.is_empty() {
            String::new()
        } else {
            format!(", {}", foreign.ports.join(" "))
        };
        line(
            &mut text,
            &format!("foreign: {} ({}, {}{ports})", foreign.name, foreign.image, foreign.status),
        );
    }
    let bridge = report.host.bridge.as_deref().unwrap_or("none");
    let forwarding = if report.host.forwarding { "on" } else { "off" };
    let local = report.host.local_networks.join(" ");
    let links = if report.host.links == "open" { ", links open" } else { "" };
    line(
        &mut text,
        &format!(
            "host: bridge {bridge}, forwarding {forwarding}, guard {}{links}, local networks {local}",
            report.host.guard
        ),
    );
    if report.unapplied {
        line(
            &mut text,
            "note: the records were changed since they were applied last: wharf apply (or signal-event docker-update)",
        );
    }
    holds(&mut text, report);
    drift(&mut text, report);
    interrupted(&mut text, report);
    for notice in &report.notices {
        line(&mut text, &format!("note: {notice}"));
    }
    if report.is_as_desired() {
        line(&mut text, "As desired.");
    } else {
        for step in &report.remaining {
            line(&mut text, &format!("to do: {}", planned(step)));
        }
    }
    text
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// The same in colours: red for what is at fault, yellow for what waits, green when all is well.
pub(super) fn painted(report: &Report) -> String {
    let of_row = |row: &Row| {
        let is_down = row.is_wanted() && row.state != "running";
        let is_ill = row.health == Some("unhealthy") || report.troubled.contains(&row.record);
        match (is_down || is_ill || !row.is_in_force(), row.held.is_some()) {
            (true, _) => RED,
            (false, true) => YELLOW,
            (false, false) => "",
        }
    };
    let rest = |text: &str| match text.split([':', ' ']).next() {
        Some("As") => GREEN,
        Some("to" | "hold" | "drift" | "note") => YELLOW,
        Some(_) | None => "",
    };
    let mut text = String::new();
    for (number, plain) in status(report).lines().enumerate() {
        let row = number.checked_sub(1).and_then(|number| report.containers.get(number));
        let color = match (number, row) {
            (0, _) => BOLD,
            (_, Some(row)) => of_row(row),
            (_, None) => rest(plain),
        };
        let end = if color.is_empty() { "" } else { PLAIN };
        line(&mut text, &format!("{color}{plain}{end}"));
    }
    text
}

fn cells(row: &Row) -> [String; 9] {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        row.record.clone(),
        row.wanted.clone(),
        row.state.clone(),
        or_dash(row.health.unwrap_or_default().to_owned()),
        or_dash(row.address.clone().unwrap_or_default()),
        or_dash(row.ports.join(" ")),
        or_dash(row.exposure.clone().unwrap_or_default()),
        or_dash(row.links.join(" ")),
        or_dash(row.routes.join(" ")),
    ]
}

/// Columns as wide as their widest cell, two blanks between, none at the end of a line.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0_usize; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut shown = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a String cannot fail.
            write!(shown, "{cell:<width$}  ").ok();
        }
        line(&mut text, shown.trim_end());
    }
    text
}

/// Place, cause and what would mend it, a line each.
pub(super) fn rejection(rejection: &Rejection) -> String {
    let mut text = rejection.place();
    text.push_str("\n  because: ");
    text.push_str(&rejection.wrong);
    if let Some(remedy) = &rejection.remedy {
        text.push_str("\n  hint: ");
        text.push_str(remedy);
    }
    text
}

/// Everything that is wrong, each with its causes and what would mend it.
pub(super) fn faults(report: &Report) -> String {
    let mut text = String::new();
    for one in &report.rejected {
        line(&mut text, &format!("error: {}", rejection(one)));
    }
    for name in &report.troubled {
        line(&mut text, &format!("error: docker_containers record '{name}'"));
        if let Some(why) = report.held.get(name) {
            line(&mut text, &format!("  because: {why}"));
        }
    }
    for failure in &report.failed {
        let record = failure.record.as_deref().map(|record| format!(" (record '{record}')"));
        line(&mut text, &format!("error: {}{}", failure.step, record.unwrap_or_default()));
        for cause in &failure.because {
            line(&mut text, &format!("  because: {cause}"));
        }
        if let Some(remedy) = &failure.remedy {
            line(&mut text, &format!("  hint: {remedy}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
            image: String::new(),
            status: None,
            held: None,
        }
    }

    #[test]
    fn what_is_down_is_red_and_the_words_are_those_without_colours() {
        let containers = vec![row("shop", "running"), row("wiki", "exited")];
        let mut report = Report { containers, unapplied: true, ..Report::default() };
        let colored = painted(&report);
        let lines: Vec<&str> = colored.lines().collect();
        assert!(lines[0].starts_with(BOLD) && lines[1].starts_with("shop "), "{colored}");
        assert!(lines[2].starts_with(&format!("{RED}wiki ")) && lines[2].ends_with(PLAIN));
        assert!(colored.contains(&format!("{YELLOW}note: the records were changed")), "{colored}");
        assert!(lines.last().unwrap().starts_with(GREEN), "{colored}");
        let mut plain = colored.clone();
        for color in [BOLD, RED, GREEN, YELLOW, PLAIN] {
            plain = plain.replace(color, "");
        }
        assert_eq!(plain, status(&report));
        report.unapplied = false;
        assert!(!status(&report).contains("changed"));
    }
}
