// SPDX-License-Identifier: GPL-2.0-or-later

//! Values that try to break out of each format, read back by the program that reads the format.
//!
//! For each value and each place where it may stand: either it is refused, or the consumer reads the
//! same bytes, starts nothing, and sees as many directives as there are. A fixed list comes first,
//! then texts from a seed: few in each run, 10,000 with `WHARF_FORMATS=full`. `WHARF_FORMATS_SEED`
//! chooses another seed, and `WHARF_FORMATS_KEEP=DIR` keeps the files for a look by hand.
//!
//! A consumer that is not installed is a failure where `WHARF_REQUIRE_ENGINE` is set.

mod cron;
mod dnsmasq;
mod nft;
mod shell;
mod systemd;
mod web;
mod yaml;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use wharf::template::format::{Format, Impossible, Weaver, mark};

use crate::lab::process;

/// What must never get through as more than text, whatever the format.
const LIST: &[&str] = &[
    "",
    " ",
    "a",
    "-n",
    "--help",
    "$(touch evil)",
    "`touch evil`",
    "a[$(>evil)]",
    "${HOME}",
    "$HOME",
    "$",
    "$$",
    "a\"b",
    "a'b",
    "'; touch evil; '",
    "\"; touch evil; \"",
    "\\",
    "a\\",
    "\\n",
    "\\\\",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "50%",
    "%n",
    "%%",
    "</VirtualHost>",
    "<VirtualHost *:80>",
    ";",
    "a; return 404",
    "}",
    "1 } drop; {",
    "#",
    "a #b",
    "a,b",
    "a=b",
    "[Service]",
    "\nExecStart=/bin/evil",
    "true",
    "null",
    "0x1f",
    "12:30",
    "2001-01-01",
    "~",
    "*",
    "&a",
    "!!int 5",
    "a: b",
    "- a",
    "|",
    "{a: b}",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffe}",
    "\u{ffff}",
    "a\0b",
    "é",
    "😀",
    "𝕬$(b)",
    "/srv/a b",
    "10.0.0.1:80",
    "fd00::1/64",
    "example.org",
];

/// Characters of which random texts are made: what some format gives a meaning to.
const ODD: &str = "\"'`$\\{}()[]<>#;:,%=&|*?!~@^-+./_ \t\nnrtxube019aZ\r\u{1}\u{8}\u{1b}\u{7f}\u{85}\u{a0}\
                   \u{2028}\u{feff}\u{ffff}é\u{81}ß😀";

/// The values of this run.
fn values() -> Vec<String> {
    let full = std::env::var_os("WHARF_FORMATS").is_some_and(|size| size == "full");
    let seed = std::env::var("WHARF_FORMATS_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or(0x5eed_0001));
    let odd: Vec<char> = ODD.chars().collect();
    let mut values: Vec<String> = LIST.iter().map(|value| (*value).to_owned()).collect();
    // Long enough for any line that has a limit, and without anything special.
    values.push("x".repeat(900));
    for _ in 0..if full { 10_000 } else { 400 } {
        let length = random.below(20);
        let tame = random.below(3) == 0;
        values.push(
            (0..length)
                .map(|_| match random.below(if tame { 40 } else { 4 }) {
                    0 => odd[random.below(odd.len())],
                    1 if !tame => odd[random.below(40)],
                    2 if !tame => char::from_u32(u32::try_from(random.below(0x11_0000)).unwrap())
                        .unwrap_or('x'),
                    n => char::from(b'a' + u8::try_from(n % 26).unwrap()),
                })
                .collect(),
        );
    }
    values
}

/// Numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap() % end
    }
}

/// Lines of one format, each with a value that it can hold.
struct Sheet {
    format: Format,
    text: String,
    /// The value of each line.
    held: Vec<String>,
}

impl Sheet {
    /// For each of `values` the line `template`, with `¤` for the value and `№` for the line's number,
    /// as far as the format can hold it there; `before` comes before all.
    fn new(format: Format, before: &str, template: &str, values: &[String]) -> Self {
        let sheet = Self::taken(format, before, template, values);
        assert!(sheet.held.len() > LIST.len() / 5, "{template} took almost nothing");
        sheet
    }

    /// The same, however few that are.
    fn taken(format: Format, before: &str, template: &str, values: &[String]) -> Self {
        let mut text = before.to_owned();
        let mut held = Vec::new();
        for value in values {
            let line = template.replace('№', &held.len().to_string()).replace('¤', &mark(value));
            if weave(format, &format!("{before}{line}")).is_ok() {
                text.push_str(&line);
                held.push(value.clone());
            }
        }
        let text = weave(format, &text).unwrap();
        Self { format, text, held }
    }

    /// Writes it into `directory` and says where.
    fn write(&self, directory: &Path, name: &str) -> std::path::PathBuf {
        let file = directory.join(name);
        fs::write(&file, &self.text).unwrap();
        if let Some(kept) = std::env::var_os("WHARF_FORMATS_KEEP") {
            fs::create_dir_all(&kept).unwrap();
            fs::copy(&file, Path::new(&kept).join(name)).unwrap();
            let expected = self.held.join("\0") + "\0";
            fs::write(Path::new(&kept).join(format!("{name}.expected")), expected).unwrap();
        }
        file
    }

    /// Fails with the first lines for which `found` is not what was to be held.
    #[track_caller]
    fn assert_read(&self, found: &[String], expected: impl Fn(&str) -> String) {
        let wrong: Vec<String> = self
            .held
            .iter()
            .zip(found)
            .filter(|(value, found)| expected(value) != **found)
            .map(|(value, found)| format!("{value:?} became {found:?}"))
            .collect();
        let format = self.format.name();
        assert!(
            wrong.is_empty(),
            "{format}: {} differ\n{}",
            wrong.len(),
            wrong[..wrong.len().min(20)].join("\n")
        );
        assert_eq!(found.len(), self.held.len(), "{format}: another number of values");
    }
}

fn weave(format: Format, text: &str) -> Result<String, Impossible> {
    let mut weaver = Weaver::new(format);
    let text = weaver.weave(text)?;
    weaver.finish().unwrap();
    Ok(text)
}

/// Whether all `programs` are there; else says which is not.
fn can_run(programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|program| process::find(program).is_none()) else {
        return true;
    };
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    assert!(!required, "WHARF_REQUIRE_ENGINE is set, but {missing} is not installed");
    // Past the test runner's capture, which hides what a test that passes prints.
    drop(writeln!(std::io::stderr(), "skipped: {missing} is not installed"));
    false
}

/// What `program` prints, which must go well and without a complaint.
#[track_caller]
fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = process::command(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{program}: {complaint}");
    output.stdout
}

/// The texts in `bytes` that end with a NUL each.
fn texts(bytes: &[u8]) -> Vec<String> {
    let mut texts: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    assert_eq!(texts.pop().as_deref(), Some(""), "the last text does not end");
    texts
}
