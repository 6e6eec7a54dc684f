// SPDX-License-Identifier: GPL-2.0-or-later

//! The directories of one event become the order in which its handlers run. Pure.
//!
//! The packaged directory comes first, e-smith's after it, the admin's last; of two entries of one name
//! the later counts, and a link to `/dev/null` in the admin's hides the one below it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a directory of events comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A package: ours, or one of e-smith's.
    Packaged,
    /// The admin.
    Admin,
}

/// What is at the end of an entry's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file that may be run.
    Executable,
    /// A file that may not be run, or a link to nothing.
    Idle,
    /// A link to `/dev/null`.
    Null,
}

/// An entry of a directory, which is no directory itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// The entries of one directory of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it comes from.
    pub origin: Origin,
    /// What it holds, in any order.
    pub entries: Vec<Entry>,
}

/// What every event can have without a file for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuiltIn {
    /// Expands the templates that `templates2expand/` names.
    Expand,
    /// Makes a pass.
    Reconcile,
    /// Tells the services that `services2adjust/` names.
    Adjust,
}

impl BuiltIn {
    /// The name by which it is sorted among the handlers, and by which the admin hides it.
    pub const fn entry(self) -> &'static str {
        match self {
            Self::Expand => "S05generic_template_expand",
            Self::Reconcile => "S50reconcile",
            Self::Adjust => "S90adjust-services",
        }
    }

    /// The name by which the log knows it, as e-smith's.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Expand => "generic_template_expand",
            Self::Reconcile => "reconcile",
            Self::Adjust => "adjust-services",
        }
    }
}

/// What is run at one place of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// A file.
    File(PathBuf),
    /// Nothing: the file cannot be run.
    Skip(PathBuf),
    /// Something of ours.
    BuiltIn(BuiltIn),
}

/// One place of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The entry's name.
    pub name: OsString,
    /// What is run.
    pub run: Run,
}

/// The entries that count, by name: later layers win, what the admin hides is gone.
pub fn merged(layers: &[Layer]) -> BTreeMap<OsString, Entry> {
    let mut found = BTreeMap::new();
    for layer in layers {
        for entry in &layer.entries {
            if layer.origin == Origin::Admin && entry.kind == Kind::Null {
                found.remove(&entry.name);
            } else {
                found.insert(entry.name.clone(), entry.clone());
            }
        }
    }
    found
}

/// The handlers in the byte order of their names, with those of `built_in` among them.
///
/// An entry of the admin's takes the place of the built-in one of its name. A package's does not: e-smith
/// runs both, the built-in one first.
pub fn steps(layers: &[Layer], built_in: &[BuiltIn]) -> Vec<Step> {
    let is_admins = |name: &str| {
        let admins = layers.iter().filter(|layer| layer.origin == Origin::Admin);
        admins.flat_map(|layer| &layer.entries).any(|entry| entry.name == name)
    };
    let ours = built_in.iter().filter(|one| !is_admins(one.entry()));
    let mut steps: Vec<Step> = ours
        .map(|one| Step { name: one.entry().into(), run: Run::BuiltIn(*one) })
        .chain(merged(layers).into_values().map(|entry| Step {
            name: entry.name,
            run: match entry.kind {
                Kind::Executable => Run::File(entry.path),
                Kind::Idle | Kind::Null => Run::Skip(entry.path),
            },
        }))
        .collect();
    // Stable: the built-in ones stand before files of the same name.
    steps.sort_by(|a, b| a.name.cmp(&b.name));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(origin: Origin, directory: &str, entries: &[(&str, Kind)]) -> Layer {
        let entry = |(name, kind): &(&str, Kind)| Entry {
            name: name.into(),
            path: PathBuf::from(directory).join(name),
            kind: *kind,
        };
        Layer { origin, entries: entries.iter().map(entry).collect() }
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        let text = |step: &Step| match &step.run {
            Run::File(path) => path.display().to_string(),
            Run::Skip(path) => format!("({})", path.display()),
            Run::BuiltIn(one) => one.action().to_owned(),
        };
        steps.iter().map(text).collect()
    }

    #[test]
    fn handlers_run_in_byte_order_with_the_built_in_ones_among_them() {
        let all: &[(&str, Kind)] = &[
            ("S9", Kind::Executable),
            ("S91z", Kind::Executable),
            ("S05a", Kind::Executable),
            ("S05h", Kind::Executable),
            ("K01x", Kind::Executable),
            (".hidden", Kind::Idle),
            ("S50reconcild", Kind::Executable),
        ];
        let layers = [layer(Origin::Packaged, "p", all)];
        let steps = steps(&layers, &[BuiltIn::Expand, BuiltIn::Reconcile, BuiltIn::Adjust]);
        assert_eq!(
            shown(&steps),
            [
                "(p/.hidden)",
                "p/K01x",
                "p/S05a",
                "generic_template_expand",
                "p/S05h",
                "p/S50reconcild",
                "reconcile",
                "p/S9",
                "adjust-services",
                "p/S91z"
            ]
        );
    }

    #[test]
    fn the_later_directory_wins_and_the_admin_hides() {
        let layers = [
            layer(Origin::Packaged, "p", &[("S10a", Kind::Executable), ("S20b", Kind::Executable)]),
            layer(Origin::Packaged, "e", &[("S10a", Kind::Executable), ("S30c", Kind::Null)]),
            layer(Origin::Admin, "a", &[("S20b", Kind::Null), ("S40d", Kind::Idle)]),
        ];
        assert_eq!(shown(&steps(&layers, &[])), ["e/S10a", "(e/S30c)", "(a/S40d)"]);
    }

    #[test]
    fn the_admin_replaces_a_built_in_handler_and_a_package_does_not() {
        let name = BuiltIn::Adjust.entry();
        let packaged = layer(Origin::Packaged, "p", &[(name, Kind::Executable)]);
        let shown_with = |layers: &[Layer]| shown(&steps(layers, &[BuiltIn::Adjust]));
        let both = ["adjust-services", "p/S90adjust-services"];
        assert_eq!(shown_with(std::slice::from_ref(&packaged)), both);
        let own = layer(Origin::Admin, "a", &[(name, Kind::Executable)]);
        assert_eq!(shown_with(&[packaged.clone(), own]), ["a/S90adjust-services"]);
        let hidden = layer(Origin::Admin, "a", &[(name, Kind::Null)]);
        assert!(shown_with(&[packaged, hidden]).is_empty());
    }
}
