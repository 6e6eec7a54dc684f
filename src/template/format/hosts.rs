// SPDX-License-Identifier: GPL-2.0-or-later

//! `hosts(5)`: addresses and names, and comments from `#` to the end of the line.

use super::{Lexer, Refusal, in_comment, is_plain, none};

const PLACE: &str = "a line of hosts";

/// The position in a file of hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    comment: bool,
}

impl Lexer for Hosts {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        self.comment = c != '\n' && (self.comment || c == '#');
        Ok(())
    }

    fn value(&mut self, text: &str, _: &str, out: &mut String) -> Result<(), Refusal> {
        if self.comment {
            return in_comment(text, out);
        }
        if text.is_empty() {
            return Err(Refusal { place: PLACE, why: "it is empty" });
        }
        // `%` leads to the interface of a link-local address.
        let fits = |c: char| (is_plain(c) && c != '/') || c == '%';
        none(text, |c| !fits(c), PLACE, "it is no address and no name")?;
        out.push_str(text);
        Ok(())
    }
}
