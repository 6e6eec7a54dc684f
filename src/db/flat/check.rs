// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines of a flat file that do not mean what they look like.

use std::collections::BTreeMap;

use bstr::{BStr, ByteSlice};

use super::Flat;
use crate::db::record::{Record, trim};
use crate::db::{Error, Store};

impl Flat {
    /// Looks at every line of every database; what is wrong, in words with file and line.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for name in self.names()? {
            let faults = faults(&self.content(&name)?.unwrap_or_default());
            found.extend(faults.into_iter().map(|(line, fault)| match line {
                Some(line) => format!("{name}, line {line}: {fault}"),
                None => format!("{name}: {fault}"),
            }));
        }
        Ok(found)
    }
}

/// Faults with the number of their line, the first being 1.
fn faults(file: &[u8]) -> Vec<(Option<usize>, String)> {
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&BStr, usize> = BTreeMap::new();
    for (number, line) in (1..).zip(file.lines()) {
        let mut fault = |text: String| faults.push((Some(number), text));
        let line = line.as_bstr();
        if matches!(trim(line).first(), None | Some(b'#')) {
            continue;
        }
        if line.contains(&0) {
            fault("it holds a NUL: the file may have been torn by a power cut".to_owned());
        }
        let Some((key, text)) = line.split_once_str("=") else {
            fault(format!("'{}' has no '=' and counts as no record", shown(line)));
            continue;
        };
        let key = key.as_bstr();
        if key != trim(key) {
            fault(format!("the blanks around the key '{}' keep it from being found", shown(key)));
        }
        if let Some(before) = seen.insert(key, number) {
            fault(format!("record '{}' is in line {before} too; this one counts", shown(key)));
        }
        let record = Record::from_text(text);
        if let Some(name) = record.dangling() {
            fault(format!("record '{}': property '{}' has no value", shown(key), shown(name)));
        }
    }
    if !file.is_empty() && !file.ends_with(b"\n") {
        faults.push((None, "the last line has no end: the file may be cut off there".to_owned()));
    }
    faults
}

/// So much of it that one finds the place.
fn shown(text: &BStr) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_with_its_line() {
        let file = b"# note\na=t|p|1\nbare\n b=t\na=t|odd\nc=\0";
        let found = faults(file);
        let expected = [
            (Some(3), "'bare' has no '=' and counts as no record"),
            (Some(4), "the blanks around the key ' b' keep it from being found"),
            (Some(5), "record 'a' is in line 2 too; this one counts"),
            (Some(5), "record 'a': property 'odd' has no value"),
            (Some(6), "it holds a NUL: the file may have been torn by a power cut"),
            (None, "the last line has no end: the file may be cut off there"),
        ];
        let expected = expected.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(faults(b""), []);
        assert_eq!(faults(b"a=t\n"), []);
    }
}
