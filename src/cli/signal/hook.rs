// SPDX-License-Identifier: GPL-2.0-or-later

//! The pass of an event: for the events of ours, and for every other one that a record names.

use crate::cli::progress::Display;
use crate::cli::{Desk, Failed, complain, complain_about, make_pass, overrides, print, show};
use crate::db::value;
use crate::db::{DbName, Records};
use crate::desired::hook;
use crate::event::Concerns;
use crate::host;
use crate::reconcile::{Report, Wish};

use super::run::{Run, Said, full};

/// Database `name` as it is now.
pub(super) fn records(desk: &Desk, name: &str) -> Result<Records, crate::db::Error> {
    let name = DbName::try_from(name)
        .map_err(|bad| crate::db::Error::Foreign { path: name.into(), found: bad.to_string() })?;
    crate::db::open(&desk.store, &desk.audit)?.read(&name)
}

/// Whether the event makes a pass.
pub(super) fn wants_pass(run: &Run<'_>) -> bool {
    let is_named = || {
        records(run.desk, DbName::CONTAINERS)
            .is_ok_and(|records| !hook::named(&records, &run.event.name).is_empty())
    };
    run.event.is_own() || is_named()
}

/// Starts and stops what the records say for this event, and makes a pass.
pub(super) fn reconcile(run: &Run<'_>) -> Said {
    let containers = match records(run.desk, DbName::CONTAINERS) {
        Ok(containers) => containers,
        Err(error) => return Said::fault(full(&error)),
    };
    let hooks = hook::named(&containers, &run.event.name);
    let mut said = Said::nothing();
    if !hooks.is_empty() {
        let written = overrides(run.desk).and_then(|mut overrides| {
            hook::into_overrides(&hooks, &containers, &mut overrides);
            host::overrides::write(&run.desk.overrides_file(), &overrides)
        });
        if let Err(error) = written {
            return Said::fault(full(&error));
        }
        let line = |(name, hook): (&value::ContainerName, &hook::Hook)| match hook {
            hook::Hook::Start => format!("{name} is started by its StartOn"),
            hook::Hook::Stop => format!("{name} is stopped by its StopOn"),
        };
        said.lines.extend(hooks.iter().map(line));
    }
    let Some(result) = make_pass(run.root, &Wish::default(), run.wake.stop(), Display::Silent)
    else {
        return Said::fault("there was no pass".to_owned());
    };
    match result {
        Ok(report) => tell(run, &containers, &report, said),
        Err(failed) => {
            let (text, remedy) = match &failed {
                Failed::Pass(error) => (error as &dyn std::error::Error, error.remedy()),
                Failed::Lock(error) => (error as &dyn std::error::Error, None),
                Failed::Stopped => return Said::fault("was stopped before its pass".to_owned()),
            };
            complain(text, remedy.as_deref());
            said.lines.push(full(text));
            said.is_done = false;
            said
        }
    }
}

/// What the pass has done: into the log, and for an event of ours to whoever signalled it.
fn tell(run: &Run<'_>, containers: &Records, report: &Report, mut said: Said) -> Said {
    said.lines.push(show::applied(report, false));
    said.lines.push(show::faults(report));
    if run.event.is_own() {
        print(&show::applied(report, false));
    }
    complain_about(report);
    // A fault of somebody else is told, and is no failure of what the event is about.
    let about = match run.event.concerns() {
        Ok(Concerns::Existing(key) | Concerns::Gone(key)) => value::container_name(key).ok(),
        Ok(Concerns::All) | Err(_) => None,
    };
    said.is_done = !about.map_or_else(
        || report.has_faults(),
        |name| report.has_faults_about(&hook::with_links(containers, &name)),
    );
    said
}
