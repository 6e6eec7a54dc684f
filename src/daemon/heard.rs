// SPDX-License-Identifier: GPL-2.0-or-later

//! What was heard since the last pass, of which the last trigger alone does not tell. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::Trigger;

/// What was heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// By record, the ends that were heard of: what runs after one is checked from the beginning.
    pub(super) starts: BTreeMap<String, u64>,
    news: News,
}

/// The part of it that one pass takes.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Whether something has ended or begun that the engine's list may not show yet.
    pub(super) is_early: bool,
    /// The records whose containers have ended.
    pub(super) ended: BTreeSet<String>,
}

impl Heard {
    /// At the beginning, of which nobody has told.
    pub(super) fn new() -> Self {
        Self { starts: BTreeMap::new(), news: News { is_early: true, ended: BTreeSet::new() } }
    }

    pub(super) fn note(&mut self, came: &Trigger) {
        if let Trigger::Died(record) = came {
            *self.starts.entry(record.clone()).or_default() += 1;
            self.news.ended.insert(record.clone());
        }
        self.news.is_early |= matches!(came, Trigger::Died(_) | Trigger::Start | Trigger::Engine);
    }

    /// What the pass that begins now goes by; what is heard from now on is for the next one.
    pub(super) fn take(&mut self) -> News {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_not_forgotten_for_what_is_heard_after_it() {
        let mut heard = Heard::new();
        assert!(heard.take().is_early);
        assert!(!heard.take().is_early);
        // The end of a container takes its interface, and so its addresses, with it.
        heard.note(&Trigger::Died("wiki".to_owned()));
        heard.note(&Trigger::Network);
        let news = heard.take();
        assert!(news.is_early && news.ended.contains("wiki"));
        heard.note(&Trigger::Network);
        let news = heard.take();
        assert!(!news.is_early && news.ended.is_empty());
        assert_eq!(heard.starts["wiki"], 1);
    }
}
