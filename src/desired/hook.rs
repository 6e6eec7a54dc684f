// SPDX-License-Identifier: GPL-2.0-or-later

//! What events do to containers: the properties `StartOn` and `StopOn`. Pure.
//!
//! A container that an event starts or stops is so as by hand: against the record if need be, until the
//! next boot or until somebody says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, ByteSlice};

use crate::db::Records;
use crate::db::value::{self, ContainerName};
use crate::desired::{Override, Overrides, Props};

/// What an event asks of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `StartOn` names it.
    Start,
    /// `StopOn` names it, and it wins when both do.
    Stop,
}

/// The containers whose records name event `event`.
pub fn named(containers: &Records, event: &str) -> BTreeMap<ContainerName, Hook> {
    let mut found = BTreeMap::new();
    for (key, record) in containers.iter() {
        let Some(name) = key.to_str().ok().and_then(|key| value::container_name(key).ok()) else {
            continue;
        };
        let props = Props::of(record);
        let names = |property: &str| {
            let text = props.get(property).unwrap_or_default();
            value::events(text).is_ok_and(|events| events.iter().any(|name| name == event))
        };
        if names("StopOn") {
            found.insert(name, Hook::Stop);
        } else if names("StartOn") {
            found.insert(name, Hook::Start);
        }
    }
    found
}

/// Every event that a record names.
pub fn events(containers: &Records) -> BTreeSet<String> {
    let of = |props: &Props| {
        let texts = ["StartOn", "StopOn"].map(|property| props.get(property).map(str::to_owned));
        texts.into_iter().flatten().flat_map(|text| value::events(&text).unwrap_or_default())
    };
    containers.iter().flat_map(|(_, record)| of(&Props::of(record)).collect::<Vec<_>>()).collect()
}

/// Writes what `hooks` ask for into `overrides`.
pub fn into_overrides(
    hooks: &BTreeMap<ContainerName, Hook>,
    containers: &Records,
    overrides: &mut Overrides,
) {
    for name in hooks.iter().filter(|(_, hook)| **hook == Hook::Start).map(|(name, _)| name) {
        // As `wharf start`: what it links to runs first.
        for needed in with_links(containers, name) {
            overrides.remove(needed.as_str());
            if !is_enabled(containers, &needed) {
                overrides.insert(needed.to_string(), Override::StartByEvent);
            }
        }
    }
    for name in hooks.iter().filter(|(_, hook)| **hook == Hook::Stop).map(|(name, _)| name) {
        overrides.remove(name.as_str());
        if is_enabled(containers, name) {
            overrides.insert(name.to_string(), Override::StopByEvent);
        }
    }
}

/// Whether the record of `name` is enabled.
pub fn is_enabled(containers: &Records, name: &ContainerName) -> bool {
    containers
        .get(BStr::new(name.as_str()))
        .is_some_and(|record| Props::of(record).get("status") == Some("enabled"))
}

/// `name` and everything it needs, by its links and theirs.
pub fn with_links(containers: &Records, name: &ContainerName) -> BTreeSet<ContainerName> {
    let mut found = BTreeSet::new();
    let mut todo = vec![name.clone()];
    while let Some(next) = todo.pop() {
        let links = containers
            .get(BStr::new(next.as_str()))
            .and_then(|record| value::links(Props::of(record).get("Interlinked")?).ok())
            .unwrap_or_default();
        if found.insert(next) {
            todo.extend(links.into_iter().map(|link| link.target));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Records {
        Records::parse(
            b"db=service|status|disabled\n\
              wiki=service|Interlinked|db|StartOn|post-backup,night|StopOn|pre-backup|status|enabled\n\
              shop=service|StartOn|pre-backup|status|disabled\n\
              both=service|StartOn|night|StopOn|night|status|enabled\n\
              odd=service|StartOn|post backup,/|status|enabled\n",
        )
    }

    fn after(event: &str, before: &[(&str, Override)]) -> Vec<(String, Override)> {
        let records = records();
        let mut overrides: Overrides =
            before.iter().map(|(name, one)| ((*name).to_owned(), *one)).collect();
        into_overrides(&named(&records, event), &records, &mut overrides);
        overrides.into_iter().collect()
    }

    #[test]
    fn an_event_stops_and_starts_those_whose_records_name_it() {
        let found = after("pre-backup", &[]);
        let (stop, start) = (Override::StopByEvent, Override::StartByEvent);
        assert_eq!(found, [("shop".to_owned(), start), ("wiki".to_owned(), stop)]);
    }

    #[test]
    fn what_an_event_stopped_another_starts_with_what_it_links_to() {
        let found = after("post-backup", &[("wiki", Override::StopByEvent)]);
        assert_eq!(found, [("db".to_owned(), Override::StartByEvent)]);
    }

    #[test]
    fn stopping_wins_and_a_name_must_be_whole() {
        assert!(after("night", &[]).contains(&("both".to_owned(), Override::StopByEvent)));
        assert!(after("backup", &[]).is_empty());
        let all = events(&records());
        assert_eq!(
            all.iter().map(String::as_str).collect::<Vec<_>>(),
            ["night", "post-backup", "pre-backup"]
        );
    }
}
