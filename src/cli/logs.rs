// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf logs`: what a container has written.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use crate::cli::{Desk, Exit, block_on, complain, complain_text, hand};
use crate::db::value::ContainerName;
use crate::host::engine::Engine;
use crate::host::engine::logs::{Line, Part};
use crate::host::{self, engine};

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Key of the record in `docker_containers`
    name: String,
    /// Go on with what is written from now on, also after the container was restarted or replaced
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Print each line as JSON: when and where it was written (stdout, stderr), and its text
    #[arg(long, conflicts_with = "timestamps")]
    json: bool,
}

/// A line as `--json` prints it.
#[derive(serde::Serialize)]
struct Row<'a> {
    at: Option<Timestamp>,
    stream: &'static str,
    /// With the end of the line; a very long line comes in pieces.
    text: Cow<'a, str>,
}

/// Between two looks whether a container that ended runs again.
const AGAIN: Duration = Duration::from_millis(500);

/// Prints the log of a record's container, each stream to its own.
pub(super) fn logs(root: &Path, wanted: &Wanted) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let Some(name) = hand::record(&desk, &wanted.name) else { return Exit::Failed };
    let limit = desk.settings.engine_timeout;
    let engine = match desk.engine() {
        Ok(engine) => engine,
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            return Exit::Failed;
        }
    };
    match block_on(Box::pin(show(&engine, &name, wanted, limit))) {
        Some(Ok(())) => Exit::Done,
        Some(Err(Failed::Gone)) => {
            complain_text(&format!("record {name} has no container\n  hint: wharf why {name}"));
            Exit::Failed
        }
        Some(Err(Failed::Silent(limit))) => {
            complain_text(&format!(
                "the engine did not answer within {} s\n  hint: wharf status, or a longer WHARF_ENGINE_TIMEOUT",
                limit.as_secs()
            ));
            Exit::Failed
        }
        Some(Err(Failed::Host(error))) => {
            complain(&error, error.remedy().as_deref());
            Exit::Failed
        }
        // Whoever read it has seen enough.
        Some(Err(Failed::Output(error))) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Some(Err(Failed::Output(error))) => {
            complain(&error, None);
            Exit::Failed
        }
        None => Exit::Failed,
    }
}

enum Failed {
    Gone,
    Silent(Duration),
    Host(host::Error),
    Output(io::Error),
}

async fn show(
    engine: &Engine,
    name: &ContainerName,
    wanted: &Wanted,
    limit: Duration,
) -> Result<(), Failed> {
    let mut part = Part { tail: wanted.lines, after: None, follow: wanted.follow };
    loop {
        match copy(engine, name, &mut part, wanted, limit).await {
            Err(Failed::Gone) if wanted.follow && part.after.is_some() => {}
            Err(failed) => return Err(failed),
            Ok(()) if !wanted.follow => return Ok(()),
            Ok(()) => {}
        }
        // It ended. What it says when it runs again comes after what was shown.
        part.tail = None;
        part.after = part.after.or_else(|| Some(Timestamp::now()));
        sleep(AGAIN).await;
    }
}

/// Copies one stream until it ends; `part` goes on after what was copied.
async fn copy(
    engine: &Engine,
    name: &ContainerName,
    part: &mut Part,
    wanted: &Wanted,
    limit: Duration,
) -> Result<(), Failed> {
    let mut lines = pin!(engine.log(name, *part));
    loop {
        // What is followed may be silent for days; a log that is there may not.
        let next = if part.follow {
            lines.next().await
        } else {
            timeout(limit, lines.next()).await.map_err(|_| Failed::Silent(limit))?
        };
        let Some(line) = next else { return Ok(()) };
        let line =
            line.map_err(|error| if is_gone(&error) { Failed::Gone } else { Failed::Host(error) })?;
        part.after = line.at.or(part.after);
        print(line, wanted).map_err(Failed::Output)?;
    }
}

fn is_gone(error: &host::Error) -> bool {
    matches!(error, host::Error::Engine { source, .. }
        if matches!(**source, engine::Error::Refused { ref message } if message.to_lowercase().contains("no such container")))
}

fn print(line: Line, wanted: &Wanted) -> io::Result<()> {
    let line =
        if wanted.json { Line { is_error: false, text: json(&line)?, ..line } } else { line };
    if line.is_error {
        let is_terminal = io::stderr().is_terminal();
        write(&mut io::stderr().lock(), &line, wanted.timestamps, is_terminal)
    } else {
        let is_terminal = io::stdout().is_terminal();
        write(&mut io::stdout().lock(), &line, wanted.timestamps, is_terminal)
    }
}

fn json(line: &Line) -> io::Result<Vec<u8>> {
    let stream = if line.is_error { "stderr" } else { "stdout" };
    let row = Row { at: line.at, stream, text: String::from_utf8_lossy(&line.text) };
    let mut text = serde_json::to_vec(&row)?;
    text.push(b'\n');
    Ok(text)
}

fn write(out: &mut dyn Write, line: &Line, with_time: bool, is_terminal: bool) -> io::Result<()> {
    if let Some(at) = line.at.filter(|_| with_time) {
        write!(out, "{at} ")?;
    }
    if is_terminal {
        out.write_all(&harmless(&line.text))?;
    } else {
        out.write_all(&line.text)?;
    }
    out.flush()
}

/// `text` without what would move the cursor, answer in the reader's name, or set a title: of what a
/// terminal obeys only colours (`ESC [ ... m`), tabs and ends of lines are left.
fn harmless(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            0x1b if let Some(length) = colour(after) => {
                out.push(*byte);
                out.extend_from_slice(after.get(..length).unwrap_or_default());
                rest = after.get(length..).unwrap_or_default();
            }
            b'\n' | b'\t' => out.push(*byte),
            0..0x20 => out.extend_from_slice(&[b'^', byte + b'@']),
            0x7f => out.extend_from_slice(b"^?"),
            // The second byte of U+0080 to U+009F, controls of eight bits.
            0x80..=0x9f if out.last() == Some(&0xc2) => {
                out.pop();
                out.push(b'?');
            }
            _ => out.push(*byte),
        }
    }
    out
}

/// Length of `[ ... m` at the beginning of `text`.
fn colour(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';')?;
    (inner.get(end) == Some(&b'm')).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_terminal_is_told_nothing_but_colours() {
        assert_eq!(harmless(b"\x1b[1;31mred\x1b[0m\tx\n"), b"\x1b[1;31mred\x1b[0m\tx\n");
        assert_eq!(harmless(b"\x1b[2J\x1b]0;title\x07"), b"^[[2J^[]0;title^G");
        assert_eq!(harmless(b"a\rb\x7f\x08"), b"a^Mb^?^H");
        assert_eq!(harmless("gr\u{fc}n \u{9b}2J".as_bytes()), "gr\u{fc}n ?2J".as_bytes());
        assert_eq!(harmless(b"\x1b"), b"^[");
        assert_eq!(harmless(b"\x1b[31"), b"^[[31");
    }
}
