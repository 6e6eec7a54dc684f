// SPDX-License-Identifier: GPL-2.0-or-later

//! Who comes to a port of the host from outside, or from the host itself.

use super::record::Subject;
use super::{Source, Verdict, is_guarded, port_of, without_repeats};
use crate::reconcile::exposure::{Opening, Who};
use crate::reconcile::survey::Survey;
use crate::state::exposure::HostPort;

/// Whether `source` reaches `port` of a record, once for all families or for each by itself.
pub(super) fn of_record(subject: &Subject<'_>, port: HostPort, source: &Source) -> Vec<Verdict> {
    let rows: Vec<&Opening> =
        subject.openings.iter().copied().filter(|one| port_of(one) == port).collect();
    if rows.is_empty() {
        return vec![nobody(subject, port, source)];
    }
    let both: Vec<Verdict> = rows
        .iter()
        .map(|row| {
            let mut verdict = of_opening(subject.survey, row, source);
            if !matches!(source, Source::Host) {
                let mut because = words(subject, row);
                because.append(&mut verdict.because);
                verdict.because = because;
                verdict.change = Some(change(subject, row, source, verdict.can));
            }
            verdict
        })
        .collect();
    without_repeats(both)
}

fn nobody(subject: &Subject<'_>, port: HostPort, source: &Source) -> Verdict {
    let (why, change) = subject.why_down().unwrap_or_else(|| {
        ("its container runs and does not have the port yet".to_owned(), "wharf apply".to_owned())
    });
    Verdict {
        from: source.words(),
        to: port.to_string(),
        can: false,
        because: vec!["nobody answers at it".to_owned(), why],
        change: Some(change),
    }
}

/// Whether `source` gets to `row`, by what the guard and the bound address say.
pub(super) fn of_opening(survey: &Survey, row: &Opening, source: &Source) -> Verdict {
    let can = match source {
        Source::Host => true,
        Source::Internet | Source::Container(_) => row.reach.who == Who::Internet,
        Source::Lan | Source::Address(_, true) => row.reach.who >= Who::Local,
        Source::Address(address, false) => row.reach.admits(*address),
    };
    let mut because = Vec::new();
    match source {
        Source::Host => because.push("this host reaches its own ports".to_owned()),
        Source::Container(name) => because.push(format!(
            "'{name}' is none of wharf's, so it counts as somebody outside who is in no local network"
        )),
        Source::Internet | Source::Lan | Source::Address(..) => {}
    }
    if !matches!(source, Source::Host) {
        because.push(format!("{}: reached by {} ({})", row.family.as_str(), row.reach, row.rule));
    }
    if let Source::Address(_, true) | Source::Lan = source
        && can
        && is_guarded(survey)
        && row.reach.who < Who::Internet
    {
        because.push(
            "a local source counts only when it comes by the interface that leads back to it"
                .to_owned(),
        );
    }
    Verdict {
        from: source.words(),
        to: port_of(row).to_string(),
        can,
        because,
        change: row.remedy.clone().filter(|_| can && !matches!(source, Source::Host)),
    }
}

/// What the record says that matters for `row`.
fn words(subject: &Subject<'_>, row: &Opening) -> Vec<String> {
    let mut said = vec![subject.says("access", "private")];
    if row.reach.who >= Who::Listed {
        let lists = ["AllowHosts", "DenyHosts"].into_iter();
        let set = lists.filter(|property| subject.get(property).is_some());
        said.extend(set.map(|property| subject.says(property, "nobody in particular")));
    }
    said
}

/// What would make it the other way.
fn change(subject: &Subject<'_>, row: &Opening, source: &Source, can: bool) -> String {
    if !is_guarded(subject.survey) || row.unasked {
        return "wharf apply".to_owned();
    }
    let access = subject.get("access").unwrap_or("private");
    let is_near = matches!(source, Source::Lan | Source::Address(_, true));
    match (is_near, can) {
        (true, true) => subject.set("access", "localhost"),
        (true, false) if access == "localhost" => subject.set("access", "private"),
        (true, false) => "config setprop docker LocalNetworks NETWORK/PREFIX".to_owned(),
        (false, true) => subject.set("access", "private"),
        (false, false) if access != "public" => subject.set("access", "public"),
        (false, false) => listed(subject, row, source),
    }
}

/// A public port that is closed to somebody: by its lists, or because a pass is due.
fn listed(subject: &Subject<'_>, row: &Opening, source: &Source) -> String {
    let is_listed = row.reach.who == Who::Listed;
    if let Source::Address(address, _) = source {
        if row.reach.except.iter().any(|network| network.contains(address)) {
            let list = subject.get("DenyHosts").unwrap_or("NETWORKS");
            return format!("take it out of {}", subject.set("DenyHosts", list));
        }
        if let Some(list) = subject.get("AllowHosts").filter(|_| is_listed) {
            return subject.set("AllowHosts", &format!("{list},{address}"));
        }
    } else if is_listed {
        return format!("db docker_containers delprop {} AllowHosts", subject.name);
    }
    "wharf apply".to_owned()
}
