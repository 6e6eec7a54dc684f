// SPDX-License-Identifier: GPL-2.0-or-later

//! Which containers need not be inspected: they are those that we made, and nobody has changed them
//! since they were last found right.
//!
//! Kept are the id of each record's container, and the last event that was seen. When that event is not
//! in the engine's next answer, the engine has lost what came after it, and every container of ours is
//! inspected once. A file that is lost costs the same. It is written by passes that found something out,
//! never by one in which nothing has happened.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::db::value::ContainerName;
use crate::host::engine::happened::{self, Event};
use crate::host::file;

/// How long containers are trusted on an engine that does not say what happened to them.
const BLIND: i64 = 3_600_000_000_000;

/// An answer that is longer is not asked for again by the next process: its end is written down. Podman tells all
/// that its journal has, also of others' containers.
const LONG: usize = 256;

/// After which all are looked into once more: of an answer without anything seen before nobody knows whether it is
/// whole.
const OLD: i64 = 24 * BLIND;

/// How far is looked back when nothing was seen yet.
const BACK: i64 = 600_000_000_000;

/// What is known of the containers here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// The id of the container that we made, or found right, by record.
    #[serde(default)]
    made: BTreeMap<ContainerName, String>,
    /// Of those, the ones that somebody may have changed, and when.
    #[serde(default)]
    doubtful: BTreeMap<ContainerName, Option<i64>>,
    /// The last event that was seen.
    #[serde(default)]
    last: Option<Event>,
    /// When all were doubted, in nanoseconds since 1970.
    #[serde(default)]
    all_at: i64,
}

/// What is known, in memory and on disk.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    known: RefCell<Known>,
    /// As it is in the file, as far as known.
    kept: RefCell<Option<Known>>,
    /// Whether something was found out that the file does not know.
    has_news: Cell<bool>,
}

impl Seen {
    /// In the file `path`; nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        let known = RefCell::default();
        Self { path, known, kept: RefCell::new(None), has_news: Cell::new(false) }
    }

    /// Since when events are to be asked for: never from a moment that is to come, as after the clock was set back,
    /// which engines refuse.
    pub fn since(&self) -> i64 {
        self.read();
        let (known, now) = (self.known.borrow(), happened::now());
        let since = match &known.last {
            Some(last) => last.at,
            None if known.all_at == 0 => now - BACK,
            None => known.all_at,
        };
        since.min(now)
    }

    /// The containers of `there`, by record, that must be looked into, and when they were changed, after the
    /// engine told what `happened`.
    pub fn doubtful(
        &self,
        happened: Option<Vec<Event>>,
        there: &BTreeMap<ContainerName, String>,
    ) -> BTreeMap<ContainerName, Option<i64>> {
        let mut known = self.known.borrow_mut();
        let now = happened::now();
        let latest = happened.as_ref().and_then(|events| events.last().cloned());
        let is_long = happened.as_ref().is_some_and(|events| events.len() > LONG);
        let news = news(&known, happened, now);
        if news.is_none() {
            // What the engine still knows of is where the next answer goes on. A question that was not answered
            // is not asked again: it may have been too long for an answer in time.
            known.last = latest;
            // One that somebody has renamed is not there, and gets its name back.
            let all: Vec<_> = known.made.keys().chain(there.keys()).cloned().collect();
            for name in all {
                known.doubtful.entry(name).or_insert(None);
            }
            known.all_at = now;
            // Where there is nothing, there is nothing to be written down either.
            self.has_news.set(self.has_news.get() || !there.is_empty());
        }
        let events = news.unwrap_or_default();
        for event in events.iter().filter(|event| event.action == "update") {
            let found = there.iter().chain(&known.made).find(|(_, id)| **id == event.id);
            if let Some(name) = found.map(|(name, _)| name.clone()) {
                known.doubtful.insert(name, Some(event.at));
                self.has_news.set(true);
            }
        }
        if let Some(last) = events.last() {
            known.last = Some(last.clone());
            self.has_news.set(self.has_news.get() || is_long);
        }
        let is_other = |name: &ContainerName, id: &String| known.made.get(name) != Some(id);
        there
            .iter()
            .filter_map(|(name, id)| match known.doubtful.get(name) {
                Some(at) => Some((name.clone(), *at)),
                None => is_other(name, id).then(|| (name.clone(), None)),
            })
            .collect()
    }

    /// The container `id` was made for record `name`.
    pub fn made(&self, name: &ContainerName, id: String) {
        let mut known = self.known.borrow_mut();
        known.doubtful.remove(name);
        known.made.insert(name.clone(), id);
        self.has_news.set(true);
    }

    /// Whether `id` is what we made for record `name`.
    pub fn is_made(&self, name: &ContainerName, id: &str) -> bool {
        self.known.borrow().made.get(name).is_some_and(|made| made == id)
    }

    /// The containers `right` were found to be as they should be; what is known of records of which nothing
    /// `is_there` is dropped. Writes down what was found out.
    pub fn keep(
        &self,
        right: &BTreeMap<ContainerName, String>,
        is_there: impl Fn(&ContainerName) -> bool,
    ) {
        let mut known = self.known.borrow_mut();
        let before = (known.made.clone(), known.doubtful.clone());
        for (name, id) in right {
            known.made.insert(name.clone(), id.clone());
            known.doubtful.remove(name);
        }
        known.made.retain(|name, _| is_there(name));
        known.doubtful.retain(|name, _| is_there(name));
        let is_same = before.0 == known.made && before.1 == known.doubtful;
        drop(known);
        if self.has_news.replace(false) || !is_same {
            self.write();
        }
    }

    /// Takes over what another process has written since.
    fn read(&self) {
        let text = fs::read(&self.path).unwrap_or_default();
        let Ok(on_disk) = serde_json::from_slice::<Known>(&text) else { return };
        if self.kept.borrow().as_ref() == Some(&on_disk) {
            return;
        }
        let mut known = self.known.borrow_mut();
        let newer = known
            .last
            .take()
            .filter(|mine| on_disk.last.as_ref().is_none_or(|theirs| theirs.at < mine.at));
        let doubtful = std::mem::take(&mut known.doubtful);
        *known = on_disk.clone();
        known.last = newer.or_else(|| known.last.take());
        for (name, at) in doubtful {
            known.doubtful.entry(name).or_insert(at);
        }
        self.kept.replace(Some(on_disk));
    }

    /// A file that cannot be written costs inspects, nothing else.
    fn write(&self) {
        let known = self.known.borrow().clone();
        let text = serde_json::to_vec(&known).unwrap_or_default();
        match file::jot(&self.path, &text) {
            Ok(()) => drop(self.kept.replace(Some(known))),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "what was looked into is not written down");
            }
        }
    }
}

/// What happened after the last event that was seen; `None` when that cannot be told.
fn news(known: &Known, happened: Option<Vec<Event>>, now: i64) -> Option<Vec<Event>> {
    let age = now - known.all_at;
    let is_blind = !(0..BLIND).contains(&age);
    match (happened, &known.last) {
        (Some(events), Some(last)) if (0..OLD).contains(&age) => {
            let at = events.iter().position(|event| event == last)?;
            Some(events.into_iter().skip(at + 1).collect())
        }
        (events, None) if !is_blind => Some(events.unwrap_or_default()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::value;

    fn event(at: i64, id: &str, action: &str) -> Event {
        Event { at, id: id.to_owned(), action: action.to_owned() }
    }

    fn name(text: &str) -> ContainerName {
        value::container_name(text).unwrap()
    }

    fn there() -> BTreeMap<ContainerName, String> {
        [(name("one"), "1".to_owned()), (name("two"), "2".to_owned())].into()
    }

    /// Two containers that were found right, after event `10`.
    fn settled() -> (tempfile::TempDir, Seen) {
        let place = tempfile::tempdir().unwrap();
        let seen = Seen::new(place.path().join("below/seen.json"));
        seen.since();
        let first = seen.doubtful(Some(vec![event(10, "2", "start")]), &there());
        assert_eq!(first.len(), 2, "nothing is known of them yet");
        seen.keep(&there(), |_| true);
        seen.since();
        seen.doubtful(Some(vec![event(10, "2", "start")]), &there());
        seen.keep(&there(), |_| true);
        (place, seen)
    }

    /// As another process sees it.
    fn again(place: &tempfile::TempDir) -> Seen {
        let seen = Seen::new(place.path().join("below/seen.json"));
        seen.since();
        seen
    }

    #[test]
    fn what_was_found_right_is_not_looked_into_again_and_nothing_is_written() {
        let (place, _) = settled();
        let path = place.path().join("below/seen.json");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let seen = again(&place);
        let events = vec![event(10, "2", "start"), event(11, "1", "start")];
        assert!(seen.doubtful(Some(events), &there()).is_empty());
        seen.keep(&BTreeMap::new(), |_| true);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn what_was_changed_is_doubted_until_it_is_found_right() {
        let (place, _) = settled();
        let seen = again(&place);
        let events = || Some(vec![event(10, "2", "start"), event(11, "1", "update")]);
        assert_eq!(seen.doubtful(events(), &there()), [(name("one"), Some(11))].into());
        seen.keep(&BTreeMap::new(), |_| true);

        let seen = again(&place);
        let rest = || Some(vec![event(11, "1", "update")]);
        assert_eq!(seen.doubtful(rest(), &there()).len(), 1, "it was not found right");
        seen.keep(&[(name("one"), "1".to_owned())].into(), |_| true);
        assert!(again(&place).doubtful(rest(), &there()).is_empty());
    }

    #[test]
    fn what_was_changed_under_another_name_is_doubted_when_it_has_its_own_again() {
        let (place, _) = settled();
        let renamed = [(name("two"), "2".to_owned())].into();
        let seen = again(&place);
        let events = vec![event(10, "2", "start"), event(11, "1", "update")];
        assert!(seen.doubtful(Some(events), &renamed).is_empty());
        seen.keep(&BTreeMap::new(), |_| true);
        let back = again(&place).doubtful(Some(vec![event(11, "1", "update")]), &there());
        assert_eq!(back, [(name("one"), Some(11))].into());

        let (place, _) = settled();
        let seen = again(&place);
        assert_eq!(seen.doubtful(Some(vec![]), &renamed).len(), 1, "nobody can say");
        seen.keep(&renamed, |_| true);
        assert_eq!(again(&place).doubtful(Some(vec![]), &there()), [(name("one"), None)].into());
    }

    #[test]
    fn all_are_looked_into_once_a_day() {
        let (place, _) = settled();
        let seen = again(&place);
        seen.known.borrow_mut().all_at -= OLD;
        let events = vec![event(10, "2", "start")];
        assert_eq!(seen.doubtful(Some(events), &there()).len(), 2);
    }

    #[test]
    fn another_container_of_the_name_is_doubted() {
        let (place, _) = settled();
        let mut other = there();
        other.insert(name("two"), "3".to_owned());
        let doubtful = again(&place).doubtful(Some(vec![event(10, "2", "start")]), &other);
        assert_eq!(doubtful, [(name("two"), None)].into());
    }

    #[test]
    fn all_are_doubted_when_the_engine_has_lost_what_happened() {
        let (place, _) = settled();
        for lost in [vec![], vec![event(90, "1", "start")]] {
            assert_eq!(again(&place).doubtful(Some(lost), &there()).len(), 2);
        }
    }

    #[test]
    fn an_engine_that_does_not_say_is_believed_for_a_while_after_one_look() {
        let (place, _) = settled();
        let seen = again(&place);
        let before = happened::now();
        assert_eq!(seen.doubtful(None, &there()).len(), 2);
        seen.keep(&there(), |_| true);
        // It may have been too much for an answer in time: less is asked next.
        let seen = again(&place);
        assert!(seen.since() >= before);
        assert!(seen.doubtful(None, &there()).is_empty());
        seen.known.borrow_mut().all_at -= BLIND;
        assert_eq!(seen.doubtful(None, &there()).len(), 2);
    }

    #[test]
    fn what_happened_after_a_long_pause_without_events_is_asked_for() {
        let (_place, seen) = settled();
        let long_ago = happened::now() - 6 * BACK;
        let mut known = seen.known.borrow_mut();
        (known.last, known.all_at) = (None, long_ago);
        drop(known);
        assert_eq!(seen.since(), long_ago);
    }

    #[test]
    fn a_clock_that_was_set_back_costs_one_look() {
        let (place, seen) = settled();
        let ahead = event(happened::now() + BLIND, "1", "start");
        seen.doubtful(Some(vec![event(10, "2", "start"), ahead]), &there());
        assert!(seen.since() <= happened::now(), "engines refuse what is to come");
        assert_eq!(seen.doubtful(Some(vec![]), &there()).len(), 2);
        seen.keep(&there(), |_| true);
        let seen = again(&place);
        assert!(seen.doubtful(Some(vec![]), &there()).is_empty());
    }

    #[test]
    fn a_long_answer_about_others_is_not_asked_for_again_and_again() {
        let (place, seen) = settled();
        let events = |from: i64, to| (from..=to).map(|at| event(at, "foreign", "start"));
        let known = || [event(10, "2", "start")].into_iter();
        assert!(seen.doubtful(Some(known().chain(events(11, 265)).collect()), &there()).is_empty());
        seen.keep(&there(), |_| true);
        assert_eq!(again(&place).since(), 10, "nothing is written for a short one");
        let seen = again(&place);
        let update = [event(267, "1", "update")];
        let many = known().chain(events(11, 266)).chain(update.clone()).collect();
        assert_eq!(seen.doubtful(Some(many), &there()), [(name("one"), Some(267))].into());
        seen.keep(&there(), |_| true);
        let seen = again(&place);
        assert_eq!(seen.since(), 267);
        assert!(seen.doubtful(Some(update.into()), &there()).is_empty());
    }

    #[test]
    fn a_torn_file_is_as_good_as_none() {
        let (place, _) = settled();
        let path = place.path().join("below/seen.json");
        let length = fs::metadata(&path).unwrap().len();
        for length in (0..length).rev() {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            let events = Some(vec![event(10, "2", "start")]);
            assert_eq!(again(&place).doubtful(events, &there()).len(), 2, "{length}");
        }
    }

    #[test]
    fn what_another_process_found_out_is_taken_over() {
        let (place, daemon) = settled();
        let command = again(&place);
        command.made(&name("one"), "7".to_owned());
        command.keep(&BTreeMap::new(), |name| name.as_str() != "two");
        daemon.since();
        assert!(daemon.is_made(&name("one"), "7") && !daemon.is_made(&name("two"), "2"));
    }
}
