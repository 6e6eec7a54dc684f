// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules for `nft -f`.
//!
//! Source: `scanner.l` of nftables. A quoted string goes to the next `"` and knows no escapes; in the
//! name of an interface an asterisk at its end stands for any text, and a backslash before that one
//! takes its meaning. In the prefix of a log `$` begins a variable.

use super::{Lexer, Refusal, in_comment, is_plain, none, one_line};

/// The position in a file of rules.
#[derive(Debug, Default)]
pub(super) struct Nftables(At);

#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Bare,
    Quotes,
    Comment,
}

impl Lexer for Nftables {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        self.0 = match (self.0, c) {
            (At::Bare, '"') => At::Quotes,
            (At::Bare, '#') => At::Comment,
            (At::Quotes, '"') | (At::Comment, '\n') => At::Bare,
            (at, _) => at,
        };
        Ok(())
    }

    fn value(&mut self, text: &str, _: &str, out: &mut String) -> Result<(), Refusal> {
        match self.0 {
            At::Comment => return in_comment(text, out),
            At::Quotes => {
                const PLACE: &str = "a quoted string of nftables";
                one_line(text, PLACE)?;
                none(text, |c| c == '"', PLACE, "it has a quote, and there is no escape")?;
                let special = |c| matches!(c, '*' | '\\' | '$');
                none(text, special, PLACE, "it has an asterisk, a backslash or a dollar sign")?;
            }
            At::Bare => {
                const PLACE: &str = "a word of nftables";
                if text.is_empty() {
                    return Err(Refusal { place: PLACE, why: "it is empty" });
                }
                one_line(text, PLACE)?;
                none(
                    text,
                    |c| !is_plain(c),
                    PLACE,
                    "it has more than letters, digits and _ . : / -",
                )?;
            }
        }
        out.push_str(text);
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        matches!(self.0, At::Quotes).then_some("a quoted string of nftables")
    }
}
