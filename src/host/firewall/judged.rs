// SPDX-License-Identifier: GPL-2.0-or-later

//! Marks of flows that the guard has judged, so that it does not judge each of their packets again. Pure.
//!
//! A mark is bits of the flow's conntrack label: [`ASKED`] is set when a packet has come through `prerouting`,
//! [`PASSED`] when one has come through `forward`, each by the chain that judged it. What is set there is
//! a word of sixteen bits out of thirty-two, made of the guard's text and of the way the packet came. So a mark is worth something only
//! as long as that very text is in force: any change gives other words, a label can only gain bits, and two
//! words together are none. Nothing has to be remembered or cleared for this to hold, after a crash
//! as after a heal; and another program that sets bits here makes a flow slow, but opens none.
//!
//! Lines of the text that begin with `#judged` are comments to `nft`. They are put in by a transaction of their own
//! after the one that changes the guard: while that one is committed, a packet may be judged by new rules and
//! the old content of a set, and must not be remembered for it.

use std::fmt::Write as _;
use std::ops::Range;

use sha2::{Digest, Sha256};

/// Bits of `prerouting`; numbers are given from below, so these are the least likely to be anybody's.
const ASKED: Range<u8> = 64..96;
/// Bits of `forward`.
const PASSED: Range<u8> = 96..128;
/// How a line begins that belongs to the marks.
const LINE: &str = "#judged ";

/// The two transactions about the chains that deal with marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// Nothing is marked, and no mark counts.
    pub(super) without: String,
    /// Marks count that were set under this text.
    pub(super) with: String,
}

impl Marks {
    /// Those of a guard's `text`; `None` when it has none.
    pub(super) fn of(text: &str) -> Option<Self> {
        let chains = chains(text);
        if chains.is_empty() {
            return None;
        }
        let mut flush = String::new();
        for (name, _) in &chains {
            // Writing to a String cannot fail.
            writeln!(flush, "flush chain inet wharf {name}").ok();
        }
        let lines: Vec<&str> = chains.into_iter().flat_map(|(_, lines)| lines).collect();
        let block = |body: String| format!("{flush}table inet wharf {{\n{body}\n}}\n");
        Some(Self { without: block(lines.join("\n")), with: block(marked(&lines, text)) })
    }
}

/// The chains of `text` that have such lines: name and all lines.
fn chains(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut inside: Option<(&str, Vec<&str>)> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let name = trimmed.strip_prefix("chain ").and_then(|rest| rest.strip_suffix('{'));
        match (&mut inside, name) {
            (None, Some(name)) => inside = Some((name.trim(), vec![line])),
            (None, None) => {}
            (Some((_, lines)), _) => {
                lines.push(line);
                if trimmed == "}"
                    && let Some(chain) = inside.take()
                    && chain.1.iter().any(|line| line.trim().starts_with(LINE))
                {
                    found.push(chain);
                }
            }
        }
    }
    found
}

/// `lines` with those of the marks in force, in the words that stand for `text`.
fn marked(lines: &[&str], text: &str) -> String {
    let kinds = [
        ("$ASKED_FAR", ASKED),
        ("$ASKED_NEAR", ASKED),
        ("$ASKED_OUT", ASKED),
        ("$PASSED_IN", PASSED),
        ("$PASSED_OUT", PASSED),
    ];
    let words = kinds.map(|(name, among)| (name, bits(word(name, text, among).into_iter())));
    // The longer name first where one begins with another.
    let names = words.into_iter().chain([
        ("$ASKED", bits(ASKED)),
        ("$PASSED", bits(PASSED)),
        ("$BOTH", bits(ASKED.chain(PASSED))),
    ]);
    let names: Vec<(&str, String)> = names.collect();
    let put_in = |line: &&str| {
        names.iter().fold(line.replacen(LINE, "", 1), |line, (name, bits)| line.replace(name, bits))
    };
    lines.iter().map(put_in).collect::<Vec<_>>().join("\n")
}

/// Half of the bits `among`, as `text` says: 601,080,390 words, of which no two make up a third.
fn word(kind: &str, text: &str, among: Range<u8>) -> Vec<u8> {
    let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize();
    let mut left: Vec<u8> = among.collect();
    let half = left.len() / 2;
    let mut word: Vec<u8> =
        hash.iter().take(half).map(|byte| left.remove(usize::from(*byte) % left.len())).collect();
    word.sort_unstable();
    word
}

/// `(64 | 65)`
fn bits(bits: impl Iterator<Item = u8>) -> String {
    let bits: Vec<String> = bits.map(|bit| bit.to_string()).collect();
    format!("({})", bits.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "table inet wharf {\n\tset a {\n\t\ttype x\n\t}\n\
        \tchain one {\n\t\ttype filter hook forward priority 0; policy accept;\n\
        \t\t#judged ct label & $PASSED == $PASSED_IN return\n\t\tjump two\n\t}\n\
        \tchain two {\n\t\t# no judged line\n\t\tdrop\n\t}\n}\n";

    #[test]
    fn only_chains_with_marks_are_written_anew() {
        let marks = Marks::of(TEXT).unwrap();
        assert_eq!(
            marks.without,
            "flush chain inet wharf one\ntable inet wharf {\n\tchain one {\n\
             \t\ttype filter hook forward priority 0; policy accept;\n\
             \t\t#judged ct label & $PASSED == $PASSED_IN return\n\t\tjump two\n\t}\n}\n"
        );
        assert!(marks.with.starts_with("flush chain inet wharf one\n"), "{}", marks.with);
        assert!(!marks.with.contains(['#', '$']), "{}", marks.with);
        assert!(!marks.with.contains("two {"), "{}", marks.with);
        assert_eq!(Marks::of(&TEXT.replace("#judged", "# judged")), None);
        assert_eq!(Marks::of(""), None);
    }

    #[test]
    fn a_mark_stands_for_one_text() {
        let with = |text: &str| Marks::of(text).unwrap().with;
        assert_eq!(with(TEXT), with(TEXT));
        assert_ne!(with(TEXT), with(&TEXT.replace("drop", "accept")));
    }

    #[test]
    fn a_word_is_half_of_its_bits_so_that_two_never_make_up_a_third() {
        let mut words = Vec::new();
        for text in 0..200 {
            for (kind, among) in [("far", ASKED), ("near", ASKED), ("in", PASSED), ("out", PASSED)]
            {
                let word = word(kind, &text.to_string(), among.clone());
                assert_eq!(word.len(), 16);
                assert!(word.iter().all(|bit| among.contains(bit)), "{word:?}");
                assert!(word.is_sorted_by(|a, b| a < b), "{word:?}");
                assert!(!words.contains(&word), "{word:?}");
                words.push(word);
            }
        }
    }
}
