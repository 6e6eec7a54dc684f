// SPDX-License-Identifier: GPL-2.0-or-later

//! What the shell does with a word after it has taken its quotes away.
//!
//! Quotes keep a value one word; they do not keep bash from computing it. Where bash computes, a value
//! such as `a[$(id)]` runs a program: subscripts, `let`, the numbers of `[[ ]]`, variables that are integers
//! or references, names given to `read`, `unset`, `printf -v` and `declare`. `eval`, `trap` and `sh -c` read a
//! word a second time. What a shell, `source` or `read` is fed with is in [`super::feed`]. Source: bash(1), ARITHMETIC EVALUATION and Arrays; each case was tried with 5.2
//! (`tests/it/formats/shell.rs`).
//!
//! Left to the template: a value that a variable carries to such a place.

use std::collections::BTreeSet;

use super::super::reader::{is_option_c, is_script, is_unknown};
use super::super::{Refusal, is_name};
use super::feed::{self, Feed};

/// What a value must be at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Any text will do.
    Text,
    /// A whole number.
    Number,
    /// A name.
    Name,
    /// Not a subscript.
    NoSubscript,
    /// Nothing is good enough.
    Nothing,
    /// The same, since somebody reads it who might run it.
    Data,
}

/// The simple command so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Command {
    /// Its words as far as they are literal; [`VALUE`] is a value of ours.
    words: Vec<String>,
    /// The words before an `&` that may turn out to be a part of `&>`.
    before: Vec<String>,
    /// The next word is where something is redirected to.
    is_redirected: bool,
    /// That is a descriptor.
    is_descriptor: bool,
    /// The next word is what is read.
    is_fed: bool,
    /// Pipes, and what else one command feeds another with.
    feed: Feed,
    /// In `[[ ]]`: the words since the last `&&`, `||` or bracket.
    test: Option<Vec<String>>,
    /// In `NAME=( )`: what its members must be.
    list: Option<Need>,
    /// Variables that are integers or refer to others.
    computed: BTreeSet<String>,
    /// Variables that are arrays.
    arrays: BTreeSet<String>,
}

/// Stands for a value in a word.
pub(in crate::template::format) const VALUE: char = '\0';

/// Words before the name of a command.
pub(super) const BEFORE: [&str; 19] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "command", "builtin",
    "exec", "env", "sudo", "nohup", "nice", "busybox", "coproc",
];
/// They read what they are given as commands.
const READERS: [&str; 6] = ["eval", "trap", "alias", "compgen", "complete", "bind"];
const DECLARE: [&str; 5] = ["declare", "typeset", "local", "export", "readonly"];
/// Variables that bash computes by itself.
const COMPUTED: [&str; 8] =
    ["RANDOM", "SRANDOM", "OPTIND", "SECONDS", "BASHPID", "LINENO", "HISTCMD", "MAILCHECK"];
/// Variables whose texts are commands, or expanded.
const COMMANDS: [&str; 9] =
    ["PS0", "PS1", "PS2", "PS4", "PROMPT_COMMAND", "ENV", "BASH_ENV", "BASH_ALIASES", "BASH_CMDS"];
const NUMBERS: [&str; 8] = ["-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v", "-R"];

impl Command {
    /// The end of a word.
    pub(super) fn word(&mut self, word: &str) {
        self.is_fed = false;
        // What it is redirected to is no word of the command.
        let is_number = std::mem::take(&mut self.is_descriptor);
        if std::mem::take(&mut self.is_redirected) {
            let is_path = word.starts_with("/dev/fd/") || word.contains("/fd/");
            let is_own = is_number && !matches!(word, "0" | "1" | "2" | "-");
            if is_path || is_own {
                self.feed.descriptor();
            }
            return;
        }
        if let Some(test) = &mut self.test {
            if word == "]]" {
                self.test = None;
            } else {
                test.push(word.to_owned());
            }
        } else if word == "[[" && self.name().is_none() {
            self.test = Some(Vec::new());
        } else if self.list.is_none() {
            self.words.push(word.to_owned());
            self.learn(word);
            self.feed.word(&self.words);
        }
    }

    /// A here-string follows.
    pub(super) fn here_string(&mut self) {
        self.is_fed = true;
    }

    /// A value stands in the command.
    pub(super) fn value(&mut self) {
        self.feed.value();
    }

    /// Inside what the text would end now, behind `word`, when it must not end there.
    pub(super) fn open(&self, word: &str) -> Option<&'static str> {
        let mut whole = self.clone();
        if !word.is_empty() {
            whole.word(word);
        }
        whole.feed.check(whole.reads()).err().map(|_| "a pipe that gives a value to a shell")
    }

    /// What the command makes of what it reads.
    fn reads(&self) -> Need {
        if !feed::reads_data(&self.words) {
            return Need::Data;
        }
        match self.base() {
            "read" | "mapfile" | "readarray" => self.sets(self.words.iter()),
            _ => Need::Text,
        }
    }

    /// What a value must be that becomes that of the variables `names`.
    fn sets<'a>(&self, names: impl Iterator<Item = &'a String>) -> Need {
        let mut need = Need::Text;
        for name in names {
            let name = name.split('[').next().unwrap_or_default();
            if COMMANDS.contains(&name) {
                return Need::Nothing;
            }
            if COMPUTED.contains(&name) || self.computed.contains(name) {
                need = Need::Number;
            }
        }
        need
    }

    /// An operator that begins another command, or a part of this one.
    ///
    /// # Errors
    ///
    /// The command that ends is fed with a value, which it reads as commands.
    pub(super) fn operator(&mut self, c: char, before: char, word: &str) -> Result<(), Refusal> {
        let is_part = c == '&' && matches!(before, '<' | '>');
        self.is_redirected = matches!(c, '<' | '>') || is_part;
        self.is_descriptor = is_part && before == '>';
        if self.list.is_some() {
            self.list = self.list.filter(|_| c != ')');
            return Ok(());
        }
        if let Some(test) = &mut self.test {
            if matches!(c, '&' | '|' | '(' | ')') {
                test.clear();
            }
            return Ok(());
        }
        // `2>`
        if self.is_redirected && self.words.last().is_some_and(|last| last == word) {
            let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            self.words.truncate(self.words.len() - usize::from(is_number));
        }
        if c == '(' && word.ends_with('=') {
            self.list = Some(self.member(word));
            return Ok(());
        }
        let reads = self.reads();
        self.feed.operator(c, before, reads, &mut self.words)?;
        match c {
            '&' | '|' if matches!(before, '<' | '>') => {}
            '&' => self.before = std::mem::take(&mut self.words),
            '>' if before == '&' => self.words = std::mem::take(&mut self.before),
            ';' | '|' | '\n' => self.words.clear(),
            _ => {}
        }
        Ok(())
    }

    /// What a value must be that stands behind `word` in the word that is being read, with `after` behind it.
    pub(super) fn need(&self, word: &str, value: &str, after: &After) -> Need {
        if let Some(need) = self.feed.fed() {
            return need;
        }
        if self.is_fed {
            let words = self.words.iter().chain(&after.words).cloned().collect();
            return Self { words, ..self.clone() }.reads();
        }
        if let Some(test) = &self.test {
            let mut words = test.iter().chain(&after.words);
            let computes = words.any(|word| NUMBERS.contains(&word.as_str()));
            return if computes || !after.is_closed { Need::Number } else { Need::Text };
        }
        if let Some(need) = self.list {
            return need;
        }
        let need = self.member(word);
        if need != Need::Text {
            return need;
        }
        match self.name() {
            Some(name) => self.argument(name, word, value),
            None if is_script(&self.words, word) => Need::Nothing,
            None => Need::Text,
        }
    }

    /// What a value must be to which the assignment `word` sets a variable, or a member of one.
    fn member(&self, word: &str) -> Need {
        match assigned(word) {
            Some(name) if COMMANDS.contains(&name) => Need::Nothing,
            _ if self.is_computed(word) => Need::Number,
            _ => Need::Text,
        }
    }

    fn argument(&self, name: &str, word: &str, value: &str) -> Need {
        let last = self.words.last().map(String::as_str).unwrap_or_default();
        let given = |what: &str| self.words.iter().any(|word| word == what);
        let base = self.base();
        let mut words = self.words.iter();
        let set = match base {
            "for" | "select" => self.sets(words.skip_while(|word| *word != name).skip(1).take(1)),
            "getopts" => self.sets(words),
            "printf" if words.any(|word| word == "-v") => self.sets(words.take(1)),
            "printf" => self.sets(words_behind(&self.words, "-v").iter()),
            _ => Need::Text,
        };
        match base {
            _ if READERS.contains(&base) => Need::Nothing,
            _ if is_script(&self.words, word) => Need::Nothing,
            _ if is_unknown(name) && self.has_option_c(word) => Need::Nothing,
            "mapfile" | "readarray" if last == "-C" || word.starts_with("-C") => Need::Nothing,
            "let" => Need::Number,
            _ if set != Need::Text => set,
            _ if self.is_redirected => Need::Text,
            _ if DECLARE.contains(&base) => match assigned(word) {
                Some(name) if self.options().contains(['a', 'A']) || self.arrays.contains(name) => {
                    Need::Number
                }
                Some(_) => Need::Text,
                None if word.starts_with(['-', '+']) => Need::Nothing,
                None => Need::Name,
            },
            "read" | "mapfile" | "readarray" | "getopts" | "unset" | "wait" => Need::NoSubscript,
            "printf" if last == "-v" || word == "-v" => Need::NoSubscript,
            "printf" if last == name && value.starts_with("-v") => Need::Nothing,
            "[" | "test" if given("-v") || given("-R") => Need::NoSubscript,
            "[" | "test" if matches!(value, "-v" | "-R") && matches!(last, "[" | "test" | "!") => {
                Need::Nothing
            }
            _ => Need::Text,
        }
    }

    /// Whether one of the words so far, or this one, is `-c`.
    fn has_option_c(&self, word: &str) -> bool {
        is_option_c(word) || self.words.iter().any(|word| is_option_c(word))
    }

    /// Whether the shell computes what the variable of `word`, an assignment, is set to.
    fn is_computed(&self, word: &str) -> bool {
        assigned(word).is_some_and(|name| {
            COMPUTED.contains(&name)
                || self.computed.contains(name)
                || (self.is_declaration() && self.options().contains(['i', 'n']))
        })
    }

    fn is_declaration(&self) -> bool {
        self.name().is_some_and(|name| DECLARE.contains(&name))
    }

    fn options(&self) -> String {
        self.words.iter().filter(|word| word.starts_with('-')).cloned().collect()
    }

    /// Notes the variable that a declaration makes special.
    fn learn(&mut self, word: &str) {
        if !self.is_declaration() || word.starts_with(['-', '+']) {
            return;
        }
        let name = assigned(word).unwrap_or(word).to_owned();
        let options = self.options();
        if options.contains(['i', 'n']) {
            self.computed.insert(name.clone());
        }
        if options.contains(['a', 'A']) {
            self.arrays.insert(name);
        }
    }

    /// The same without its directories.
    fn base(&self) -> &str {
        self.name().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
    }

    /// The word that says what is run.
    fn name(&self) -> Option<&str> {
        let mut words = self.words.iter().map(String::as_str);
        let mut is_wrapped = false;
        while let Some(word) = words.next() {
            if word == "function" {
                words.next();
            } else if BEFORE.contains(&word) {
                is_wrapped = true;
            } else if assigned(word).is_none() && !(is_wrapped && word.starts_with('-')) {
                return Some(word);
            }
        }
        None
    }
}

/// What comes behind a value on its line, up to `]]`, `&&` or `||`.
#[derive(Debug, Default)]
pub(super) struct After {
    words: Vec<String>,
    /// One of these came.
    is_closed: bool,
}

impl After {
    /// Reads `rest`, which begins inside `quote` when there is one; values in it are left out.
    pub(super) fn new(rest: &str, mut quote: Option<char>) -> Self {
        let mut after = Self::default();
        let mut word = String::new();
        let mut is_value = false;
        for c in rest.chars() {
            match (quote, c) {
                (_, super::super::OPEN) => is_value = true,
                (_, super::super::CLOSE) => is_value = false,
                _ if is_value => {}
                (Some(open), c) if open == c => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '\n') => break,
                (None, ' ' | '\t') => {
                    let word = std::mem::take(&mut word);
                    if matches!(word.as_str(), "]]" | "&&" | "||") {
                        after.is_closed = true;
                        return after;
                    }
                    after.words.push(word);
                }
                (None, c) => word.push(c),
            }
        }
        // The last word of the line: `]]`, or `]];`.
        after.is_closed = quote.is_none() && word.starts_with("]]");
        after.words.push(word);
        after
    }
}

/// What stands in a word behind `option`.
fn words_behind(words: &[String], option: &str) -> Vec<String> {
    words.iter().filter_map(|word| word.strip_prefix(option)).map(str::to_owned).collect()
}

/// The variable that `word` sets: `NAME=`, `NAME+=`, `NAME[...]=`.
pub(super) fn assigned(word: &str) -> Option<&str> {
    let (left, _) = word.split_once('=')?;
    let left = left.strip_suffix('+').unwrap_or(left);
    let name = left.split('[').next().unwrap_or_default();
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// A whole number as people write it: with a zero before it, it would be octal.
pub(in crate::template::format) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_octal = digits.len() > 1 && digits.starts_with('0');
    (1..=18).contains(&digits.len())
        && !is_octal
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

impl Need {
    /// Refuses `text` where it is not what is needed.
    pub(super) fn check(self, text: &str) -> Result<(), Refusal> {
        let refused = |place, why| Err(Refusal { place, why });
        match self {
            Self::Text => Ok(()),
            _ if is_number(text) => Ok(()),
            Self::Number => refused(
                "a place where bash computes",
                "it is no whole number (without zeros before it), and anything else could run a program there",
            ),
            Self::Name if !text.is_empty() && text.chars().all(is_name) => Ok(()),
            Self::Name => refused(
                "the name of a variable",
                "it is no name, and bash would compute what is in it",
            ),
            Self::NoSubscript if !text.contains('[') => Ok(()),
            Self::NoSubscript => refused(
                "the name of a variable",
                "it has a subscript, which bash computes: it could run a program",
            ),
            Self::Nothing => refused(
                "a text that the shell reads as a command",
                "a shell would run it: set a variable before it and write \"$NAME\"",
            ),
            Self::Data => refused(
                "what another command reads",
                "only one plain command that takes it for data (cat, grep, read ...) is given one so: put it \
                 into a variable, V={{ v }}, and pass \"$V\"",
            ),
        }
    }
}
