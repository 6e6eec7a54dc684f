// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads databases from YAML.
//!
//! Straight from the pieces of the text; a tree in between would not know their lines. The depth is
//! that of the format and nothing is kept but the records, so a hostile text costs its length and no
//! more.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use super::node::{Mark, Reader};
use super::{Error, Fault, MAX_BYTES, VERSION};
use crate::db::change::check_key;
use crate::db::{DbName, Record, Records};

/// The databases that `text`, an export, holds.
///
/// # Errors
///
/// [`Error::TooLong`], else [`Error::Line`] with the first line that is not as it must be.
pub fn from_yaml(text: &[u8]) -> Result<BTreeMap<DbName, Records>, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong);
    }
    document(&mut Reader::new(text)?)
}

fn document(reader: &mut Reader<'_>) -> Result<BTreeMap<DbName, Records>, Error> {
    let begin = reader.next()?;
    if !begin.is(Mark::Document) {
        return Err(reader.fault_at(1, Fault::Nothing));
    }
    let top = reader.next()?;
    if top.null().is_some() {
        return Err(reader.fault_at(1, Fault::Nothing));
    }
    let wanted = "a mapping that begins with 'wharf-export: 1'";
    reader.opened(&top, Mark::Mapping, "an export", wanted)?;
    let start = reader.line;
    let mut format = None;
    let mut all = None;
    while let Some(field) = reader.key("a name")? {
        match field.as_slice() {
            b"wharf-export" => once(reader, &mut format, field.as_ref(), version)?,
            b"databases" => once(reader, &mut all, field.as_ref(), databases)?,
            _ => {
                let known = "'wharf-export' and 'databases'";
                return Err(reader.fault(Fault::UnknownField { found: field, known }));
            }
        }
    }
    let end = reader.next()?;
    if !end.is(Mark::End) {
        return Err(reader.fault(Fault::SecondDocument));
    }
    let missing = |field, remedy| reader.fault_at(start, Fault::MissingField { field, remedy });
    format.ok_or_else(|| missing("the version", "'wharf-export: 1' as the first line"))?;
    all.ok_or_else(|| missing("'databases'", "'databases: {}' when there is none"))
}

fn version(reader: &mut Reader<'_>) -> Result<(), Error> {
    let found = reader.text("the version")?;
    if found == VERSION { Ok(()) } else { Err(reader.fault(Fault::Version { found })) }
}

fn databases(reader: &mut Reader<'_>) -> Result<BTreeMap<DbName, Records>, Error> {
    let wanted = "a mapping of names and records, or {} when there is no database";
    reader.open(Mark::Mapping, "'databases'", wanted)?;
    let mut databases = BTreeMap::new();
    while let Some(name) = reader.key("the name of a database")? {
        reader.place.database = Some(name.clone());
        let text = name.to_str().map_err(|_| reader.fault(Fault::NotUtf8))?;
        let database = DbName::try_from(text).map_err(|_| reader.fault(Fault::Name))?;
        if databases.contains_key(&database) {
            return Err(reader.fault(Fault::Twice { what: "the database", name }));
        }
        databases.insert(database, records(reader)?);
        reader.place.database = None;
    }
    Ok(databases)
}

fn records(reader: &mut Reader<'_>) -> Result<Records, Error> {
    let wanted = "a list of records, or [] when there is none";
    reader.open(Mark::List, "a database", wanted)?;
    let mut records = Records::default();
    loop {
        let node = reader.next()?;
        if node.is(Mark::ListEnd) {
            return Ok(records);
        }
        reader.opened(&node, Mark::Mapping, "a record", "a mapping that begins with 'key'")?;
        let (key, record) = Draft::read(reader)?;
        if records.has(key.value.as_ref()) {
            let twice = Fault::Twice { what: "the record", name: key.value };
            return Err(reader.fault_at(key.line, twice));
        }
        records.insert(key.value, record);
        reader.place.key = None;
    }
}

/// Reads a field that can stand once.
fn once<T>(
    reader: &mut Reader<'_>,
    field: &mut Option<T>,
    name: &BStr,
    read: fn(&mut Reader<'_>) -> Result<T, Error>,
) -> Result<(), Error> {
    if field.is_some() {
        return Err(reader.fault(Fault::Twice { what: "the field", name: name.to_owned() }));
    }
    *field = Some(read(reader)?);
    Ok(())
}

/// A part of a record and the line it stands in.
struct Located {
    value: BString,
    line: usize,
}

impl AsRef<[u8]> for Located {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

/// A record as far as it is read.
#[derive(Default)]
struct Draft {
    key: Option<Located>,
    kind: Option<Located>,
    text: Option<Located>,
    properties: Option<BTreeMap<BString, Located>>,
}

impl Draft {
    /// Reads what is left of the mapping that is a record.
    fn read(reader: &mut Reader<'_>) -> Result<(Located, Record), Error> {
        let start = reader.line;
        let mut draft = Self::default();
        while let Some(field) = reader.key("a name")? {
            let name = field.as_ref();
            match field.as_slice() {
                b"key" => {
                    once(reader, &mut draft.key, name, read_key)?;
                    reader.place.key = draft.key.as_ref().map(|key| key.value.clone());
                }
                b"type" => once(reader, &mut draft.kind, name, read_kind)?,
                b"text" => once(reader, &mut draft.text, name, read_text)?,
                b"properties" => once(reader, &mut draft.properties, name, read_properties)?,
                _ => {
                    let known = "'key', 'type' and 'properties', or 'key' and 'text',";
                    return Err(reader.fault(Fault::UnknownField { found: field, known }));
                }
            }
        }
        draft.finish(reader, start)
    }

    fn finish(self, reader: &Reader<'_>, start: usize) -> Result<(Located, Record), Error> {
        let missing = |field, remedy| reader.fault_at(start, Fault::MissingField { field, remedy });
        let key = self.key.ok_or_else(|| missing("the key", "'key: NAME'"))?;
        let record = match (self.kind, self.text) {
            (None, Some(text)) if self.properties.is_none() => Record::from_text(text.value),
            (_, Some(text)) => return Err(reader.fault_at(text.line, Fault::TextAndParts)),
            (Some(kind), None) => composed(reader, &kind, &self.properties.unwrap_or_default())?,
            (None, None) => return Err(missing("the type", "'type: TYPE', or '' for none")),
        };
        Ok((key, record))
    }
}

fn composed(
    reader: &Reader<'_>,
    kind: &Located,
    properties: &BTreeMap<BString, Located>,
) -> Result<Record, Error> {
    Record::from_parts(kind.value.as_ref(), properties).map_err(|refusal| {
        let at = refusal.property().and_then(|name| properties.get(name)).unwrap_or(kind);
        reader.fault_at(at.line, Fault::Refused { refusal })
    })
}

fn read_key(reader: &mut Reader<'_>) -> Result<Located, Error> {
    let value = reader.text("the key")?;
    match check_key(&value) {
        Ok(()) => Ok(Located { value, line: reader.line }),
        Err(refusal) => {
            reader.place.key = Some(value);
            Err(reader.fault(Fault::Refused { refusal }))
        }
    }
}

fn read_kind(reader: &mut Reader<'_>) -> Result<Located, Error> {
    read_part(reader, "the type")
}

fn read_text(reader: &mut Reader<'_>) -> Result<Located, Error> {
    let value = reader.text("the text")?;
    if value.contains(&b'\n') {
        return Err(reader.fault(Fault::NewlineInText));
    }
    Ok(Located { value, line: reader.line })
}

fn read_properties(reader: &mut Reader<'_>) -> Result<BTreeMap<BString, Located>, Error> {
    let wanted = "a mapping of names and values, or left out when there is none";
    reader.open(Mark::Mapping, "'properties'", wanted)?;
    let mut properties = BTreeMap::new();
    while let Some(name) = reader.key("the name of a property")? {
        reader.place.property = Some(name.clone());
        refuse_backslash_n(reader, &name)?;
        if properties.contains_key(&name) {
            return Err(reader.fault(Fault::Twice { what: "the property", name }));
        }
        properties.insert(name, read_part(reader, "the value")?);
        reader.place.property = None;
    }
    Ok(properties)
}

/// A text that is stored with its newlines as backslash-n.
fn read_part(reader: &mut Reader<'_>, what: &'static str) -> Result<Located, Error> {
    let value = reader.text(what)?;
    refuse_backslash_n(reader, &value)?;
    Ok(Located { value, line: reader.line })
}

fn refuse_backslash_n(reader: &Reader<'_>, text: &BString) -> Result<(), Error> {
    if text.contains_str("\\n") {
        Err(reader.fault(Fault::BackslashN { text: text.clone() }))
    } else {
        Ok(())
    }
}
