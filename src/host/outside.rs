// SPDX-License-Identifier: GPL-2.0-or-later

//! Programs that need more than a confined service may.
//!
//! `wharfd.service` lets `wharfd` have the packet filter, the settings of the network, its own files and the
//! engine, and says so by [`CONFINED`]. What programs of others need (a web server's check of its files,
//! Podman, `modprobe`) nobody knows: systemd runs them, as services of their own. Everywhere else they are
//! run as any program is.
//!
//! A remote hand is no hole in the wall: whoever can ask systemd is root, and what is asked for here is in
//! the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::host::command::{self, Ended, Error};
use crate::host::monitor::{self, Monitor};
use crate::state::socket::Holder;

/// Set by `wharfd.service`.
pub const CONFINED: &str = "WHARF_CONFINED";

/// What runs a program outside.
const RUNNER: &str = "systemd-run";

/// How long a program gets.
const LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an answer of ours.
const MOST: usize = 1 << 20;

/// Longer than a program outside, which systemd ends first.
const MARGIN: Duration = Duration::from_secs(5);

/// The subcommand that answers [`holders`].
pub const HOLDERS: &str = "holders";

/// The subcommand that answers [`monitors`].
pub const MONITORS: &str = "monitors";

/// Settings of ours, which are those of who is run outside.
const SETTINGS: [&str; 5] = ["WHARF_", "DOCKER_", "DBPATH", "ESMITH_", "CONTAINER_"];

/// Whether this process may less than root otherwise does.
pub fn is_confined() -> bool {
    std::env::var_os(CONFINED).is_some()
}

/// As [`command::run`] without input, outside when this process is confined.
///
/// # Errors
///
/// As [`command::run`].
pub async fn run(program: &str, args: &[&str]) -> Result<Vec<u8>, Error> {
    run_in("control-group", program, args, &[], b"").await
}

/// As [`command::run_with`], outside when this process is confined. What the program has left in the background
/// goes on, as a mailer's delivery does.
///
/// # Errors
///
/// As [`command::run_with`].
pub async fn run_with(
    program: &str,
    args: &[&str],
    environment: &[(&str, OsString)],
    input: &[u8],
) -> Result<Vec<u8>, Error> {
    run_in("process", program, args, environment, input).await
}

/// `kill_mode` is that of `systemd.kill(5)`: what becomes of the rest when the program itself has ended.
async fn run_in(
    kill_mode: &str,
    program: &str,
    args: &[&str],
    environment: &[(&str, OsString)],
    input: &[u8],
) -> Result<Vec<u8>, Error> {
    // One that is not there is told as everywhere.
    if !is_confined() || !command::exists(program) {
        return command::run_with(program, args, environment, input).await;
    }
    // By name alone, so that no command line has them; what they hold can be seen in the unit as long as it
    // runs, so no secret is among them.
    let names = environment.iter().map(|(name, _)| format!("--setenv={name}"));
    let kill_mode = format!("--property=KillMode={kill_mode}");
    let words: Vec<String> = names.chain([kill_mode]).chain(words(LIMIT, program, args)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = command::run_within(LIMIT + MARGIN, RUNNER, &words, environment, input).await;
    ran.map_err(|error| named(error, program))
}

/// How `wharf ARGUMENTS` ends, which may print so many bytes; outside when this process is confined.
///
/// # Errors
///
/// As [`command::ended_with_most`].
pub async fn ourselves(most: usize, limit: Duration, arguments: &[&str]) -> Result<Ended, Error> {
    // What we are, also when the file was replaced meanwhile.
    let own = "/proc/self/exe";
    if !is_confined() {
        return command::ended_with_most(most, limit, own, arguments).await;
    }
    let path = std::env::current_exe().unwrap_or_default();
    let path = path.to_string_lossy();
    let words = words(limit, path.trim_end_matches(" (deleted)"), arguments);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    command::ended_with_most(most, limit + MARGIN, RUNNER, &words).await
}

/// The processes that have the sockets `inodes`, as [`socket::holders`](super::socket::holders) sees them.
pub async fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, Holder> {
    if !is_confined() {
        return super::socket::holders(inodes);
    }
    let inodes: Vec<String> = inodes.iter().map(ToString::to_string).collect();
    let arguments: Vec<&str> =
        [HOLDERS].into_iter().chain(inodes.iter().map(String::as_str)).collect();
    let ended = ourselves(MOST, LIMIT, &arguments).await;
    // Nobody is named then: who has a port is a part of a message.
    let output =
        ended.inspect_err(|error| tracing::warn!(%error, "who has which port is not known"));
    output.ok().and_then(|ended| serde_json::from_slice(&ended.output).ok()).unwrap_or_default()
}

/// The monitors of the Podman whose files are in `root`; with `ids`, those of them that were ended with their
/// containers ([`monitor::end`]).
///
/// # Errors
///
/// They cannot be seen, or their runtime cannot be run.
pub async fn monitors(root: &str, ids: &[&str]) -> Result<Vec<Monitor>, Error> {
    if !is_confined() {
        let (root, ids) = (Path::new(root), ids.iter().map(ToString::to_string));
        let ids: Vec<String> = ids.collect();
        return if ids.is_empty() {
            Ok(monitor::below(root))
        } else {
            monitor::end(root, &ids).await
        };
    }
    let ended = ourselves(MOST, LIMIT, &[&[MONITORS, "--", root], ids].concat()).await?;
    serde_json::from_slice(&ended.output).map_err(|_| Error::Failed {
        program: format!("wharf {MONITORS}"),
        status: ended.code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}")),
        stderr: ended.complaints,
    })
}

/// Whether something is in the directory `path`, which this process may not read; `None`: nobody can say.
pub async fn is_filled(path: &Path) -> Option<bool> {
    if !is_confined() {
        return None;
    }
    let path = path.to_string_lossy();
    let found = run("find", &[&path, "-mindepth", "1", "-maxdepth", "1", "-print", "-quit"]).await;
    found.ok().map(|found| !found.is_empty())
}

/// The words for systemd: its service takes our input and output, and is gone when it has ended.
fn words(limit: Duration, program: &str, args: &[&str]) -> Vec<String> {
    let mut words: Vec<String> =
        ["--quiet", "--pipe", "--wait", "--collect"].map(String::from).into();
    words.push(format!("--property=RuntimeMaxSec={}", limit.as_secs()));
    words.push("--setenv=LC_ALL=C".to_owned());
    words.extend(std::env::vars().filter_map(|(name, value)| {
        let is_ours = name != CONFINED && SETTINGS.iter().any(|start| name.starts_with(start));
        is_ours.then(|| format!("--setenv={name}={value}"))
    }));
    words.extend(["--".to_owned(), program.to_owned()]);
    // systemd puts variables of its own into the words of a service (systemd.service(5), "Command lines").
    words.extend(args.iter().map(|word| word.replace('$', "$$")));
    words
}

/// The error of the program that was meant, not of the one that ran it.
fn named(error: Error, meant: &str) -> Error {
    let program = meant.to_owned();
    match error {
        Error::Failed { status, stderr, .. } => Error::Failed { program, status, stderr },
        Error::TooLong { .. } => Error::TooLong { program, limit: LIMIT },
        Error::TooMuch { most, .. } => Error::TooMuch { program, most },
        Error::Start { .. } => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_is_told_ends_with_the_program_and_its_own_words() {
        let words = words(LIMIT, "podman", &["network", "reload", "--", "-x"]);
        assert_eq!(
            words[..5],
            ["--quiet", "--pipe", "--wait", "--collect", "--property=RuntimeMaxSec=60"]
        );
        assert_eq!(words[words.len() - 6..], ["--", "podman", "network", "reload", "--", "-x"]);
    }

    #[test]
    fn a_word_with_a_dollar_sign_stays_what_it_is() {
        let words = words(LIMIT, "find", &["/data/${t}/$x", "$DBPATH"]);
        assert_eq!(words[words.len() - 2..], ["/data/$${t}/$$x", "$$DBPATH"]);
    }

    #[test]
    fn a_failure_names_the_program_that_was_meant() {
        let failed = Error::Failed {
            program: RUNNER.to_owned(),
            status: "exit status: 1".to_owned(),
            stderr: "no such module".to_owned(),
        };
        let told = named(failed, "modprobe").to_string();
        assert_eq!(told, "'modprobe' ended with exit status: 1: no such module");
    }
}
