// SPDX-License-Identifier: GPL-2.0-or-later

//! The only caller of other programs but the handlers of events (`host/handler.rs`): no shell, a time
//! limit, status and stderr always looked at.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What became of a program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot run '{program}'")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with a status that is not 0.
    #[error("'{program}' ended with {status}: {stderr}")]
    Failed {
        /// Its name.
        program: String,
        /// `exit status: 1`, `signal: 9`.
        status: String,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// It was ended because it took too long.
    #[error("'{program}' did not end within {} s and was stopped", limit.as_secs())]
    TooLong {
        /// Its name.
        program: String,
        /// How long it had.
        limit: Duration,
    },
}

impl Error {
    /// What would mend it, when that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Start { program, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!("install the package that brings '{program}'"))
            }
            Self::Start { .. } | Self::Failed { .. } | Self::TooLong { .. } => None,
        }
    }

    /// Whether the program is not there at all.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Start { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Failed { .. } | Self::TooLong { .. } => false,
        }
    }
}

/// How long a program gets.
const LIMIT: Duration = Duration::from_secs(60);

/// As [`run_with`], in the environment of this process.
///
/// # Errors
///
/// As [`run_with`].
pub async fn run(program: &str, args: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
    run_with(program, args, &[], input).await
}

/// Runs `program` with `args` and these variables more, feeds it `input`, and gives what it wrote to stdout.
///
/// # Errors
///
/// It cannot be started, ends with a status that is not 0, or takes longer than a minute.
pub async fn run_with(
    program: &str,
    args: &[&str],
    environment: &[(&str, OsString)],
    input: &[u8],
) -> Result<Vec<u8>, Error> {
    run_within(LIMIT, program, args, environment, input).await
}

/// As [`run_with`], for at most `limit`.
///
/// # Errors
///
/// As [`run_with`].
pub async fn run_within(
    limit: Duration,
    program: &str,
    args: &[&str],
    environment: &[(&str, OsString)],
    input: &[u8],
) -> Result<Vec<u8>, Error> {
    let start = |source| Error::Start { program: program.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let stdin = child.stdin.take();
    let talk = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input says so by its status.
            stdin.write_all(input).await.ok();
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(limit, talk).await {
        Ok(output) => output.map_err(start)?,
        Err(_) => return Err(Error::TooLong { program: program.to_owned(), limit }),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).take(5).collect();
    Err(Error::Failed {
        program: program.to_owned(),
        status: output.status.to_string(),
        stderr: first.join("; "),
    })
}
