// SPDX-License-Identifier: GPL-2.0-or-later

//! Records as JSON: the verbs that `NethServer` added to `db`.
//!
//! A record is `{"name": …, "type": …, "props": {…}}`, without `props` when it has none. What is not
//! UTF-8 becomes U+FFFD, as there. Other than there, the members always come in this order, and a member
//! that means nothing is refused, because what it was meant to set would be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use bstr::{BStr, BString, ByteSlice};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::db::{Change, Record, Records, Refusal};

#[derive(Serialize)]
struct Shown {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    props: BTreeMap<String, String>,
}

/// How the text is laid out.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// In one line without an end.
    Compact,
    /// As Perl's `JSON::XS` lays it out.
    Pretty,
}

/// All records.
pub(super) fn records(records: &Records, layout: Layout) -> Vec<u8> {
    let all: Vec<_> = records.entries().map(|(key, record)| shown(key, record)).collect();
    text(&all, layout)
}

/// One record; the original answers `1` when it is not there.
pub(super) fn record(key: &BStr, record: Option<&Record>, layout: Layout) -> Vec<u8> {
    match record {
        Some(record) => text(&shown(key, Some(record)), layout),
        None => text(&1, layout),
    }
}

fn shown(key: &BStr, record: Option<&Record>) -> Shown {
    let lossy = |bytes: &BStr| bytes.to_str_lossy().into_owned();
    let props = record.into_iter().flat_map(Record::properties);
    Shown {
        name: lossy(key),
        kind: record.map(|record| lossy(&record.decoded_kind())).unwrap_or_default(),
        props: props.map(|(name, value)| (lossy(&name), lossy(&value))).collect(),
    }
}

fn text(value: &impl Serialize, layout: Layout) -> Vec<u8> {
    let mut text = Vec::new();
    // Strings, lists and maps into memory: nothing in it can fail.
    match layout {
        Layout::Compact => serde_json::to_writer(&mut text, value).unwrap_or_default(),
        Layout::Pretty => {
            let mut to = serde_json::Serializer::with_formatter(&mut text, Perl::new());
            value.serialize(&mut to).unwrap_or_default();
            text.push(b'\n');
        }
    }
    text
}

/// Three blanks a level, and a blank on both sides of a colon.
struct Perl(PrettyFormatter<'static>);

impl Perl {
    fn new() -> Self {
        Self(PrettyFormatter::with_indent(b"   "))
    }
}

impl Formatter for Perl {
    fn begin_array<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_array(to)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_array(to)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(to, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_array_value(to)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object(to)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object(to)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(to, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object_value(to)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    props: Props,
}

/// Properties; two of one name are a fault, not a choice.
#[derive(Default)]
struct Props(BTreeMap<String, Scalar>);

impl<'de> Deserialize<'de> for Props {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Props;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of properties")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Props, M::Error> {
                let mut props = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if props.contains_key(&name) {
                        let wrong = format!("property '{name}' is there twice");
                        return Err(de::Error::custom(wrong));
                    }
                    props.insert(name, map.next_value()?);
                }
                Ok(Props(props))
            }
        }
        from.deserialize_map(Reader)
    }
}

/// A value as Perl takes it: text, or what turns into text there.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a property is text, a number, true or false")]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Truth(bool),
}

impl From<Scalar> for BString {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text.into(),
            Scalar::Number(number) => number.to_string().into(),
            Scalar::Truth(truth) => if truth { "1" } else { "0" }.into(),
        }
    }
}

/// Why data sets no records.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the data is not JSON of records")]
    Json(#[source] serde_json::Error),
    #[error("record '{name}'")]
    Record { name: String, source: Refusal },
    #[error("record '{name}' is there twice")]
    Twice { name: String },
    #[error("a record needs a name that is not empty and not '0'")]
    Name,
}

/// The changes that `data` asks for: one object or an array of them, each replaces its record.
pub(super) fn changes(data: &[u8]) -> Result<Vec<Change>, Error> {
    let is_list = data.trim_start().starts_with(b"[");
    let given: Vec<Given> = if is_list {
        serde_json::from_slice(data).map_err(Error::Json)?
    } else {
        vec![serde_json::from_slice(data).map_err(Error::Json)?]
    };
    let mut seen = BTreeSet::new();
    if let Some(twice) = given.iter().find(|given| !seen.insert(given.name.trim())) {
        return Err(Error::Twice { name: twice.name.clone() });
    }
    given.into_iter().map(change).collect()
}

fn change(given: Given) -> Result<Change, Error> {
    let Given { name, kind, props } = given;
    if matches!(name.trim(), "" | "0") {
        return Err(Error::Name);
    }
    let props = props.0.into_iter();
    let props: BTreeMap<BString, BString> =
        props.map(|(name, value)| (name.into(), value.into())).collect();
    let key = name.trim().into();
    Record::from_parts(kind.as_str().into(), &props)
        .map(|record| Change::Put { key, record: Some(record) })
        .map_err(|source| Error::Record { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Records {
        Records::parse(text.as_bytes())
    }

    #[test]
    fn records_are_laid_out_as_perl_does() {
        let all = of("a=t|p|x\"y|q|1\nb=s\n");
        let compact = records(&all, Layout::Compact);
        let expected =
            r#"[{"name":"a","type":"t","props":{"p":"x\"y","q":"1"}},{"name":"b","type":"s"}]"#;
        assert_eq!(compact.as_bstr(), expected);
        let pretty = records(&of("a=t|p|1\n"), Layout::Pretty);
        let expected = "[\n   {\n      \"name\" : \"a\",\n      \"type\" : \"t\",\n      \"props\" : {\n         \"p\" : \"1\"\n      }\n   }\n]\n";
        assert_eq!(pretty.as_bstr(), expected);
        assert_eq!(records(&of(""), Layout::Compact), b"[]");
        assert_eq!(record("none".into(), None, Layout::Compact), b"1");
    }

    #[test]
    fn what_was_printed_can_be_set() {
        let all = of("a=t|p|x y |q|1\nb=s\n");
        let given = changes(&records(&all, Layout::Pretty)).unwrap();
        let mut copy = Records::default();
        for change in given {
            copy.insert(change.key(), change.apply(None).unwrap().unwrap());
        }
        assert_eq!(copy, all);
    }

    #[test]
    fn data_that_would_lose_something_is_refused() {
        for (data, expected) in [
            (r#"{"name":"k","type":"t","properties":{}}"#, "unknown field `properties`"),
            (r#"{"name":"k","type":"t","props":{"a":"1","a":"2"}}"#, "'a' is there twice"),
            (r#"{"name":"k","type":"t","props":{"a":{}}}"#, "a property is text"),
            (r#"{"name":"k","type":"t","props":{"a":"x|y"}}"#, "holds a '|'"),
            (r#"{"name":"0","type":"t"}"#, "needs a name"),
            (r#"{"name":"k"}"#, "missing field `type`"),
            (r#"{"name":"k","type":"t"} x"#, "trailing characters"),
        ] {
            let error = changes(data.as_bytes()).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!("{error}: {}", source.unwrap_or_default());
            assert!(text.contains(expected), "{data}: {text}");
        }
    }
}
