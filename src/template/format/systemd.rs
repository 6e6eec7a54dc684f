// SPDX-License-Identifier: GPL-2.0-or-later

//! Units of systemd.
//!
//! Source: `systemd.syntax(7)`, `systemd.unit(5)` (specifiers), `systemd.service(5)` (command lines),
//! `conf-parser.c`, `extract-word.c`, `load-fragment.c`. What a line can hold depends on its key:
//!
//! * `Exec...=` is split into words, with quotes and C escapes; then `%` begins a specifier and `$` a
//!   variable;
//! * `Environment=` likewise, without variables;
//! * `Description=` is taken as it is, but for `%`;
//! * the limits that can be a share take `%` for that;
//! * all others are lists or single words to us: some are split and unquoted, some are not.
//!
//! Quadlet (`podman-systemd.unit(5)`, podman's `pkg/systemd/parser` and `quadlet.go`) has sections of its own. All
//! that stands in them goes into an `ExecStart=` that it makes, where `%` and `$` count: in `Environment=`,
//! `Label=`, `Annotation=`, `Exec=`, `PodmanArgs=` and `GlobalArgs=` as words, elsewhere as it is.

use std::fmt::Write as _;

use super::reader::{is_option_c, is_script, is_unknown};
use super::shell::{VALUE, is_number};
use super::{
    Lexer, Refusal, in_comment, is_control, is_name, is_noncharacter, is_plain, none, one_line,
};

/// The position in a unit.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the position")]
pub(super) struct Systemd {
    at: At,
    key: String,
    /// The section, in which the position stays over its lines.
    section: String,
    /// Nothing but white space stands on this line of the file.
    fresh: bool,
    /// Behind a backslash.
    escaped: bool,
    /// Behind a percent sign.
    percent: bool,
    /// The quote that is open in the text.
    quote: Option<char>,
    /// What is literal of the word so far; [`VALUE`] is a value of ours.
    word: String,
    /// The words of the command line before it.
    words: Vec<String>,
    /// The word is not empty.
    begun: bool,
    /// The word is the program of a command line.
    program: bool,
    /// The command line began with a colon: it has no variables.
    colon: bool,
    /// A quote was not closed on its line.
    unclosed: bool,
    /// Words of Quadlet that say what `Exec=` is given to.
    entry: Vec<String>,
    /// `Exec=` of Quadlet, up to its last value.
    exec: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Line,
    Section,
    Key,
    Text,
    Comment,
    /// In a comment between the lines of one text.
    Between,
}

/// How the text behind a key is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exec,
    Environment,
    /// Words that Quadlet puts into a command line.
    Quadlet,
    Description,
    Share,
    Other,
}

const SHARES: [&str; 9] = [
    "CPUQuota",
    "ManagedOOMMemoryPressureLimit",
    "MemoryHigh",
    "MemoryLow",
    "MemoryMax",
    "MemoryMin",
    "MemorySwapMax",
    "MemoryZSwapMax",
    "TasksMax",
];

/// Sections of Quadlet.
const QUADLET: [&str; 7] = ["Container", "Pod", "Kube", "Volume", "Network", "Image", "Build"];
/// Keys of Quadlet that are split into words with quotes and escapes.
const WORDS: [&str; 6] = ["Annotation", "Environment", "Exec", "GlobalArgs", "Label", "PodmanArgs"];
/// Keys of Quadlet in which `:` and `,` part what one word says.
const PARTED: [&str; 5] = ["AddDevice", "Mount", "Secret", "Tmpfs", "Volume"];

/// Keys of Quadlet whose text a shell reads, or can.
const COMMANDS: [&str; 3] = ["HealthCmd", "HealthStartupCmd", "ReloadCmd"];

/// Lists of paths, that only look like command lines by their names.
const PATHS: [&str; 2] = ["ExecPaths", "ExecSearchPath"];

/// What can stand before a program.
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

const UNIT: &str = "a unit of systemd";
const WORD: &str = "a word of a unit";

const SCRIPT: Refusal = Refusal {
    place: "a text that a shell reads as commands",
    why: "it would be run: write sh -c 'echo \"$$1\"' x, and the value behind that",
};

/// Whether a shell reads the word behind `words`, or a program that is not known may be one.
fn reads_script(words: &[String], word: &str) -> bool {
    let is_unknown = words.first().is_some_and(|program| is_unknown(program));
    is_script(words, word) || is_unknown && words.iter().any(|word| is_option_c(word))
}

impl Systemd {
    fn is_quadlet(&self) -> bool {
        QUADLET.contains(&self.section.trim())
    }

    fn kind(&self) -> Kind {
        if self.is_quadlet() {
            return if WORDS.contains(&self.key.trim()) { Kind::Quadlet } else { Kind::Other };
        }
        match self.key.trim() {
            "Environment" => Kind::Environment,
            "Description" => Kind::Description,
            key if SHARES.contains(&key) => Kind::Share,
            key if key.starts_with("Exec") && !PATHS.contains(&key) => Kind::Exec,
            _ => Kind::Other,
        }
    }

    fn next_line(&mut self) -> Result<(), Refusal> {
        if self.at == At::Between {
            self.at = At::Text;
        } else if self.at == At::Text && self.escaped {
            self.escaped = false;
            if self.quote.is_none() {
                self.end_word();
            }
        } else {
            self.learn()?;
            let unclosed = self.unclosed || self.quote.is_some();
            let section = std::mem::take(&mut self.section);
            let (entry, exec) = (std::mem::take(&mut self.entry), self.exec.take());
            *self = Self { section, unclosed, entry, exec, ..Self::default() };
        }
        self.fresh = true;
        Ok(())
    }

    /// Notes at the end of a line what Quadlet's `Exec=` is given to; that may come behind it.
    fn learn(&mut self) -> Result<(), Refusal> {
        let key = self.key.trim();
        let is_list = key == "PodmanArgs" || key == "GlobalArgs";
        if !self.is_quadlet() || self.at != At::Text || !(is_list || key == "Entrypoint") {
            return Ok(());
        }
        self.end_word();
        let is_named = |word: &String| word.starts_with("--entrypoint");
        if !is_list || self.words.iter().any(is_named) {
            // It can be a list of JSON.
            let apart = |c: char| matches!(c, '[' | ']' | '"' | '\'' | ',' | '=');
            let words = self.words.iter().flat_map(|word| word.split(apart));
            self.entry = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
        }
        match &self.exec {
            Some(exec) => Self::no_command(&self.entry, exec),
            None => Ok(()),
        }
    }

    /// Refuses the value at the end of `exec` where a shell reads it, for `entry` is given it.
    fn no_command(entry: &[String], exec: &[String]) -> Result<(), Refusal> {
        let Some((last, before)) = exec.split_last() else { return Ok(()) };
        let words: Vec<String> = entry.iter().chain(before).cloned().collect();
        if reads_script(&words, last) { Err(SCRIPT) } else { Ok(()) }
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if self.begun {
            let is_program = self.program && self.kind() == Kind::Exec;
            let name = if is_program { word.trim_start_matches(PREFIXES) } else { &word };
            // A semicolon of its own begins the next command.
            self.program = word == ";";
            self.colon &= !self.program;
            if self.program {
                self.words.clear();
            } else {
                self.words.push(name.to_owned());
            }
        }
        self.begun = false;
    }

    fn text(&mut self, c: char) {
        if std::mem::take(&mut self.escaped) {
            self.begun = true;
            self.word.push(c);
            return;
        }
        self.percent = c == '%' && !self.percent;
        match (self.quote, c) {
            (_, '\\') => self.escaped = true,
            (Some(quote), c) if c == quote => self.quote = None,
            (None, '"' | '\'')
                if matches!(self.kind(), Kind::Exec | Kind::Environment | Kind::Quadlet) =>
            {
                self.quote = Some(c);
                self.begun = true;
            }
            (None, ' ' | '\t') => self.end_word(),
            (_, c) => {
                if self.program && c == ':' && self.word.chars().all(|c| PREFIXES.contains(&c)) {
                    self.colon = true;
                }
                self.word.push(c);
                self.begun = true;
            }
        }
    }

    /// Whether a variable's name or braces are open just here.
    fn in_variable(&self) -> bool {
        // A word that is one variable to its end.
        if self.word.starts_with('$') && !self.word.starts_with("${") {
            return true;
        }
        let Some((_, name)) = self.word.rsplit_once('$') else { return false };
        match name.strip_prefix('{') {
            Some(inner) => !inner.contains('}'),
            None => name.chars().all(is_name),
        }
    }

    /// Refuses what a shell would read as commands.
    fn no_script(&mut self, text: &str) -> Result<(), Refusal> {
        if is_number(text) {
            return Ok(());
        }
        if reads_script(&self.words, &self.word) {
            return Err(SCRIPT);
        }
        if self.is_quadlet() && self.key.trim() == "Exec" {
            let exec = self.words.iter().chain([&self.word]).cloned().collect::<Vec<_>>();
            Self::no_command(&self.entry, &exec)?;
            self.exec = Some(exec);
        }
        Ok(())
    }

    fn command(&mut self, text: &str, out: &mut String) -> Result<(), Refusal> {
        const PLACE: &str = "a command line of a unit";
        let refused = |why| Err(Refusal { place: PLACE, why });
        self.no_script(text)?;
        if !self.colon && self.in_variable() {
            return refused("it stands behind a dollar sign: write ${NAME}, and a space between");
        }
        if self.program {
            none(text, |c| c == '$', PLACE, "a program's name cannot have a dollar sign")?;
            let at_begin = self.word.chars().all(|c| PREFIXES.contains(&c));
            if at_begin && !text.starts_with(|c: char| c == '/' || c.is_alphanumeric()) {
                return refused("a program's name begins with a slash, a letter or a digit");
            }
        }
        self.words(text, !self.colon, out);
        Ok(())
    }

    /// `text` in the C escapes that the words of a unit know, bare and in both quotes.
    fn words(&mut self, text: &str, dollars: bool, out: &mut String) {
        if text.is_empty() && self.quote.is_none() && !self.begun {
            out.push_str("\"\"");
        }
        let is_quadlet = self.kind() == Kind::Quadlet;
        for c in text.chars() {
            match c {
                // Quadlet joins a line that ends in any backslash with the next, and cuts all white space
                // of Unicode off its ends.
                '\\' if is_quadlet => hex(c, out),
                c if is_quadlet && c.is_whitespace() && !c.is_ascii() => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '%' => out.push_str("%%"),
                '$' if dollars => out.push_str("$$"),
                // A line that begins with # or ; is passed over, also where it continues another.
                '"' | '\'' | '#' | ';' => hex(c, out),
                ' ' if self.quote.is_none() => hex(c, out),
                c if c.is_ascii_control() => hex(c, out),
                c => out.push(c),
            }
        }
        self.begun = true;
        self.word.push(VALUE);
    }

    fn plain(&mut self, text: &str, kind: Kind, out: &mut String) -> Result<(), Refusal> {
        one_line(text, UNIT)?;
        if kind == Kind::Description {
            const PLACE: &str = "the description of a unit";
            if text.ends_with('\\') || text.trim() != text {
                return Err(Refusal {
                    place: PLACE,
                    why: "it begins or ends with white space, or ends in a backslash",
                });
            }
            if self.fresh && text.starts_with(['#', ';']) {
                return Err(Refusal { place: PLACE, why: "it would begin a comment" });
            }
        } else {
            none(text, char::is_whitespace, WORD, "it has white space")?;
            none(text, |c| matches!(c, '"' | '\'' | '\\'), WORD, "it has a quote or a backslash")?;
            none(text, |c| matches!(c, '#' | ';'), WORD, "it has a # or a ;")?;
        }
        if kind == Kind::Share {
            out.push_str(text);
        } else {
            out.push_str(&text.replace('%', "%%"));
        }
        Ok(())
    }

    /// What goes into a command line of Quadlet's.
    fn in_quadlet(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        const PLACE: &str = "a unit of Quadlet";
        if self.kind() == Kind::Quadlet {
            if self.in_variable() {
                return Err(Refusal { place: PLACE, why: "it stands behind a dollar sign" });
            }
            self.no_script(text)?;
            let left_out = |c: char| c.is_ascii() && is_control(c) && c != '\n';
            none(text, left_out, PLACE, "it has a control character")?;
            self.words(text, true, out);
            return Ok(());
        }
        none(text, |c| c == '$', PLACE, "it has a dollar sign, which would begin a variable")?;
        if COMMANDS.contains(&self.key.trim()) {
            const WHY: &str = "a shell could read it as commands";
            none(text, |c| !is_plain(c), "a command of Quadlet", WHY)?;
        }
        let is_part = self.begun || !rest.starts_with('\n') && !rest.is_empty();
        if is_part && PARTED.contains(&self.key.trim()) && text.contains([':', ',']) {
            return Err(Refusal { place: PLACE, why: "it has a : or a , which ends a part here" });
        }
        self.plain(text, Kind::Other, out)?;
        self.begun |= !text.is_empty();
        self.word.push(VALUE);
        Ok(())
    }

    fn in_text(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if self.escaped || self.percent {
            return Err(Refusal {
                place: UNIT,
                why: "it stands behind a backslash or a single percent sign",
            });
        }
        match self.kind() {
            Kind::Quadlet | Kind::Other if self.is_quadlet() => self.in_quadlet(text, rest, out)?,
            Kind::Exec => self.command(text, out)?,
            Kind::Environment => {
                let left_out = |c: char| c.is_ascii() && is_control(c) && c != '\n';
                none(text, left_out, "a variable of a unit", "it has a control character")?;
                self.words(text, false, out);
            }
            kind @ (Kind::Description | Kind::Share | Kind::Other | Kind::Quadlet) => {
                self.plain(text, kind, out)?;
            }
        }
        self.fresh &= text.is_empty();
        Ok(())
    }
}

impl Lexer for Systemd {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        if c == '\n' {
            return self.next_line();
        }
        let fresh = self.fresh;
        self.fresh &= matches!(c, ' ' | '\t');
        match self.at {
            At::Line => match c {
                ' ' | '\t' => {}
                '#' | ';' => self.at = At::Comment,
                '[' => {
                    self.at = At::Section;
                    self.section.clear();
                }
                _ => {
                    self.at = At::Key;
                    self.key.push(c);
                }
            },
            At::Key if c == '=' => {
                self.at = At::Text;
                self.program = true;
            }
            At::Key => self.key.push(c),
            At::Text if fresh && matches!(c, '#' | ';') => self.at = At::Between,
            At::Text => self.text(c),
            At::Section if c != ']' => self.section.push(c),
            At::Section | At::Comment | At::Between => {}
        }
        Ok(())
    }

    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        none(text, is_noncharacter, UNIT, "it has a code that is no character of Unicode")?;
        match self.at {
            At::Comment | At::Between => in_comment(text, out),
            At::Text => self.in_text(text, rest, out),
            At::Line | At::Section | At::Key => {
                if text.is_empty() || !text.chars().all(|c| is_name(c) || c == '-') {
                    const PLACE: &str = "the name of a section or key";
                    return Err(Refusal {
                        place: PLACE,
                        why: "a name has letters, digits, _ and -",
                    });
                }
                if self.at == At::Section {
                    self.section.push_str(text);
                } else {
                    self.key.push_str(text);
                }
                if self.at == At::Line {
                    self.at = At::Key;
                }
                out.push_str(text);
                Ok(())
            }
        }
    }

    fn open(&self) -> Option<&'static str> {
        (self.unclosed || self.quote.is_some()).then_some("quotes of a unit")
    }
}

fn hex(c: char, out: &mut String) {
    let _ = write!(out, "\\x{:02x}", u32::from(c));
}
