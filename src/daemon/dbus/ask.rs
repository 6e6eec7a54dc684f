// SPDX-License-Identifier: GPL-2.0-or-later

//! Questions to our own command line.

use std::time::Duration;

use super::Error;
use super::turns::Turns;
use crate::host::command::{self, Ended};
use crate::host::outside;
use crate::settings::Root;

/// What we are, also when the file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";

/// The questions that a confined service cannot answer in full.
const LOOKS_AROUND: [&str; 2] = ["exposure", "explain"];

/// Questions at a time: each is a process of some megabytes, and asks the engine.
const AT_A_TIME: usize = 3;

/// For an answer: an engine that answers nobody has its own limit, which is shorter.
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes of an answer: the system bus takes 32 MiB at most, and throws out who sends more.
const MOST: usize = 16 << 20;

/// Who may ask.
#[derive(Debug)]
pub(super) struct Reads(Turns);

impl Default for Reads {
    fn default() -> Self {
        Self(Turns::of(AT_A_TIME))
    }
}

impl Reads {
    /// What `wharf ARGUMENTS` prints.
    ///
    /// # Errors
    ///
    /// It prints nothing, and says why.
    pub(super) async fn json(&self, root: &Root, arguments: &[&str]) -> Result<String, Error> {
        let ended = self.ended(root, arguments).await?;
        let mut output = text(ended.output);
        output.truncate(output.trim_end().len());
        // With 3 the host differs, with 1 something is wrong: the report says what.
        match (ended.code, output.is_empty()) {
            (Some(0 | 1 | 3), false) => Ok(output),
            (Some(2), _) => Err(Error::BadArgument(ended.complaints)),
            (_, _) => Err(Error::Failed(ended.complaints)),
        }
    }

    /// The newest lines of a container's log, none when it has written nothing.
    ///
    /// # Errors
    ///
    /// There is no log, or not all of it came.
    pub(super) async fn log(&self, root: &Root, name: &str, most: u32) -> Result<String, Error> {
        let most = most.to_string();
        let words = ["logs", "--json", "--lines", &most, "--", name];
        let ended = self.ended(root, &words).await?;
        match ended.code {
            Some(0) => Ok(text(ended.output)),
            _ => Err(Error::Failed(ended.complaints)),
        }
    }

    /// How `wharf ARGUMENTS` ends.
    async fn ended(&self, root: &Root, arguments: &[&str]) -> Result<Ended, Error> {
        let _turn = self.0.turn().await?;
        let root = root.at("/").display().to_string();
        let words = [&["--root", &root], arguments].concat();
        // Who has a port that can be reached is seen by those only who may look into any process.
        let ended = if LOOKS_AROUND.contains(&arguments[0]) {
            outside::ourselves(MOST, LIMIT, &words).await
        } else {
            command::ended_with_most(MOST, LIMIT, OURSELVES, &words).await
        };
        ended.map_err(|error| match error {
            command::Error::TooMuch { most, .. } => {
                Error::Failed(format!("the answer is longer than {} MiB; ask for less", most >> 20))
            }
            command::Error::Start { .. }
            | command::Error::Failed { .. }
            | command::Error::TooLong { .. } => Error::Failed(error.to_string()),
        })
    }
}

/// Without a copy of what is text already, as all that we print is.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
