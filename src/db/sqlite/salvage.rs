// SPDX-License-Identifier: GPL-2.0-or-later

//! What can be had of a damaged file: every row that a page still holds.
//!
//! Works on the bytes of the file and its log alone, so that neither is touched and no damaged page keeps
//! the others from being read. Rows are told by their columns, not by the tables' roots; of several texts
//! of one record the history tells which was the last.
//!
//! Source: sqlite.org/fileformat2.html, "B-tree Pages" (1.6), "Record Format" (2.1), "The WAL" (4).

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BString, ByteSlice};
use jiff::Timestamp;

use crate::db::history::{Author, Edit, Entry};
use crate::db::{Contents, DbName, Record, Records};

/// Page size that we make files with, for a file whose own header is lost.
const PAGE: usize = 4096;

/// Length of the file's header, before the first page's content.
const FILE_HEADER: usize = 100;

/// Kinds of pages that hold rows.
const INNER_OF_INDEX: u8 = 0x02;
const LEAF_OF_INDEX: u8 = 0x0a;
const LEAF_OF_TABLE: u8 = 0x0d;

/// What was found, and what is doubtful about it.
#[derive(Debug, Default)]
pub struct Salvage {
    /// The records and their history.
    pub contents: Contents,
    /// The store's identity, when it was found.
    pub identity: Option<String>,
    /// What an admin should look at.
    pub doubts: Vec<String>,
}

/// Reads the rows out of the bytes of `file` and of its `log`.
pub fn salvage(file: &[u8], log: &[u8]) -> Salvage {
    let pages = Pages::new(file, log);
    let mut rows = Rows::default();
    for number in 1..=pages.count() {
        pages.rows(number, &mut |row| rows.take(&row));
    }
    let mut found = rows.judged();
    let lost = pages.unreadable();
    if lost > 0 {
        found
            .doubts
            .push(format!("{lost} of {} pages hold nothing that makes sense", pages.count()));
    }
    found
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Number(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Blob(_) => None,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => text.to_str().ok().map(ToOwned::to_owned),
            Self::Null | Self::Number(_) | Self::Blob(_) => None,
        }
    }

    fn bytes(&self) -> Option<BString> {
        match self {
            Self::Blob(bytes) => Some(bytes.clone().into()),
            Self::Null | Self::Number(_) | Self::Text(_) => None,
        }
    }

    fn name(&self) -> Option<DbName> {
        DbName::try_from(self.text()?).ok()
    }
}

/// A row with its number, when its table has one.
struct Row {
    number: Option<i64>,
    values: Vec<Value>,
}

/// The pages of the file, those of the log in the place of older ones.
struct Pages<'a> {
    file: &'a [u8],
    size: usize,
    usable: usize,
    newer: BTreeMap<usize, &'a [u8]>,
}

impl<'a> Pages<'a> {
    fn new(file: &'a [u8], log: &'a [u8]) -> Self {
        let said = file.get(16..18).map_or(0, |two| usize::from(two[0]) << 8 | usize::from(two[1]));
        let said = if said == 1 { 65_536 } else { said };
        let is_size = said.is_power_of_two() && (512..=65_536).contains(&said);
        let size = if is_size { said } else { PAGE };
        let reserved = file.get(20).copied().filter(|_| is_size).unwrap_or(0);
        Self {
            file,
            size,
            usable: size.saturating_sub(usize::from(reserved)).max(480),
            newer: logged(log, size),
        }
    }

    fn count(&self) -> usize {
        let in_file = self.file.len().div_ceil(self.size);
        self.newer.keys().next_back().copied().unwrap_or(0).max(in_file)
    }

    /// Page `number`, counted from 1.
    fn page(&self, number: usize) -> Option<&'a [u8]> {
        if let Some(page) = self.newer.get(&number) {
            return Some(page);
        }
        let start = number.checked_sub(1)?.checked_mul(self.size)?;
        let rest = self.file.get(start..)?;
        Some(&rest[..rest.len().min(self.size)])
    }

    /// How many pages are neither of the tree nor free nor the rest of a long row.
    fn unreadable(&self) -> usize {
        let mut readable = BTreeSet::new();
        let mut is_chained = BTreeSet::new();
        for number in 1..=self.count() {
            let Some(page) = self.page(number) else { continue };
            let kind = page.get(if number == 1 { FILE_HEADER } else { 0 });
            let known = [INNER_OF_INDEX, LEAF_OF_INDEX, LEAF_OF_TABLE, 0x05, 0];
            if kind.is_some_and(|kind| known.contains(kind)) {
                readable.insert(number);
                self.chains(number, &mut is_chained);
            }
        }
        (1..=self.count()).filter(|n| !readable.contains(n) && !is_chained.contains(n)).count()
    }

    /// The numbers of the pages on which rows of page `number` go on.
    fn chains(&self, number: usize, found: &mut BTreeSet<usize>) {
        self.cells(number, &mut |cell| {
            let mut next = cell.overflow;
            while let Some(at) = next.filter(|at| found.insert(*at)) {
                next = self.page(at).and_then(|page| whole(page, 0)).filter(|next| *next > 0);
            }
        });
    }

    /// Calls `take` with each row of page `number` that makes sense.
    fn rows(&self, number: usize, take: &mut dyn FnMut(Row)) {
        self.cells(number, &mut |cell| {
            if let Some(values) = self.payload(&cell).and_then(|payload| values(&payload)) {
                take(Row { number: cell.number, values });
            }
        });
    }

    fn cells(&self, number: usize, take: &mut dyn FnMut(Cell<'a>)) {
        let Some(page) = self.page(number) else { return };
        let header = if number == 1 { FILE_HEADER } else { 0 };
        let Some(kind) = page.get(header).copied() else { return };
        let first = match kind {
            INNER_OF_INDEX => header + 12,
            LEAF_OF_INDEX | LEAF_OF_TABLE => header + 8,
            _ => return,
        };
        let count = half(page, header + 3).unwrap_or(0);
        for at in 0..count {
            let Some(start) = half(page, first + 2 * at) else { return };
            if let Some(cell) = self.cell(page, start, kind) {
                take(cell);
            }
        }
    }

    fn cell(&self, page: &'a [u8], start: usize, kind: u8) -> Option<Cell<'a>> {
        let mut at = if kind == INNER_OF_INDEX { start + 4 } else { start };
        let length = usize::try_from(varint(page, &mut at)?).ok()?;
        let number = match kind {
            LEAF_OF_TABLE => Some(varint(page, &mut at)?),
            _ => None,
        };
        let most = match kind {
            LEAF_OF_TABLE => self.usable - 35,
            _ => (self.usable - 12) * 64 / 255 - 23,
        };
        if length <= most {
            let local = page.get(at..at.checked_add(length)?)?;
            return Some(Cell { number, length, local, overflow: None });
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let wanted = least + (length - least) % (self.usable - 4);
        let local = if wanted <= most { wanted } else { least };
        let overflow = whole(page, at + local)?;
        Some(Cell { number, length, local: page.get(at..at + local)?, overflow: Some(overflow) })
    }

    /// The bytes of a row, those on other pages included.
    fn payload(&self, cell: &Cell<'_>) -> Option<Vec<u8>> {
        if cell.length > self.count().checked_mul(self.size)? {
            return None;
        }
        let mut payload = cell.local.to_vec();
        let mut next = cell.overflow;
        while payload.len() < cell.length {
            let page = self.page(next.filter(|next| *next > 0)?)?;
            next = whole(page, 0);
            let missing = cell.length - payload.len();
            let part = page.get(4..self.usable.min(page.len()))?;
            // A page that holds nothing and leads to itself would have no end.
            if part.is_empty() {
                return None;
            }
            payload.extend_from_slice(&part[..part.len().min(missing)]);
        }
        Some(payload)
    }
}

/// A row as it stands on its page.
struct Cell<'a> {
    number: Option<i64>,
    length: usize,
    local: &'a [u8],
    overflow: Option<usize>,
}

/// The newest committed pages of a log, by number.
fn logged(log: &[u8], size: usize) -> BTreeMap<usize, &[u8]> {
    let mut committed = BTreeMap::new();
    let mut open = BTreeMap::new();
    let (Some(salt), Some(frames)) = (log.get(16..24), log.get(32..)) else { return committed };
    for frame in frames.chunks_exact(24 + size) {
        let (head, page) = frame.split_at(24);
        // A frame of an earlier turn of the log has another salt.
        if head.get(8..16) != Some(salt) {
            break;
        }
        if let Some(number) = whole(head, 0) {
            open.insert(number, page);
        }
        if whole(head, 4).is_some_and(|pages| pages > 0) {
            committed.append(&mut open);
        }
    }
    committed
}

/// The values of a row; `None` when the bytes are none.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let header = usize::try_from(varint(payload, &mut at)?).ok()?;
    let mut from = header;
    let mut values = Vec::new();
    while at < header {
        let kind = varint(payload, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let bytes = payload.get(from..from.checked_add(length)?)?;
        from += length;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Number(0),
            9 => Value::Number(1),
            1..=6 => Value::Number(signed(bytes)),
            7 => return None,
            _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(bytes.to_vec()),
        });
    }
    (from == payload.len()).then_some(values)
}

/// Big-endian, with its sign.
fn signed(bytes: &[u8]) -> i64 {
    let start = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(start, |number, byte| number << 8 | i64::from(*byte))
}

/// A number of one to nine bytes; `at` moves behind it.
fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut number: i64 = 0;
    for turn in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if turn == 8 {
            return Some(number << 8 | i64::from(byte));
        }
        number = number << 7 | i64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number).filter(|number| *number >= 0)
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(two[0]) << 8 | usize::from(two[1]))
}

fn whole(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(four.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// The rows that were found, by what their columns say they are.
#[derive(Default)]
struct Rows {
    databases: BTreeSet<DbName>,
    /// Every text that was found for a record.
    texts: BTreeMap<(DbName, BString), Vec<BString>>,
    commands: BTreeMap<i64, (i64, Author)>,
    changes: BTreeMap<i64, Vec<Edit>>,
    identity: Option<String>,
}

impl Rows {
    fn take(&mut self, row: &Row) {
        match row.values.as_slice() {
            [Value::Text(_)] if row.number.is_some() => self.identity = row.values[0].text(),
            [Value::Text(_)] => self.databases.extend(row.values[0].name()),
            [database @ Value::Text(_), key @ Value::Blob(_), text @ Value::Blob(_)] => {
                if let (Some(database), Some(key), Some(text)) =
                    (database.name(), key.bytes(), text.bytes())
                {
                    let texts = self.texts.entry((database, key)).or_default();
                    if !texts.contains(&text) {
                        texts.push(text);
                    }
                }
            }
            [Value::Number(number), database @ Value::Text(_), key @ Value::Blob(_), old, new] => {
                if let (Some(database), Some(key)) = (database.name(), key.bytes()) {
                    let record = |value: &Value| value.bytes().map(Record::from_text);
                    let edit = Edit { database, key, old: record(old), new: record(new) };
                    let edits = self.changes.entry(*number).or_default();
                    if !edits.contains(&edit) {
                        edits.push(edit);
                    }
                }
            }
            [_, at, user, login, sudo, sender, command, _total] => {
                let (Some(number), Some(at), Some(command)) =
                    (row.number, at.number(), command.bytes())
                else {
                    return;
                };
                let uid = |value: &Value| u32::try_from(value.number()?).ok();
                let author = Author {
                    uid: uid(user).unwrap_or_default(),
                    login: uid(login),
                    sudo: sudo.text(),
                    sender: sender.text(),
                    command,
                };
                self.commands.insert(number, (at, author));
            }
            _ => {}
        }
    }

    fn judged(mut self) -> Salvage {
        let mut doubts = Vec::new();
        let mut databases: BTreeMap<DbName, Records> =
            self.databases.iter().map(|name| (name.clone(), Records::default())).collect();
        let mut last: BTreeMap<(DbName, BString), Option<Record>> = BTreeMap::new();
        for edit in self.changes.values().flatten() {
            last.insert((edit.database.clone(), edit.key.clone()), edit.new.clone());
        }
        for (place, texts) in std::mem::take(&mut self.texts) {
            let (database, key) = &place;
            let about = format!("{database} record '{key}'");
            let told = last.remove(&place);
            let is_told = |text: &BString| {
                told.as_ref().is_some_and(|told| {
                    told.as_ref().is_some_and(|record| record.text() == text.as_bstr())
                })
            };
            // What stands on a page counts; of several texts, the one that the history tells of.
            let text = match texts.iter().find(|text| is_told(text)).or(texts.last()) {
                Some(text) => text.clone(),
                None => continue,
            };
            if told.is_some() && !is_told(&text) {
                doubts.push(format!("{about} is not what the history tells"));
            } else if texts.len() > 1 {
                doubts.push(format!("{about} was found with {} texts", texts.len()));
            }
            let text = Record::from_text(text);
            databases.entry(database.clone()).or_default().insert(key.clone(), text);
        }
        // Not found as records at all, but the history has their text.
        for ((database, key), record) in last {
            if let Some(record) = record {
                doubts.push(format!("{database} record '{key}' was taken from the history"));
                databases.entry(database).or_default().insert(key, record);
            }
        }
        let history = self.changes.into_iter().map(|(number, mut edits)| {
            edits.sort_by(|a, b| (&a.database, &a.key).cmp(&(&b.database, &b.key)));
            edits.dedup_by(|a, b| (&a.database, &a.key) == (&b.database, &b.key));
            let (at, author) = self.commands.remove(&number).unwrap_or_default();
            let at = Timestamp::from_microsecond(at).unwrap_or_default();
            Entry { number: u64::try_from(number).unwrap_or(0), at, author, edits }
        });
        let contents = Contents { databases, history: history.collect() };
        Salvage { contents, identity: self.identity, doubts }
    }
}
