// SPDX-License-Identifier: GPL-2.0-or-later

//! What containers have written, line by line.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;

use super::{Answer, Engine, HostError};
use crate::db::value::ContainerName;

/// Which part of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Only so many lines at its end; all of them when there is none.
    pub tail: Option<usize>,
    /// Only what was written after this moment.
    pub after: Option<Timestamp>,
    /// Also what is written from now on, until the container ends.
    pub follow: bool,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, when the engine says so.
    pub at: Option<Timestamp>,
    /// Whether it was written to the standard error.
    pub is_error: bool,
    /// Its bytes, with the end of the line; a very long line comes in pieces.
    pub text: Vec<u8>,
}

impl Engine {
    /// `part` of the log of container `name`. Nothing bounds the time of what follows a log.
    pub fn log(
        &self,
        name: &ContainerName,
        part: Part,
    ) -> impl Stream<Item = Result<Line, HostError>> + '_ {
        // The engine counts in whole seconds: what is older within that second is left out here.
        let since = part.after.and_then(|after| i32::try_from(after.as_second()).ok());
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(part.follow)
            .since(since.unwrap_or_default())
            .tail(&part.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string()))
            .build();
        let lines = self.client().logs(name.as_str(), Some(options));
        lines.filter_map(move |output| {
            let line = output.map(line).map_err(|error| self.unread(error));
            let is_old = |line: &Line| line.at.is_some_and(|at| Some(at) <= part.after);
            let wanted = !line.as_ref().is_ok_and(is_old);
            async move { wanted.then_some(line) }
        })
    }

    fn unread(&self, error: Answer) -> HostError {
        self.failed("read a log", error)
    }
}

fn line(output: LogOutput) -> Line {
    let (is_error, message) = match output {
        LogOutput::StdErr { message } => (true, message),
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => (false, message),
    };
    let (at, text) = split(&message);
    Line { at, is_error, text: text.to_vec() }
}

/// The moment at the beginning of `line`, as `timestamps` puts it there (RFC 3339), and the rest.
fn split(line: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let space = line.iter().position(|byte| *byte == b' ');
    let at = space.and_then(|space| line.get(..space)).and_then(|at| std::str::from_utf8(at).ok());
    match (at.and_then(|at| at.parse().ok()), space) {
        (Some(at), Some(space)) => (Some(at), line.get(space + 1..).unwrap_or_default()),
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn the_moment_is_taken_off_a_line_and_nothing_else() {
        let (at, rest) = split(b"2026-03-01T10:11:12.000000345Z one two\n");
        assert_eq!(at.unwrap().to_string(), "2026-03-01T10:11:12.000000345Z");
        assert_eq!(rest, b"one two\n");
        assert_eq!(split(b"2026-03-01T10:11:12+01:00 \n").1, b"\n");
        assert_eq!(split(b"one two\n"), (None, &b"one two\n"[..]));
        assert_eq!(split(b"\xff\xfe x"), (None, &b"\xff\xfe x"[..]));
        assert_eq!(split(b""), (None, &b""[..]));
    }
}
