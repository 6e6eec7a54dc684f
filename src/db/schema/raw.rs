// SPDX-License-Identifier: GPL-2.0-or-later

//! The rows of `db-schema/` as they are written, before anything is checked. The build of the program reads
//! them too, so nothing of the crate is used here.

use serde::{Deserialize, Serialize};

/// A row.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProperty {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) choices: Option<Vec<String>>,
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
    pub(super) unit: Option<String>,
    pub(super) default: Option<String>,
    pub(super) missing: Option<String>,
    pub(super) doc: String,
    pub(super) example: String,
    pub(super) pending: Option<String>,
    #[serde(default)]
    pub(super) pending_values: Vec<String>,
    #[serde(default)]
    pub(super) secret: bool,
}
