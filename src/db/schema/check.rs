// SPDX-License-Identifier: GPL-2.0-or-later

//! Checks one record against its table.
//!
//! All faults are found, not the first. A property with an empty value counts as missing, as for
//! SME Server's own services; only a member of a family may be empty and be there.

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::{DatabaseSchema, Property, RecordSchema, Schema};
use crate::db::DbName;
use crate::db::value::{self, BadValue};

/// Something in a record that is wrong.
///
/// Its `Display` is the message for an admin without the word `error`: the place, what is wrong there
/// and what would mend it, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The database.
    pub database: String,
    /// The record's key.
    pub record: String,
    /// The property; none when it is the record itself.
    pub property: Option<String>,
    /// What it holds; `***` where passwords may stand.
    pub value: Option<String>,
    /// What sort of fault.
    pub kind: FaultKind,
    /// What is wrong, and what would be right.
    pub wrong: BadValue,
    /// A command that would mend it.
    pub remedy: Option<String>,
}

/// What sort of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The key or the type of the record.
    Record,
    /// One property for itself.
    Property,
    /// Several properties do not go together; one of them may only be not there yet.
    Several,
}

impl Fault {
    /// The property; none when it is the record itself.
    pub fn property(&self) -> Option<&str> {
        self.property.as_deref()
    }

    /// Whether each property is right and they only do not go together.
    pub fn is_about_several(&self) -> bool {
        self.kind == FaultKind::Several
    }

    /// Place and cause in one line.
    pub fn line(&self) -> String {
        format!("{}: {}", place(&self.database, &self.record, self.property()), self.wrong)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(&self.database, &self.record, self.property()))?;
        write!(f, "\n  because: {}", self.wrong)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  hint: {remedy}"),
            None => Ok(()),
        }
    }
}

/// Something in a record that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The database.
    pub database: String,
    /// The record's key.
    pub record: String,
    /// The property; none when it is the record itself.
    pub property: Option<String>,
    /// What sort of warning.
    pub kind: WarningKind,
    /// What it is about.
    pub about: String,
}

/// What sort of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WarningKind {
    /// No such property is known; it is kept.
    Unknown,
    /// It is kept, but this version does not act on it.
    Pending,
    /// It has no effect, because of another property that is missing or says otherwise.
    Incomplete,
    /// The table itself could not be used, the built-in one was.
    Table,
}

impl Warning {
    /// The property; empty when it is the record itself.
    pub fn property(&self) -> &str {
        self.property.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = place(&self.database, &self.record, self.property.as_deref());
        write!(f, "{place}: {}", self.about)
    }
}

fn place(database: &str, record: &str, property: Option<&str>) -> String {
    let property =
        property.map_or_else(String::new, |name| format!(", property {}", value::one_line(name)));
    format!("{database} record '{}'{property}", value::one_line(record))
}

/// What was found in a record. Its `Display` is the message for an admin: empty, or whole lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Checked {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What stops nothing.
    pub warnings: Vec<Warning>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.faults.iter().try_for_each(|fault| writeln!(f, "error: {fault}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl Schema {
    /// Checks the record `key` of type `kind` with all its properties.
    ///
    /// In a database without a table everything passes, as do records that the table is not about.
    pub fn check_record<'a>(
        &self,
        database: &str,
        key: &BStr,
        kind: &BStr,
        properties: impl IntoIterator<Item = (&'a BStr, &'a BStr)>,
    ) -> Checked {
        let Some(table) = self.of(database) else { return Checked::default() };
        if table.record.as_ref().is_some_and(|record| key != record.as_str()) {
            return Checked::default();
        }
        let mut check = Check {
            table,
            record: key.to_str_lossy().into_owned(),
            key: key.to_str().ok().map(str::to_owned),
            properties: properties.into_iter().collect(),
            checked: Checked::default(),
        };
        if let Some(error) = self.fault(database) {
            let source = std::error::Error::source(error).map(ToString::to_string);
            let about =
                format!("{error} ({}); the built-in table is used", source.unwrap_or_default());
            check.warn(None, WarningKind::Table, about);
        }
        check.key(key);
        if let Some(record_type) = check.kind(kind) {
            check.each(record_type);
            check.across();
        }
        check.checked
    }
}

/// A check under way.
struct Check<'a> {
    table: &'a DatabaseSchema,
    record: String,
    /// The key as a command can say it.
    key: Option<String>,
    properties: Vec<(&'a BStr, &'a BStr)>,
    checked: Checked,
}

impl<'a> Check<'a> {
    fn key(&mut self, key: &BStr) {
        let Some(kind) = self.table.key else { return };
        let wrong = match key.to_str() {
            Ok(text) => kind.check(text).err(),
            Err(_) => Some(BadValue::new("the key is not UTF-8", "text in UTF-8")),
        };
        if let Some(wrong) = wrong {
            self.fault(FaultKind::Record, None, wrong, None);
        }
    }

    fn kind(&mut self, kind: &BStr) -> Option<&'a RecordSchema> {
        let table = self.table;
        let found = kind.to_str().ok().and_then(|kind| table.record_type(kind));
        if found.is_none() {
            let right: Vec<&str> = table.types.iter().map(|one| one.kind.as_str()).collect();
            let wrong = format!("the record has the type {}", value::quoted(&kind.to_str_lossy()));
            let remedy = right.first().and_then(|kind| self.command("settype", &[*kind]));
            let wrong = BadValue::new(wrong, right.join(", "));
            self.fault(FaultKind::Record, None, wrong, remedy);
        }
        found
    }

    fn each(&mut self, record_type: &RecordSchema) {
        for (name, value) in self.properties.clone() {
            let text = name.to_str_lossy();
            if let Some(property) = record_type.property(&text) {
                self.property(property, name, value);
                continue;
            }
            let near = nearest(record_type, &text)
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            let about = format!("not known, kept without effect{near}");
            self.warn(Some(&text), WarningKind::Unknown, about);
        }
    }

    fn property(&mut self, property: &Property, name: &BStr, value: &BStr) {
        // A name that is no text can be shown, and no command can name it.
        let said = name.to_str().ok();
        let name = &*name.to_str_lossy();
        if let Some(prefix) = property.family() {
            let rest = name.strip_prefix(prefix).unwrap_or(name);
            if let Err(wrong) = value::env_name(rest) {
                let remedy = said.and_then(|name| self.command("delprop", &[name]));
                self.fault(FaultKind::Property, Some((name, None)), wrong, remedy);
            }
        } else if value.is_empty() {
            return;
        }
        let wrong = match value.to_str() {
            Ok(text) => {
                if let Some(pending) = property.pending_for(text) {
                    self.warn(Some(name), WarningKind::Pending, pending.to_owned());
                }
                property.kind.check(text).err()
            }
            Err(_) => Some(BadValue::new("the value is not UTF-8", "text in UTF-8")),
        };
        if let Some(wrong) = wrong {
            let shown = if property.is_masked() { "***".into() } else { value.to_str_lossy() };
            // No example for a secret: somebody would paste it.
            let example = Some(&property.example).filter(|_| !property.secret);
            let remedy = said
                .zip(example)
                .and_then(|(name, example)| self.command("setprop", &[name, example]));
            let place = (name, Some(shown.into_owned()));
            self.fault(FaultKind::Property, Some(place), wrong, remedy);
        }
    }

    /// Rules about several properties, where the record alone can tell.
    fn across(&mut self) {
        let database = self.table.database.clone();
        if database == DbName::CONTAINERS {
            self.across_container();
        } else if database == DbName::IMAGES {
            let source = self.get("Source");
            if matches!(source, Some("archive" | "rootfs")) {
                self.needs("Source", "Path", "/srv/images/wiki.tar");
            }
        }
    }

    fn across_container(&mut self) {
        if self.get("PortMapping") == Some("custom") {
            self.needs("PortMapping", "PortMappingPorts", "8080:80");
        }
        if self.get("SubDomain") == Some("enabled") {
            self.needs("SubDomain", "SubDomainName", "wiki");
        }
        if self.get("StopAt").is_some() {
            self.needs("StopAt", "StartAt", "30 7 * * mon-fri");
        } else if self.get("StartAt").is_some() {
            self.incomplete("StartAt", "without effect unless StopAt says when it stops again");
        }
        self.data_mount();
        if self.get("status") == Some("enabled") && self.get("Image").is_none() {
            self.incomplete("status", "nothing to run: it is enabled and has no Image");
        }
        for property in ["AllowHosts", "DenyHosts"] {
            if self.get(property).is_some() && self.get("access") != Some("public") {
                self.incomplete(property, "without effect unless access is public");
            }
        }
        let own = self
            .get("Interlinked")
            .and_then(|text| value::links(text).ok())
            .is_some_and(|links| links.iter().any(|link| link.target.as_str() == self.record));
        if own {
            let value = self.get("Interlinked").map(str::to_owned);
            let wrong = BadValue::new("the container is linked to itself", "names of others");
            let remedy = self.command("delprop", &["Interlinked"]);
            self.fault(FaultKind::Property, Some(("Interlinked", value)), wrong, remedy);
        }
    }

    fn data_mount(&mut self) {
        match (self.get("DataMount"), self.get("DataMountPath"), self.get("Image")) {
            (Some(_), None, None) => self.needs("DataMount", "DataMountPath", "/var/lib/mysql"),
            // The record of the image may say it, and only `desired` sees that one.
            (Some(_), None, Some(_)) => {
                let about =
                    "without effect unless this record or that of its image has DataMountPath";
                self.incomplete("DataMount", about);
            }
            (None, Some(_), _) => {
                let about = "without effect unless DataMount is container or host: data is lost \
                             with the container";
                self.incomplete("DataMountPath", about);
            }
            (Some(_), Some(_), _) | (None, None, _) => {}
        }
    }

    fn incomplete(&mut self, property: &str, about: &str) {
        self.warn(Some(property), WarningKind::Incomplete, about.to_owned());
    }

    /// Finds fault with `property` when `other` is missing.
    fn needs(&mut self, property: &str, other: &str, example: &str) {
        if self.get(other).is_some() {
            return;
        }
        let value = self.get(property).unwrap_or_default().to_owned();
        let wrong = BadValue::new(
            format!("{} needs {other}, which is missing", value::quoted(&value)),
            format!("both, as {other} '{example}'"),
        );
        let remedy = self.command("setprop", &[property, &value, other, example]);
        self.fault(FaultKind::Several, Some((property, Some(value))), wrong, remedy);
    }

    /// The value of `name`; an empty one counts as missing.
    fn get(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.properties.iter().find(|(found, _)| *found == name)?;
        value.to_str().ok().filter(|value| !value.is_empty())
    }

    /// A command on this record that can be pasted into a shell.
    fn command(&self, verb: &str, arguments: &[&str]) -> Option<String> {
        let words = ["db", &self.table.database, verb, self.key.as_deref()?];
        shlex::try_join(words.into_iter().chain(arguments.iter().copied())).ok()
    }

    fn fault(
        &mut self,
        kind: FaultKind,
        place: Option<(&str, Option<String>)>,
        wrong: BadValue,
        remedy: Option<String>,
    ) {
        let (property, value) = place.unzip();
        self.checked.faults.push(Fault {
            database: self.table.database.clone(),
            record: self.record.clone(),
            property: property.map(str::to_owned),
            value: value.flatten(),
            kind,
            wrong,
            remedy,
        });
    }

    fn warn(&mut self, property: Option<&str>, kind: WarningKind, about: String) {
        self.checked.warnings.push(Warning {
            database: self.table.database.clone(),
            record: self.record.clone(),
            property: property.map(str::to_owned),
            kind,
            about,
        });
    }
}

/// The known property that somebody who wrote `name` may have meant.
fn nearest(record_type: &RecordSchema, name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let most = (name.chars().count() / 3).clamp(1, 3);
    let near = |property: &Property| {
        let Some(prefix) = property.family() else {
            let known = property.name.to_ascii_lowercase();
            return Some((value::distance(&known, &lower, most)?, property.name.clone()));
        };
        let rest = lower.strip_prefix(&prefix.to_ascii_lowercase())?;
        let rest = name.get(name.len() - rest.len()..)?;
        Some((0, format!("{prefix}{rest}")))
    };
    record_type
        .properties
        .iter()
        .filter_map(near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
