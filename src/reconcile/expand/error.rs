// SPDX-License-Identifier: GPL-2.0-or-later

//! Why a target was not expanded, in words that name the record and what would mend it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use super::secret;

use crate::db::schema::Schema;
use crate::db::{self, DbName, Records};
use crate::host;
use crate::host::lock;
use crate::template;
use crate::template::format::Impossible;
use crate::template::order;
use crate::template::view::{Holder, holders_of};

/// Why a target was not expanded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its template is wrong.
    #[error(transparent)]
    Template(#[from] order::Error),
    /// A value cannot be written where it stands. It is shown only when it is known to be no secret.
    #[error(
        "fragment {fragment}, line {line} of its output: {what} cannot stand in {place}: {why}"
    )]
    Value {
        /// The fragment's path.
        fragment: String,
        /// The line, from 1.
        line: usize,
        /// Database, record and property, and the value.
        what: String,
        /// Where it stands.
        place: &'static str,
        /// What it has that cannot be there.
        why: &'static str,
    },
    /// The records cannot be read.
    #[error("the records cannot be read")]
    Records {
        /// Why.
        #[from]
        source: db::Error,
    },
    /// A record that the template needs is not there.
    #[error("the template needs {place}, which is not there")]
    Needs {
        /// Database, record and property.
        place: String,
        /// What would bring it.
        remedy: String,
    },
    /// Several templates make the target.
    #[error("the templates {templates} make the same target; none is written")]
    Twice {
        /// Their paths.
        templates: String,
    },
    /// There is no database `configuration` at all.
    #[error("there is no database configuration; a lost one must not empty the files")]
    NoConfiguration,
    /// The file cannot be read or written.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// Another expansion is at work.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// What keeps every target from being expanded.
    #[error(transparent)]
    All(Arc<Error>),
}

impl Error {
    /// What would mend it, when that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Template(error) => match error {
                order::Error::Expand(template::expand::Error::Fragment { remedy, .. }) => {
                    remedy.clone()
                }
                order::Error::Path { .. }
                | order::Error::Fragments(_)
                | order::Error::Declared(_)
                | order::Error::Metadata { .. }
                | order::Error::Expand(_)
                | order::Error::Malformed { .. } => None,
            },
            Self::Needs { remedy, .. } => Some(remedy.clone()),
            Self::Twice { .. } => Some(
                "expand only one of them, or take OUTPUT_FILENAME or OUTPUT_PREFIX out of the metadata of the others"
                    .to_owned(),
            ),
            Self::NoConfiguration => Some("initialize-default-databases".to_owned()),
            Self::Host(error) => error.remedy(),
            Self::All(error) => error.remedy(),
            Self::Value { .. } | Self::Records { .. } | Self::Lock(_) => None,
        }
    }
}

/// Says which record a value comes from that cannot be written.
pub(super) fn with_holder(
    error: order::Error,
    databases: &BTreeMap<DbName, Records>,
    schema: &Schema,
) -> Error {
    let order::Error::Expand(template::expand::Error::Value { fragment, line, impossible }) = error
    else {
        return Error::Template(veiled(error, &secret::all(databases, schema, |_, _| true)));
    };
    let Impossible { value, place, why, .. } = impossible;
    let holders = holders_of(databases, &value);
    let hides = |holder: &&Holder| {
        let property = holder.property.as_deref().map(BStr::new);
        schema.hides(&holder.database, holder.key.as_bstr(), property)
    };
    // Of several with the same value the one that is a secret counts.
    let what = match (holders.iter().find(hides), holders.first()) {
        (Some(holder), _) => format!("the value of {holder} (not shown)"),
        (None, Some(holder)) => format!("the value {value:?} of {holder}"),
        (None, None) => "a value that the template puts together (not shown)".to_owned(),
    };
    Error::Value { fragment, line, what, place, why }
}

/// `error` without the values that nobody should see: the template language and the parsers quote what they
/// trip over.
fn veiled(error: order::Error, secrets: &[(Holder, BString)]) -> order::Error {
    let veil = |why: String| {
        secrets.iter().fold(why, |why, (_, secret)| {
            let plain = secret.to_str_lossy();
            let quoted = format!("{plain:?}");
            let quoted = quoted.trim_matches('"');
            why.replace(&*plain, "(not shown)").replace(quoted, "(not shown)")
        })
    };
    match error {
        order::Error::Expand(template::expand::Error::Fragment { fragment, line, why, remedy }) => {
            let why = veil(why);
            template::expand::Error::Fragment { fragment, line, why, remedy }.into()
        }
        order::Error::Malformed { format, why } => {
            order::Error::Malformed { format, why: veil(why) }
        }
        error @ (order::Error::Path { .. }
        | order::Error::Fragments(_)
        | order::Error::Declared(_)
        | order::Error::Metadata { .. }
        | order::Error::Expand(_)) => error,
    }
}
