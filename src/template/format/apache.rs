// SPDX-License-Identifier: GPL-2.0-or-later

//! Directives of Apache.
//!
//! Source: `ap_getword_conf`, `ap_cfg_getline` and `ap_resolve_env` in httpd's `server/util.c` and
//! `core.c`. A line that ends in a backslash goes on, a comment too. A word is bare or stands in one
//! kind of quotes; a backslash counts before itself and before that quote. `${NAME}` is replaced
//! before anything else, and nothing takes that meaning from it. A line cannot hold a newline.
//!
//! Some arguments are read once more, by rules of their own that know no such escape: expressions
//! (`<If>`, `Require expr`), texts with `%{...}` (`ErrorDocument`) or `$1` (`RewriteRule`), and names of programs
//! (`ErrorLog "|..."`). What would mean something there is refused. Source: the page of each directive.

use super::{Lexer, Refusal, backslashed, in_comment, is_plain, none, one_line};

/// The position in a file of directives.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the position")]
pub(super) struct Apache {
    at: At,
    /// Behind a backslash.
    escaped: bool,
    /// Behind a dollar sign.
    dollar: bool,
    /// In `${`.
    braces: bool,
    /// A quote was not closed on its line.
    unclosed: bool,
    /// The directive or section, in small letters, as far as it is literal.
    name: String,
    /// The arguments before this one.
    arguments: Vec<String>,
    /// The argument so far.
    word: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Line,
    /// In the name of a directive or section.
    Name,
    /// Before an argument.
    Between,
    Word,
    Quotes(char),
    /// Behind a value that we quoted.
    Quoted,
    Comment,
}

const PLACE: &str = "an Apache argument";
const WHOLE: Refusal = Refusal {
    place: PLACE,
    why: "it is only a part of it and needs quotes: write those of the whole argument in the template",
};

impl Apache {
    fn next_line(&mut self) {
        let joined = std::mem::take(&mut self.escaped);
        self.dollar = false;
        self.braces = false;
        if joined {
            return;
        }
        self.unclosed |= matches!(self.at, At::Quotes(_));
        self.at = At::Line;
        self.name.clear();
        self.arguments.clear();
        self.word.clear();
    }

    /// Notes what the position has come to.
    fn follow(&mut self, before: At, c: char) {
        let is_opened = before == At::Between && matches!(self.at, At::Quotes(_));
        let is_closed = matches!(before, At::Quotes(_)) && self.at == At::Word;
        match (before, self.at) {
            (_, At::Name) => self.name.push(c.to_ascii_lowercase()),
            (At::Word | At::Quoted, At::Between) => {
                self.arguments.push(std::mem::take(&mut self.word));
            }
            (_, At::Word | At::Quotes(_)) if !is_opened && !is_closed => self.word.push(c),
            _ => {}
        }
    }

    /// Refuses what would mean something in an argument that is read once more.
    fn read_again(&self, text: &str) -> Result<(), Refusal> {
        let refused = |place, why| Err(Refusal { place, why });
        let whole = format!("{}{text}", self.word).to_ascii_lowercase();
        let name = self.name.as_str();
        let argument = |at: usize| self.arguments.get(at).map(|word| word.to_ascii_lowercase());
        let is_expression = match name {
            "<if" | "<elseif" | "rewritecond" | "setenvifexpr" | "sslrequire" => true,
            "require" => {
                let first = argument(0).filter(|word| word != "not").or_else(|| argument(1));
                first.is_some_and(|word| word == "expr" || word.is_empty())
            }
            "header" | "requestheader" => whole.starts_with("expr="),
            _ => false,
        };
        if is_expression && !text.chars().all(|c| is_plain(c) || c == '@') {
            return refused(
                "an expression of Apache",
                "only letters, digits and _ . : / - @ mean nothing there",
            );
        }
        if whole.starts_with("expr=") && !is_expression {
            return refused(PLACE, "it begins an expression");
        }
        if ["|", "exec:", "prg:"].iter().any(|begin| whole.starts_with(begin)) {
            return refused(PLACE, "Apache would take it for a program and run it");
        }
        let odd: &[char] = match name {
            "rewriterule" => &['$', '%', '\\'],
            "header" | "requestheader" | "customlog" | "logformat" | "errorlogformat" => &['%'],
            _ => &[],
        };
        let percents = ["require", "errordocument", "redirect", "alias", "scriptalias", "authname"];
        let makes = text.contains("%{")
            || (self.word.ends_with('%') && text.starts_with('{'))
            || text.ends_with('%')
            || (name == "require" && text.contains('%'));
        let makes = makes && percents.contains(&name);
        if makes || text.contains(odd) {
            return refused(PLACE, "it has what this directive replaces by something else: % or $");
        }
        Ok(())
    }

    fn move_over(&mut self, c: char, escaped: bool) -> Result<At, Refusal> {
        let space = c.is_ascii_whitespace();
        Ok(match self.at {
            At::Line if space => At::Line,
            At::Line if c == '#' => At::Comment,
            At::Line => At::Name,
            At::Name | At::Between | At::Word | At::Quoted if space => At::Between,
            At::Between if matches!(c, '"' | '\'') => At::Quotes(c),
            At::Between => At::Word,
            At::Quotes(quote) if c == quote && !escaped => At::Word,
            At::Quoted if c == '>' => At::Word,
            At::Quoted => return Err(WHOLE),
            at @ (At::Name | At::Word | At::Quotes(_) | At::Comment) => at,
        })
    }

    fn bare(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        let needs_quotes =
            |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\');
        let ends = rest.chars().next().is_none_or(|c| c.is_ascii_whitespace() || c == '>');
        if !text.is_empty() && !text.contains(needs_quotes) {
            out.push_str(text);
            self.at = At::Word;
        } else if self.at == At::Between && ends {
            out.push('"');
            backslashed(text, &['"', '\\'], out);
            out.push('"');
            self.at = At::Quoted;
        } else if !text.is_empty() {
            return Err(WHOLE);
        }
        Ok(())
    }
}

impl Lexer for Apache {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        if c == '\n' && (self.escaped || self.at != At::Quoted) {
            self.next_line();
            return Ok(());
        }
        let escaped = std::mem::take(&mut self.escaped);
        let before = self.at;
        self.at = self.move_over(c, escaped)?;
        self.follow(before, c);
        if c == '\n' {
            self.next_line();
        }
        self.escaped = c == '\\' && !escaped;
        self.braces = (self.braces && c != '}') || (self.dollar && c == '{');
        self.dollar = c == '$';
        Ok(())
    }

    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if self.at == At::Comment {
            return in_comment(text, out);
        }
        let refused = |why| Err(Refusal { place: PLACE, why });
        one_line(text, PLACE)?;
        if self.escaped {
            return refused("it stands behind a backslash");
        }
        let joined = text.ends_with('$') && rest.starts_with(['{', super::OPEN]);
        if self.braces || text.contains("${") || joined || (self.dollar && text.starts_with('{')) {
            return refused("it has or makes ${, which Apache replaces everywhere");
        }
        // The next fragment may begin with the brace.
        if rest.is_empty() && text.ends_with('$') {
            return refused("it ends in a dollar sign at the end of a fragment");
        }
        self.read_again(text)?;
        match self.at {
            At::Line | At::Name => {
                return Err(Refusal {
                    place: "the name of a directive",
                    why: "that must be literal: choose it with {% if %}",
                });
            }
            At::Quoted => return Err(WHOLE),
            At::Quotes(quote) => backslashed(text, &[quote, '\\'], out),
            At::Between | At::Word => self.bare(text, rest, out)?,
            At::Comment => {}
        }
        self.dollar = false;
        self.word.push_str(text);
        none(text, |c| c == '\n', PLACE, "it has a newline")
    }

    fn open(&self) -> Option<&'static str> {
        (self.unclosed || matches!(self.at, At::Quotes(_)))
            .then_some("quotes of an Apache argument")
    }
}
