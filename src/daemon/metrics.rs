// SPDX-License-Identifier: GPL-2.0-or-later

//! Passes in numbers, in the text form of Prometheus.
//!
//! Numbers without names of records: everybody who reads the metrics of a host sees them. To add one: a
//! field, a line in [`Metrics::new`], and who counts it. Names and units are those of Prometheus'
//! [naming](https://prometheus.io/docs/practices/naming/).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::host::file;
use crate::plan::MENDING;
use crate::reconcile::Report;
use crate::state::drift::DriftKind;

/// How a pass ended, for the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is as the records say.
    AsDesired,
    /// Something is left, or is at fault.
    Undone,
    /// The engine did not answer.
    NoEngine,
    /// There was none.
    Failed,
}

impl Ended {
    const ALL: [Self; 4] = [Self::AsDesired, Self::Undone, Self::NoEngine, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AsDesired => "as_desired",
            Self::Undone => "undone",
            Self::NoEngine => "no_engine",
            Self::Failed => "failed",
        }
    }
}

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: IntCounterVec,
    steps: IntCounterVec,
    repaired: IntCounter,
    exits: IntCounter,
    engine_errors: IntCounter,
    containers: IntGaugeVec,
    drift: IntGaugeVec,
    rejected: IntGauge,
    remaining: IntGauge,
    not_in_force: IntGauge,
    guard: IntGauge,
    at: Gauge,
    took: Gauge,
    open: Open,
}

/// What is not as desired; of each record as the last pass said that was about it.
#[derive(Debug, Default)]
struct Open {
    held: BTreeSet<String>,
    troubled: BTreeSet<String>,
    /// Steps that are left, by record; the host's are of none.
    remaining: BTreeMap<Option<String>, usize>,
}

impl Open {
    fn take(&mut self, report: &Report) {
        let steps = report.plan.iter().chain(&report.remaining);
        let of_steps = steps.filter_map(|line| line.record.as_ref());
        let about: BTreeSet<&String> = report.only.iter().chain(of_steps).collect();
        let is_other = |name: &String| !report.only.is_empty() && !about.contains(name);
        self.held.retain(is_other);
        self.held.extend(report.held.keys().cloned());
        self.troubled.retain(is_other);
        self.troubled.extend(report.troubled.iter().cloned());
        self.remaining.retain(|name, _| name.as_ref().is_some_and(is_other));
        for line in &report.remaining {
            *self.remaining.entry(line.record.clone()).or_default() += 1;
        }
    }
}

impl Metrics {
    /// Nothing has happened yet.
    ///
    /// # Errors
    ///
    /// A name is not one that Prometheus takes.
    pub fn new(begun: Timestamp) -> prometheus::Result<Self> {
        let all = Self {
            registry: Registry::new(),
            passes: IntCounterVec::new(
                Opts::new("wharf_passes_total", "Passes since the start, by how they ended."),
                &["result"],
            )?,
            steps: IntCounterVec::new(
                Opts::new("wharf_steps_total", "Steps of passes since the start."),
                &["step", "result"],
            )?,
            repaired: IntCounter::new(
                "wharf_drift_repaired_total",
                "Changes by others that were taken back since the start.",
            )?,
            exits: IntCounter::new(
                "wharf_container_exits_total",
                "Ends of containers of records that the engine told of since the start.",
            )?,
            engine_errors: IntCounter::new(
                "wharf_engine_errors_total",
                "Calls that the engine did not answer, or refused, since the start.",
            )?,
            containers: IntGaugeVec::new(
                Opts::new(
                    "wharf_containers",
                    "Containers after the last pass that are so; one may be several of these.",
                ),
                &["state"],
            )?,
            drift: IntGaugeVec::new(
                Opts::new("wharf_drift", "Changes by others that are left, as records want it."),
                &["kind"],
            )?,
            rejected: IntGauge::new("wharf_records_rejected", "Records that are wrong.")?,
            remaining: IntGauge::new(
                "wharf_steps_remaining",
                "Steps that the last pass has left undone.",
            )?,
            not_in_force: IntGauge::new(
                "wharf_exposure_not_in_force",
                "Containers whose access is not kept by the packet filter.",
            )?,
            guard: IntGauge::new(
                "wharf_guard_loaded",
                "Whether the kernel holds the packet filter as it was loaded.",
            )?,
            at: Gauge::new("wharf_last_pass_timestamp_seconds", "When the last pass ended.")?,
            took: Gauge::new("wharf_last_pass_duration_seconds", "How long it took.")?,
            open: Open::default(),
        };
        all.register(begun)?;
        Ok(all)
    }

    fn register(&self, begun: Timestamp) -> prometheus::Result<()> {
        let build = Opts::new("wharf_build_info", "Always 1; the version is in the label.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        let start = Gauge::new("wharf_start_time_seconds", "When wharfd began.")?;
        start.set(seconds(begun));
        // What has not happened yet is 0, and not missing: a rate begins at the first one.
        for result in Ended::ALL {
            self.passes.with_label_values(&[result.as_str()]).reset();
        }
        let all: [Box<dyn Collector>; 15] = [
            Box::new(build),
            Box::new(start),
            Box::new(self.passes.clone()),
            Box::new(self.steps.clone()),
            Box::new(self.repaired.clone()),
            Box::new(self.exits.clone()),
            Box::new(self.engine_errors.clone()),
            Box::new(self.containers.clone()),
            Box::new(self.drift.clone()),
            Box::new(self.rejected.clone()),
            Box::new(self.remaining.clone()),
            Box::new(self.not_in_force.clone()),
            Box::new(self.guard.clone()),
            Box::new(self.at.clone()),
            Box::new(self.took.clone()),
        ];
        all.into_iter().try_for_each(|one| self.registry.register(one))
    }

    /// A container has ended.
    pub fn exited(&self) {
        self.exits.inc();
    }

    /// How many errors the engine has given so far.
    pub fn engine_errors(&self, count: u64) {
        self.engine_errors.inc_by(count.saturating_sub(self.engine_errors.get()));
    }

    /// Somebody else's change that no step tells of was taken back.
    pub fn repaired(&self) {
        self.repaired.inc();
    }

    /// A pass has ended at `at`.
    pub fn passed(
        &mut self,
        result: Ended,
        at: Timestamp,
        took: Duration,
        report: Option<&Report>,
    ) {
        self.passes.with_label_values(&[result.as_str()]).inc();
        self.at.set(seconds(at));
        self.took.set(took.as_secs_f64());
        let Some(report) = report else { return };
        for ((step, cause, is_done), count) in &report.tally {
            let result = if *is_done { "done" } else { "failed" };
            self.steps.with_label_values(&[*step, result]).inc_by(*count);
            if *is_done && MENDING.contains(cause) {
                self.repaired.inc_by(*count);
            }
        }
        // Of a pass that could not look at the end, nothing is known: what was before stays.
        if report.is_seen() {
            self.open.take(report);
            self.count(report);
        }
    }

    fn count(&self, report: &Report) {
        let rows = &report.containers;
        let state = |name: &str, count: usize| {
            self.containers.with_label_values(&[name]).set(number(count));
        };
        let is =
            |health: &'static str| rows.iter().filter(|row| row.health == Some(health)).count();
        state("recorded", rows.len());
        state("desired", rows.iter().filter(|row| row.is_wanted()).count());
        state("running", rows.iter().filter(|row| row.state == "running").count());
        state("healthy", is("healthy"));
        state("unhealthy", is("unhealthy"));
        state("held", self.open.held.len());
        state("troubled", self.open.troubled.len());
        for kind in DriftKind::ALL {
            let count = report.drift.iter().filter(|drift| drift.kind == kind).count();
            self.drift.with_label_values(&[kind.as_str()]).set(number(count));
        }
        self.rejected.set(number(report.rejected.len()));
        self.remaining.set(number(self.open.remaining.values().sum()));
        self.not_in_force.set(number(rows.iter().filter(|row| !row.is_in_force()).count()));
        self.guard.set(i64::from(report.is_guarded()));
    }

    /// All of it as text.
    ///
    /// # Errors
    ///
    /// It cannot be written as text.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The metrics and their file.
#[derive(Debug)]
pub struct Sink {
    /// What is counted.
    pub metrics: Metrics,
    /// The file, replaced after each pass.
    pub path: PathBuf,
    /// Whether it was told that it cannot be written.
    is_told: bool,
}

impl Sink {
    /// Metrics from now on, into `path`.
    ///
    /// # Errors
    ///
    /// As of [`Metrics::new`].
    pub fn new(path: PathBuf) -> prometheus::Result<Self> {
        Ok(Self { metrics: Metrics::new(Timestamp::now())?, path, is_told: false })
    }

    /// Replaces the file; a fault is told once, and no pass waits for it.
    pub fn write(&mut self) {
        let text = self.metrics.text();
        let written = text.map_err(|error| error.to_string()).and_then(|text| {
            // Everybody may read it: node_exporter is a user of its own.
            file::replace(&self.path, &text, 0o644).map_err(|error| error.to_string())
        });
        match written {
            Ok(()) => self.is_told = false,
            Err(error) if !self.is_told => {
                self.is_told = true;
                tracing::warn!(file = %self.path.display(), error, "metrics are not written");
            }
            Err(_) => {}
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::report::HostRow;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn what_has_not_happened_is_0_and_each_name_has_its_help_type_and_unit() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH).unwrap();
        let text = text(&metrics);
        for line in ["wharf_passes_total{result=\"failed\"} 0", "wharf_drift_repaired_total 0"] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        for (kind, end) in [("counter", "_total"), ("gauge", "")] {
            let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
            for name in types.filter_map(|line| line.strip_suffix(&format!(" {kind}"))) {
                assert!(name.ends_with(end) && name.starts_with("wharf_"), "{name}");
                assert!(kind == "counter" || !name.ends_with("_total"), "{name}");
                assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
            }
        }
    }

    /// A report of a pass with a look at its end.
    fn seen() -> Report {
        Report { host: HostRow { guard: "loaded", ..HostRow::default() }, ..Report::default() }
    }

    #[test]
    fn counters_grow_with_passes_and_gauges_are_of_the_last_one() {
        let mut metrics = Metrics::new(Timestamp::UNIX_EPOCH).unwrap();
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let took = Duration::from_millis(1500);
        let tally = [
            (("start-container", "not-running", true), 2),
            (("update-container", "drifted", true), 1),
            (("load-guard", "altered", false), 1),
        ];
        let report = Report {
            tally: tally.into(),
            held: [("wiki".to_owned(), "secret".to_owned())].into(),
            ..seen()
        };
        metrics.passed(Ended::Undone, at, took, Some(&report));
        metrics.passed(Ended::AsDesired, at, took, Some(&seen()));
        metrics.passed(Ended::NoEngine, at, took, None);
        let unseen = Report { host: HostRow::default(), ..report };
        metrics.passed(Ended::Undone, at, took, Some(&unseen));
        metrics.engine_errors(3);
        metrics.engine_errors(5);
        metrics.exited();
        let text = text(&metrics);
        for line in [
            "wharf_passes_total{result=\"undone\"} 2",
            "wharf_guard_loaded 1",
            "wharf_passes_total{result=\"as_desired\"} 1",
            "wharf_passes_total{result=\"no_engine\"} 1",
            "wharf_steps_total{result=\"done\",step=\"start-container\"} 4",
            "wharf_steps_total{result=\"failed\",step=\"load-guard\"} 2",
            "wharf_drift_repaired_total 2",
            "wharf_containers{state=\"held\"} 0",
            "wharf_engine_errors_total 5",
            "wharf_container_exits_total 1",
            "wharf_last_pass_timestamp_seconds 1700000000",
            "wharf_last_pass_duration_seconds 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("wiki") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_pass_over_some_records_says_nothing_of_what_others_wait_for() {
        let mut metrics = Metrics::new(Timestamp::UNIX_EPOCH).unwrap();
        let (at, took) = (Timestamp::UNIX_EPOCH, Duration::ZERO);
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let whole = Report { troubled: set(&["shop", "wiki"]), ..seen() };
        let held = [("wiki".to_owned(), String::new())].into();
        let some = Report { only: set(&["wiki"]), held, ..seen() };
        for (report, troubled, held) in [(&whole, 2, 0), (&some, 1, 1), (&seen(), 0, 0)] {
            metrics.passed(Ended::Undone, at, took, Some(report));
            let text = text(&metrics);
            for (state, count) in [("troubled", troubled), ("held", held)] {
                let line = format!("wharf_containers{{state=\"{state}\"}} {count}");
                assert!(text.lines().any(|found| found == line), "{line}: {text}");
            }
        }
    }

    #[test]
    fn the_file_is_replaced_and_everybody_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wharf.prom");
        let mut sink = Sink::new(path.clone()).unwrap();
        sink.write();
        sink.metrics.exited();
        sink.write();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\nwharf_container_exits_total 1\n"), "{text}");
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside"
        );
    }
}
