// SPDX-License-Identifier: GPL-2.0-or-later

//! Here-documents: followed, so that what comes behind one is known. No value stands in one.

use super::{Refusal, Shell};

/// A here-document that begins behind this line, or is open.
#[derive(Debug, Default)]
pub(super) struct Document {
    delimiter: String,
    strip_tabs: bool,
    quoted: bool,
    /// The quote that is open in the delimiter.
    quote: Option<char>,
    line: String,
    started: bool,
}

impl Shell {
    pub(super) fn delimiter(&mut self, c: char) -> Result<(), Refusal> {
        let Some(document) = self.documents.last_mut() else { return Ok(()) };
        if let Some(quote) = document.quote {
            if c == quote {
                document.quote = None;
            } else {
                document.delimiter.push(c);
            }
            return Ok(());
        }
        match c {
            '<' if !document.started => {
                // `<<<`: the rest is an ordinary word.
                self.documents.pop();
                self.stack.pop();
                self.command.here_string();
            }
            '-' if !document.started => {
                document.strip_tabs = true;
                document.started = true;
            }
            ' ' | '\t' if document.delimiter.is_empty() && !document.quoted => {
                document.started = true;
            }
            '"' | '\'' | '\\' => {
                document.quote = Some(c).filter(|c| *c != '\\');
                document.quoted = true;
                document.started = true;
            }
            '$' | '`' => self.lose("it stands behind a here-document with an odd delimiter"),
            ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => {
                self.stack.pop();
                return self.bare(c);
            }
            _ => {
                document.started = true;
                document.delimiter.push(c);
            }
        }
        Ok(())
    }

    pub(super) fn document(&mut self, c: char) {
        let Some(document) = self.documents.first_mut() else {
            self.stack.pop();
            return;
        };
        if c != '\n' {
            document.line.push(c);
            return;
        }
        let line = std::mem::take(&mut document.line);
        if !document.quoted && line.ends_with('\\') {
            self.lose("it stands behind a here-document with a joined line");
            return;
        }
        let end = if document.strip_tabs { line.trim_start_matches('\t') } else { &line };
        if end == document.delimiter {
            self.documents.remove(0);
            if self.documents.is_empty() {
                self.stack.pop();
            }
        }
    }
}
