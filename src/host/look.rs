// SPDX-License-Identifier: GPL-2.0-or-later

//! The closer look at containers about which there is a doubt.

use jiff::Timestamp;

use crate::db::value::ContainerName;
use crate::host::engine::happened::Event;
use crate::host::{Error, System};
use crate::state::{Observed, Renamed, Settings};

impl System {
    /// The container `id`, if it was told, is what we made for record `name`.
    pub(super) fn note_made(&self, name: &ContainerName, id: Option<String>) {
        if let Some(id) = id {
            self.seen.made(name, id);
        }
    }

    /// Looks into the containers that may not be what we made, after what has `happened`.
    pub(super) async fn look_into(
        &self,
        happened: Option<Vec<Event>>,
        observed: &mut Observed,
    ) -> Result<(), Error> {
        let there = observed.containers.iter();
        let there = there.map(|(name, found)| (name.clone(), found.id.clone())).collect();
        let doubtful = self.seen.doubtful(happened, &there);
        let ids = doubtful.keys().filter_map(|name| there.get(name).cloned()).collect();
        let mut settings = Box::pin(self.engine.settings(&ids)).await?;
        for (name, at) in doubtful {
            let Some(found) = observed.containers.get_mut(&name) else { continue };
            let changed_at = at.and_then(|at| Timestamp::from_nanosecond(at.into()).ok());
            let looked = settings.remove(&found.id);
            found.settings = looked.map(|settings| Box::new(Settings { changed_at, ..settings }));
        }
        observed.renamed.retain(|renamed| self.seen.is_made(&renamed.record, &renamed.id));
        for Renamed { record, name, .. } in &observed.renamed {
            let foreign = observed.foreign.iter().find(|foreign| foreign.name == *name);
            for port in foreign.into_iter().flat_map(|foreign| &foreign.published) {
                observed.facts.published.insert(*port, record.clone());
            }
        }
        Ok(())
    }
}
