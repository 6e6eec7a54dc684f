// SPDX-License-Identifier: GPL-2.0-or-later

//! What a handler writes: kept in part, and handed on line by line in part. Pure.

use crate::event::line::LONGEST;

/// Bytes that are kept of the beginning, and as many of the end.
pub const KEPT: usize = 32 * 1024;

/// Bytes of one handler that are handed on; the log is for others too.
const TOLD: usize = 1024 * 1024;

/// The beginning and the end of a text of any length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    total: u64,
}

impl Kept {
    /// Adds `bytes` at the end.
    pub fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(KEPT)..]);
        // Moved only every second time, so that many small pieces cost little.
        if self.tail.len() > 2 * KEPT {
            self.tail.drain(..self.tail.len() - KEPT);
        }
    }

    /// How many bytes are between the two parts that are kept.
    pub fn left_out(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len().min(KEPT)) as u64
    }

    /// Both parts, with a line between them when something is left out.
    pub fn text(&self) -> String {
        let tail = &self.tail[self.tail.len().saturating_sub(KEPT)..];
        let left_out = self.left_out();
        let mut text = self.head.clone();
        if left_out > 0 {
            text.extend_from_slice(format!("\n[{left_out} bytes are left out]\n").as_bytes());
        }
        text.extend_from_slice(tail);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    told: usize,
    silent: u64,
}

impl Lines {
    /// Hands the lines that `bytes` completes to `line`.
    pub fn add(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        if self.told >= TOLD {
            self.silent += bytes.len() as u64;
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            self.begun.extend_from_slice(text);
            while self.begun.len() > LONGEST {
                let rest = self.begun.split_off(LONGEST);
                self.hand_on(line);
                self.begun = rest;
            }
            if is_whole {
                self.hand_on(line);
            }
        }
    }

    fn hand_on(&mut self, line: &mut dyn FnMut(&[u8])) {
        let text = std::mem::take(&mut self.begun);
        self.told += text.len() + 1;
        if self.told <= TOLD {
            line(&text);
        } else {
            self.silent += text.len() as u64 + 1;
        }
    }

    /// Hands on what is left, and says how much was not handed on.
    pub fn end(mut self, line: &mut dyn FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.hand_on(line);
        }
        if self.silent > 0 {
            line(format!("[{} more bytes are not logged]", self.silent).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_two_ends_are_kept_and_the_rest_is_counted() {
        let mut kept = Kept::default();
        for number in 0..100_000 {
            kept.add(format!("{number:07}\n").as_bytes());
        }
        assert_eq!(kept.left_out(), 800_000 - 65_536);
        let text = kept.text();
        assert!(text.starts_with("0000000\n0000001\n"), "{}", &text[..40]);
        assert!(text.ends_with("0099998\n0099999\n"));
        assert!(text.contains("\n[734464 bytes are left out]\n"));
        let mut at_once = Kept::default();
        at_once.add(&b"x".repeat(100_000));
        assert_eq!(at_once.left_out(), 100_000 - 65_536);
    }

    #[test]
    fn a_text_that_fits_is_kept_as_it_is() {
        let mut kept = Kept::default();
        kept.add(&b"a".repeat(KEPT));
        kept.add(&b"b".repeat(KEPT));
        assert_eq!(kept.left_out(), 0);
        assert_eq!(kept.text().len(), 2 * KEPT);
    }

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        let mut add = |line: &[u8]| found.push(line.to_vec());
        for piece in pieces {
            lines.add(piece, &mut add);
        }
        lines.end(&mut add);
        found
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        assert_eq!(lines(&[b"a\nb", b"c\n", b"\nd"]), [&b"a"[..], b"bc", b"", b"d"]);
        let long = lines(&[&b"x".repeat(2 * LONGEST + 1)]);
        assert_eq!(long.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST, LONGEST, 1]);
    }

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let flood = b"y\n".repeat(TOLD);
        let found = lines(&[&flood]);
        assert_eq!(found.len(), TOLD / 2 + 1);
        let last = String::from_utf8_lossy(found.last().unwrap()).into_owned();
        assert_eq!(last, format!("[{TOLD} more bytes are not logged]"));
    }
}
