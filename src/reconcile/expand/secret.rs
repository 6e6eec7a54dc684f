// SPDX-License-Identifier: GPL-2.0-or-later

//! Targets that hold what nobody but root should see.

use std::collections::BTreeMap;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use tera::Context;

use crate::db::schema::Schema;
use crate::db::{DbName, Records};
use crate::host::target::Access;
use crate::template::declare::Declared;
use crate::template::order::Prepared;
use crate::template::view::{Holder, Sources, View, Words};

/// A shorter one could stand in any text.
const SHORTEST_SECRET: usize = 4;

/// What is no secret, whatever its property is called: `PasswordAuthentication`, `ShowPasswords`.
const SWITCHES: [&str; 8] =
    ["enabled", "disabled", "true", "false", "none", "auto", "required", "optional"];

/// The values that nobody should see of the records that are `asked` for, each with its place.
pub(super) fn all(
    databases: &BTreeMap<DbName, Records>,
    schema: &Schema,
    asked: impl Fn(&str, &BStr) -> bool,
) -> Vec<(Holder, BString)> {
    let mut found = Vec::new();
    for (database, records) in databases {
        for (key, record) in records.iter().filter(|(key, _)| asked(database.as_str(), key)) {
            let mut add = |property: Option<BString>, value: BString| {
                let is_told = value.len() < SHORTEST_SECRET
                    || SWITCHES.iter().any(|switch| value == switch.as_bytes());
                if !is_told
                    && schema.hides(database.as_str(), key, property.as_deref().map(BStr::new))
                {
                    let database = database.to_string();
                    found.push((Holder { database, key: key.to_owned(), property }, value));
                }
            };
            let mut is_text = true;
            for (property, value) in record.properties() {
                is_text = false;
                add(Some(property.into_owned()), value.into_owned());
            }
            if is_text {
                add(None, record.decoded().into_owned());
            }
        }
    }
    found
}

/// What nobody should see of what some templates can ask for.
pub(super) struct Secrets<'a> {
    sources: &'a Sources<'a>,
    words: &'a Words,
    found: Vec<(Holder, BString)>,
    /// The variables with other texts for the secrets; made when they are needed.
    veiled: Option<Context>,
}

impl<'a> Secrets<'a> {
    pub(super) fn new(sources: &'a Sources<'a>, schema: &Schema, words: &'a Words) -> Self {
        let found = all(&sources.databases, schema, |database, key| words.reach(database, key));
        Self { sources, words, found, veiled: None }
    }

    /// Whose value is in `content`, which `template` has made.
    ///
    /// The format and filters of the template write a value in other bytes than it has. So it counts whether
    /// anything else comes out when the secrets are others.
    pub(super) fn used(&mut self, template: &Prepared, content: &[u8]) -> Option<Holder> {
        let mut words = Words::default();
        template.ask(&mut words);
        let reached = |holder: &Holder| words.reach(&holder.database, holder.key.as_bstr());
        if !self.found.iter().any(|(holder, _)| reached(holder)) {
            return None;
        }
        if let Some((holder, _)) = self.found.iter().find(|(_, value)| content.contains_str(value))
        {
            return Some(holder.clone());
        }
        let count = self.found.len();
        let mut veiled = self.veiled.take().unwrap_or_else(|| self.context(count));
        let differs =
            |context: &mut Context| template.render(context).map_or(true, |other| other != content);
        let is_used = differs(&mut veiled);
        self.veiled = Some(veiled);
        if !is_used {
            return None;
        }
        // The first one with which it differs.
        let (mut same, mut other) = (0, count);
        while other - same > 1 {
            let middle = usize::midpoint(same, other);
            if differs(&mut self.context(middle)) { other = middle } else { same = middle }
        }
        self.found.get(other - 1).map(|(holder, _)| holder.clone())
    }

    /// The variables with other texts for the first `count` secrets.
    fn context(&self, count: usize) -> Context {
        let holders = self.found.iter().take(count).map(|(holder, _)| holder);
        View::new(self.sources, self.words).veiled(holders).into_context()
    }
}

/// `access` for a target with a secret in it: not for everybody, unless the template says so.
pub(super) fn secluded(
    path: &Path,
    access: Access,
    declared: &Declared,
    holder: &Holder,
    notes: &mut Vec<String>,
) -> Access {
    let path = path.display();
    match declared.perms {
        Some(mode) if mode & 0o004 == 0 => access,
        Some(_) => {
            notes.push(format!("{path} can be read by everybody and holds the value of {holder}"));
            access
        }
        None => {
            notes.push(format!("{path} is for root alone: it holds the value of {holder}"));
            Access { mode: Some(0o600), ..access }
        }
    }
}
