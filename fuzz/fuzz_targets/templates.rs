// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

//! Fragments and metadata of any bytes, with a value of any text, in every format and both dialects.
//!
//! Input: number of the format, the value, then the fragments. What is woven for JSON is JSON again with
//! the value in it, whatever the value; in any format a value that is taken adds no line.

use serde_json::{Map, Value};
use tera::Context;
use wharf::template::declare::Declared;
use wharf::template::expand::expand;
use wharf::template::format::{CLOSE, Format, OPEN, Weaver, mark};
use wharf::template::fragment::{Dialect, Fragment};
use wharf_fuzz::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = wharf_fuzz::parts(data);
    let number = parts.next().and_then(|part| part.first()).copied().unwrap_or_default();
    let format = Format::ALL[usize::from(number) % Format::ALL.len()];
    let value = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    woven(format, &value);

    let dialect = if number < 128 { Dialect::Tera } else { Dialect::Esmith };
    let fragments: Vec<_> = parts
        // Tera counts as far as it is told to: that is the author's business.
        .filter(|part| !part.windows(5).any(|word| word == b"range"))
        .map(|part| Fragment {
            origin: "f".to_owned(),
            content: part.to_vec(),
            dialect,
            is_built_in: false,
        })
        .collect();
    for fragment in &fragments {
        let text = String::from_utf8_lossy(&fragment.content);
        let mut declared = Declared::default();
        // Refused or taken, both are fine; it must come to an end.
        drop(declared.read_lines("m", &text));
        drop(declared.read_front("f", &text));
    }
    let values: Map<String, Value> = [("v".to_owned(), Value::String(value))].into_iter().collect();
    let context = Context::from_value(Value::Object(values)).unwrap();
    drop(expand(&fragments, &context, format));
});

fn woven(format: Format, value: &str) {
    let mut weaver = Weaver::new(format);
    let text = format!("\"{}\"", mark(value));
    let Ok(out) = weaver.weave(&text) else { return };
    assert!(!out.contains([OPEN, CLOSE]), "{format:?}: {out:?}");
    if format == Format::Json {
        let read: String = serde_json::from_str(&out).unwrap();
        assert_eq!(read, value);
    }
    let may_have_lines = matches!(format, Format::Plain | Format::Shell);
    assert!(may_have_lines || !out.contains('\n'), "{format:?}: {out:?}");
}
