// SPDX-License-Identifier: GPL-2.0-or-later

//! How deep a template may go, found before the template language reads it.
//!
//! Tera's parser and renderer call themselves once for each level of a block, a parenthesis, an operator
//! and a macro, and end the process when the stack is full; nothing can catch that. Calls in the arguments
//! of calls are parsed four times at each level. So a text is measured first, by a scan that needs no
//! stack of its own; what passes it fits [`STACK`] (`tests/it/templates.rs` expands the deepest one).

use std::collections::{BTreeMap, BTreeSet};

/// Stack of the thread in which a template is parsed and rendered. Only what is used of it is memory.
pub(super) const STACK: usize = 64 << 20;

/// Blocks within blocks.
const MOST_BLOCKS: usize = 100;
/// Parentheses and brackets within others, in one tag.
const MOST_BRACKETS: usize = 32;
/// Calls in the arguments of calls, in one tag.
const MOST_CALLS: usize = 5;
/// Operators in one tag; each is a level of what is parsed.
const MOST_OPERATORS: usize = 250;
/// Bytes of one tag without the texts in it.
const LONGEST: usize = 64 << 10;
/// Macros that call one another in a row.
const MOST_MACROS: usize = 20;

/// What nearly every template stays below; such a one needs no stack of its own (a test renders the deepest
/// in a quarter of what a thread has by default).
const FEW_BLOCKS: usize = 3;
const FEW_BRACKETS: usize = 2;
const FEW_CALLS: usize = 1;
const FEW_OPERATORS: usize = 8;

/// What goes too deep, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Line of the text, from 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) why: String,
}

/// A call of a macro.
#[derive(Clone, Debug)]
struct Call {
    /// The text that holds it, by its number.
    text: usize,
    line: usize,
    to: String,
}

/// The macros of a target and what they call; they may stand in several fragments.
#[derive(Debug, Default)]
pub(super) struct Macros {
    calls: BTreeMap<String, Vec<Call>>,
    goes_deep: bool,
}

impl Macros {
    /// Whether what was measured fits the stack of any thread.
    pub(super) fn are_shallow(&self) -> bool {
        !self.goes_deep && self.calls.is_empty()
    }

    /// Whether each chain of calls ends, and soon enough; else the number of the text with the call that
    /// leads too deep.
    pub(super) fn check(&self) -> Result<(), (usize, Fault)> {
        let mut done = BTreeSet::new();
        for name in self.calls.keys() {
            self.walk(name, &mut Vec::new(), &mut done)?;
        }
        Ok(())
    }

    fn walk<'a>(
        &'a self,
        name: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<(&'a str, usize)>,
    ) -> Result<(), (usize, Fault)> {
        // The same macro deeper down is another question.
        if !done.insert((name, path.len())) {
            return Ok(());
        }
        path.push(name);
        for call in self.calls.get(name).into_iter().flatten() {
            let fault = |why| (call.text, Fault { line: call.line, why });
            if path.contains(&call.to.as_str()) {
                return Err(fault(format!(
                    "macro '{}' calls itself; write it as {{% for %}}",
                    call.to
                )));
            }
            if path.len() >= MOST_MACROS {
                return Err(fault(format!("macros call one another more than {MOST_MACROS} deep")));
            }
            self.walk(&call.to, path, done)?;
        }
        path.pop();
        Ok(())
    }
}

/// Measures `text`, the fragment with this `number`, and notes its macros.
///
/// # Errors
///
/// It goes deeper than a template may.
pub(super) fn measure(text: &str, number: usize, macros: &mut Macros) -> Result<(), Fault> {
    let mut scan = Scan { text, number, blocks: 0, inside: None, macros };
    let mut at = 0;
    while let Some(next) = text[at..].find('{') {
        let from = at + next;
        let rest = &text[from..];
        at = from
            + if rest.starts_with("{#") {
                rest.find("#}").map_or(rest.len(), |end| end + 2)
            } else if rest.starts_with("{{") || rest.starts_with("{%") {
                scan.tag(from)?
            } else {
                1
            };
    }
    Ok(())
}

struct Scan<'a> {
    text: &'a str,
    number: usize,
    /// Blocks that are open.
    blocks: usize,
    /// The macro that is being defined.
    inside: Option<String>,
    macros: &'a mut Macros,
}

/// One sign or word of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(char),
    Text,
}

impl<'a> Scan<'a> {
    /// Goes over the tag at `from` and gives its length, with that of a raw block.
    fn tag(&mut self, from: usize) -> Result<usize, Fault> {
        let text = self.text;
        let close = if text[from..].starts_with("{{") { "}}" } else { "%}" };
        let mut tag = Tag::default();
        let mut tokens: Vec<Token<'a>> = Vec::new();
        let mut at = from + 2;
        while at < text.len() && !text[at..].starts_with(close) {
            let (token, length) = token(&text[at..]);
            at += length;
            let Some(token) = token else { continue };
            tag.take(tokens.last().copied(), token, length).map_err(|why| self.fault(at, why))?;
            self.macros.goes_deep |= tag.goes_deep();
            tokens.push(token);
        }
        let end = (at + close.len()).min(text.len());
        self.note(from, &tokens, close == "%}")?;
        let is_raw = close == "%}" && words(&tokens).next() == Some("raw");
        Ok(if is_raw { end_of_raw(text, end) } else { end } - from)
    }

    fn fault(&self, at: usize, why: String) -> Fault {
        let at = at.min(self.text.len());
        Fault { line: self.text.as_bytes()[..at].split(|byte| *byte == b'\n').count(), why }
    }

    /// What the tag does to blocks and macros.
    fn note(&mut self, from: usize, tokens: &[Token<'a>], is_block: bool) -> Result<(), Fault> {
        let mut words = words(tokens);
        match words.next() {
            Some(word @ ("if" | "for" | "macro" | "filter" | "block")) if is_block => {
                self.blocks += 1;
                self.macros.goes_deep |= self.blocks > FEW_BLOCKS;
                if self.blocks > MOST_BLOCKS {
                    let why = format!("blocks stand more than {MOST_BLOCKS} deep in one another");
                    return Err(self.fault(from, why));
                }
                if word == "macro" {
                    self.inside = words.next().map(str::to_owned);
                }
            }
            Some(word @ ("endif" | "endfor" | "endmacro" | "endfilter" | "endblock"))
                if is_block =>
            {
                self.blocks = self.blocks.saturating_sub(1);
                if word == "endmacro" {
                    self.inside = None;
                }
            }
            Some(_) | None => {}
        }
        let Some(inside) = &self.inside else { return Ok(()) };
        let line = self.fault(from, String::new()).line;
        let calls = self.macros.calls.entry(inside.clone()).or_default();
        for four in tokens.windows(4) {
            if let [Token::Word(_), Token::Sign(':'), Token::Sign(':'), Token::Word(to)] = four {
                calls.push(Call { text: self.number, line, to: (*to).to_owned() });
            }
        }
        Ok(())
    }
}

fn words<'a>(tokens: &[Token<'a>]) -> impl Iterator<Item = &'a str> {
    tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(*word),
        Token::Sign(_) | Token::Text => None,
    })
}

/// What `rest` begins with, and its length; blanks are nothing.
fn token(rest: &str) -> (Option<Token<'_>>, usize) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match rest.chars().next() {
        Some(c) if is_part(c) => {
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            (Some(Token::Word(&rest[..length])), length)
        }
        Some(quote @ ('"' | '\'' | '`')) => {
            (Some(Token::Text), rest[1..].find(quote).map_or(rest.len(), |end| end + 2))
        }
        Some(c) => ((!c.is_ascii_whitespace()).then_some(Token::Sign(c)), c.len_utf8()),
        None => (None, 1),
    }
}

/// Behind the tag that ends the raw block that begins before `from`.
fn end_of_raw(text: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(next) = text[at..].find("{%") {
        at += next + 2;
        let inner = &text[at..];
        let inner = inner.strip_prefix('-').unwrap_or(inner).trim_ascii_start();
        if inner.starts_with("endraw") {
            return text[at..].find("%}").map_or(text.len(), |end| at + end + 2);
        }
    }
    text.len()
}

/// What was found in one tag.
#[derive(Debug, Default)]
struct Tag {
    length: usize,
    operators: usize,
    /// The brackets that are open; `true`: those of a call.
    open: Vec<bool>,
}

impl Tag {
    fn goes_deep(&self) -> bool {
        self.operators > FEW_OPERATORS
            || self.open.len() > FEW_BRACKETS
            || self.open.iter().filter(|is_call| **is_call).count() > FEW_CALLS
    }

    fn take(
        &mut self,
        before: Option<Token<'_>>,
        token: Token<'_>,
        length: usize,
    ) -> Result<(), String> {
        let most =
            |what, most| Err(format!("{what} ({most} at most); use {{% set %}} for a part of it"));
        match token {
            Token::Text => return Ok(()),
            Token::Sign(c @ ('(' | '[')) => {
                let is_call = matches!(before, Some(Token::Word(word)) if !is_operator(word));
                self.open.push(c == '(' && is_call);
                let calls = self.open.iter().filter(|is_call| **is_call).count();
                if calls > MOST_CALLS {
                    return most("calls stand too deep in the arguments of calls", MOST_CALLS);
                }
                if self.open.len() > MOST_BRACKETS {
                    return most("brackets stand too deep in one another", MOST_BRACKETS);
                }
            }
            Token::Sign(')' | ']') => drop(self.open.pop()),
            Token::Sign('+' | '-' | '*' | '/' | '%' | '<' | '>' | '=' | '!' | '|' | '~') => {
                self.operators += 1;
            }
            Token::Word(word) if is_operator(word) => self.operators += 1,
            Token::Word(_) | Token::Sign(_) => {}
        }
        self.length += length;
        if self.operators > MOST_OPERATORS {
            return most("a tag has too many operators", MOST_OPERATORS);
        }
        if self.length > LONGEST {
            return most("a tag is too long, in bytes without the texts in it", LONGEST);
        }
        Ok(())
    }
}

fn is_operator(word: &str) -> bool {
    matches!(word, "not" | "and" | "or" | "in" | "is" | "if" | "elif")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn wrong(text: &str) -> Option<(usize, String)> {
        let mut macros = Macros::default();
        let found =
            measure(text, 0, &mut macros).and_then(|()| macros.check().map_err(|(_, fault)| fault));
        found.err().map(|fault| (fault.line, fault.why))
    }

    #[test]
    fn what_goes_too_deep_is_told_with_its_line() {
        let deep =
            |n: usize| format!("a\n{}b{}", "{% if x %}\n".repeat(n), "{% endif %}".repeat(n));
        assert_eq!(wrong(&deep(100)), None);
        let (line, why) = wrong(&deep(101)).unwrap();
        assert_eq!((line, why.contains("blocks")), (102, true), "{why}");
        // One after the other is not one in the other.
        assert_eq!(wrong(&"{%- for a in b -%}{% endfor %}".repeat(1000)), None);

        for (open, close, words) in [
            ("(", ")", "brackets"),
            ("a[", "]", "brackets"),
            ("not ", "", "operators"),
            ("f(x=", ")", "calls"),
            ("a is f(", ")", "calls"),
            ("1 + ", "", "operators"),
            ("a | upper | ", "", "operators"),
            ("a.", "", "too long"),
        ] {
            let text = format!("\n{{{{ {}a{} }}}}", open.repeat(100_000), close.repeat(100_000));
            let (line, why) = wrong(&text).unwrap();
            assert!(line == 2 && why.contains(words), "{open}: {line}, {why}");
            assert_eq!(wrong(&format!("{{{{ {}a{} }}}}", open.repeat(5), close.repeat(5))), None);
        }
    }

    #[test]
    fn a_macro_must_not_come_back_to_itself() {
        let direct = "{% macro m(a) %}\n{{ self::m(a=1) }}{% endmacro %}";
        assert_eq!(wrong(direct).unwrap().0, 2);
        let round = "{% macro a() %}{{ self::b() }}{% endmacro %}{% macro b() %}{% if 1 %}{% set x = self :: a() %}\
                     {% endif %}{% endmacro %}{{ self::a() }}";
        assert!(wrong(round).unwrap().1.contains("calls itself"));
        assert_eq!(
            wrong("{% macro a() %}{{ self::b() }}{% endmacro %}{% macro b() %}{% endmacro %}"),
            None
        );
        let mut chain = String::new();
        for n in 0..21 {
            let call = format!("{{{{ self::m{}() }}}}", n + 1);
            write!(chain, "{{% macro m{n}() %}}{call}{{% endmacro %}}").unwrap();
        }
        assert!(wrong(&chain).unwrap().1.contains("20 deep"));
    }

    #[test]
    fn texts_comments_and_raw_blocks_hold_no_tags() {
        let parts = [
            ("{{ '", "(((((((", "' }}"),
            ("{# ", "{% if x %}", " #}"),
            ("{% raw %} endraw ", "{% if x %}", "{%- endraw %}"),
        ];
        for (begin, part, end) in parts {
            let text = format!("{begin}{}{end}", part.repeat(1000));
            assert_eq!(wrong(&text), None, "{begin}");
            assert!(wrong(&format!("{text}{}", "{% if x %}".repeat(101))).is_some(), "{begin}");
        }
    }
}
