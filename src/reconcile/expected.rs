// SPDX-License-Identifier: GPL-2.0-or-later

//! A plan that somebody has read, from `wharf plan --json`: it is applied as it is, or not at all. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::db::value::ContainerName;
use crate::reconcile::report::PlanLine;

/// A plan that somebody has read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Expected {
    /// The records that it is about; all when there is none.
    pub only: BTreeSet<ContainerName>,
    plan: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Line {
    step: String,
    record: Option<String>,
    text: String,
    parameters: Value,
    needs: BTreeSet<usize>,
    cost: Value,
}

impl Expected {
    /// Reads what `wharf plan --json` has printed.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The first step in which the plan of now is another one. Why a step is done is not compared, only
    /// what is done, after what, and at which cost.
    pub(super) fn difference(&self, now: &[PlanLine]) -> Option<String> {
        let is_same = |was: &Line, is: &PlanLine| {
            was.step == is.step
                && was.record == is.record
                && was.parameters == is.parameters
                && was.needs == is.needs
                && serde_json::to_value(&is.cost).is_ok_and(|cost| cost == was.cost)
        };
        for (id, was) in self.plan.iter().enumerate() {
            match now.get(id) {
                Some(is) if is_same(was, is) => {}
                Some(is) if was.text == is.text => {
                    return Some(format!(
                        "step {id}, '{}', would be done with other values or at another cost",
                        was.text
                    ));
                }
                Some(is) => {
                    return Some(format!(
                        "step {id} was '{}' and would be '{}'",
                        was.text, is.text
                    ));
                }
                None => {
                    return Some(format!("step {id}, '{}', is not to be done any more", was.text));
                }
            }
        }
        let more = now.get(self.plan.len())?;
        Some(format!("there is a step more, '{}'", more.text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Cost;

    fn line(text: &str, parameters: Value) -> PlanLine {
        PlanLine {
            id: 0,
            step: "start-container",
            record: Some("wiki".to_owned()),
            text: text.to_owned(),
            parameters,
            reason: "should run, is: Exited (0) 2 minutes ago".to_owned(),
            cause: "ended",
            differences: Vec::new(),
            needs: BTreeSet::new(),
            cost: Cost::default(),
        }
    }

    #[test]
    fn the_step_that_differs_is_named() {
        let now = vec![line("start container wiki", json!({ "name": "wiki" }))];
        let text = json!({ "only": [], "plan": now, "done": [] }).to_string();
        let expected = Expected::parse(text.as_bytes()).unwrap();
        assert_eq!(expected.difference(&now), None);

        let mut later = now.clone();
        later[0].reason = "should run, is: Exited (0) 3 minutes ago".to_owned();
        assert_eq!(expected.difference(&later), None, "why is not compared");
        let mut other = now.clone();
        other[0].parameters = json!({ "name": "wiki", "old": "1" });
        assert!(expected.difference(&other).unwrap().contains("with other values"));
        let mut dearer = now.clone();
        dearer[0].cost.data_at_risk = BTreeSet::from(["/srv".into()]);
        assert!(expected.difference(&dearer).unwrap().contains("at another cost"));
        let stop = vec![line("stop container wiki", json!({}))];
        let told = expected.difference(&stop).unwrap();
        assert_eq!(told, "step 0 was 'start container wiki' and would be 'stop container wiki'");
        assert!(expected.difference(&[]).unwrap().contains("not to be done any more"));
        let more = [now.clone(), stop].concat();
        assert_eq!(
            expected.difference(&more).unwrap(),
            "there is a step more, 'stop container wiki'"
        );
        assert!(Expected::parse(b"{\"steps\": []}").is_err());
    }
}
