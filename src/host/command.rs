// SPDX-License-Identifier: GPL-2.0-or-later

//! The only caller of other programs but the handlers of events (`host/handler.rs`): no shell, a time
//! limit, status and stderr always looked at.
//!
//! Each has a process group of its own, which is ended with it when the time is over or nobody waits any
//! more. Memory does not grow with what a program writes, and nobody who has its pipe is waited for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::host::alive;
use crate::host::process::signal_group;

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
    /// It wrote more than anything that we ask for has.
    #[error("'{program}' wrote more than {} MiB", most >> 20)]
    TooMuch {
        /// Its name.
        program: String,
        /// How many bytes it might.
        most: usize,
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
            Self::Start { .. }
            | Self::Failed { .. }
            | Self::TooMuch { .. }
            | Self::TooLong { .. } => None,
        }
    }

    /// Whether the program is not there at all.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Start { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Failed { .. } | Self::TooMuch { .. } | Self::TooLong { .. } => false,
        }
    }
}

/// Whether `program` is somewhere in the path.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
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
    let job = Job { limit, program, args, environment, input, most: MOST };
    let (output, _) = job.run().await?;
    output.whole(program)
}

/// Runs `program` with `args` for its status alone; what it writes to stdout goes nowhere.
///
/// # Errors
///
/// As [`run_within`].
pub async fn ask_within(limit: Duration, program: &str, args: &[&str]) -> Result<(), Error> {
    let job = Job { limit, program, args, environment: &[], input: b"", most: 0 };
    job.run().await.map(drop)
}

/// How a program has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its status; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub output: Vec<u8>,
    /// The beginning of what it wrote to stderr.
    pub complaints: String,
}

/// Runs `program` with `args`, whatever its status.
///
/// # Errors
///
/// It cannot be started, writes more than is ever asked for, or takes longer than `limit`.
pub async fn ended_within(limit: Duration, program: &str, args: &[&str]) -> Result<Ended, Error> {
    ended_with_most(MOST, limit, program, args).await
}

/// As [`ended_within`], for at most so many bytes of output; no more than these are held at any time.
///
/// # Errors
///
/// As [`ended_within`].
pub async fn ended_with_most(
    most: usize,
    limit: Duration,
    program: &str,
    args: &[&str],
) -> Result<Ended, Error> {
    let job = Job { limit, program, args, environment: &[], input: b"", most };
    let (status, output, complaints) = job.ended().await?;
    let complaints = String::from_utf8_lossy(&complaints.kept).trim_end().to_owned();
    Ok(Ended { code: status.code(), output: output.whole(program)?, complaints })
}

/// Runs `program` with these variables more for its work; gives the lines that it wrote to stderr.
///
/// # Errors
///
/// As [`run_with`].
pub async fn work_with(
    program: &str,
    environment: &[(&str, OsString)],
) -> Result<Vec<String>, Error> {
    let job = Job { limit: LIMIT, program, args: &[], environment, input: b"", most: 0 };
    let (_, complaints) = job.run().await?;
    let text = String::from_utf8_lossy(&complaints.kept);
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

/// What is to be run.
struct Job<'a> {
    limit: Duration,
    program: &'a str,
    args: &'a [&'a str],
    environment: &'a [(&'a str, OsString)],
    input: &'a [u8],
    /// Bytes of stdout that are wanted; 0: none, it goes nowhere.
    most: usize,
}

impl Job<'_> {
    /// What it wrote to stdout and stderr; an error unless it ended with status 0.
    async fn run(&self) -> Result<(Taken, Taken), Error> {
        let (status, output, complaints) = self.ended().await?;
        if status.success() {
            return Ok((output, complaints));
        }
        let stderr = String::from_utf8_lossy(&complaints.kept);
        let first = stderr.lines().filter(|line| !line.trim().is_empty()).take(5);
        Err(Error::Failed {
            program: self.program.to_owned(),
            status: status.to_string(),
            stderr: first.collect::<Vec<_>>().join("; "),
        })
    }

    /// How it ended, and what it wrote to stdout and stderr.
    async fn ended(&self) -> Result<(ExitStatus, Taken, Taken), Error> {
        let start = |source| Error::Start { program: self.program.to_owned(), source };
        // Without it a program that hangs goes on after Ctrl-C, to the end of its time or for ever; no
        // thread left for it is no reason not to run the program.
        listen().ok();
        let child = self.spawn().map_err(start)?;
        let (mut output, mut complaints) = (Taken::new(self.most), Taken::new(MOST_COMPLAINTS));
        let _wait = alive::within(self.limit);
        let ended = self.end_of(child, &mut output, &mut complaints);
        let Ok(status) = tokio::time::timeout(self.limit, ended).await else {
            return Err(Error::TooLong { program: self.program.to_owned(), limit: self.limit });
        };
        Ok((status.map_err(start)?, output, complaints))
    }

    /// Feeds `child` and listens to it until it has ended.
    async fn end_of(
        &self,
        mut child: Child,
        output: &mut Taken,
        complaints: &mut Taken,
    ) -> io::Result<ExitStatus> {
        let group = Group::of(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input says so by its status.
                stdin.write_all(self.input).await.ok();
            }
        };
        let talk = async {
            tokio::join!(feed, output.take_all(stdout), complaints.take_all(stderr));
        };
        let mut talk = pin!(talk);
        let mut is_silent = false;
        let status = loop {
            tokio::select! {
                () = &mut talk, if !is_silent => is_silent = true,
                status = child.wait() => break status,
            }
        };
        // From now on its number can be another's.
        group.forget();
        if ENDING.load(Ordering::SeqCst) {
            // We have ended it, and are about to end: that it failed is no answer.
            std::future::pending::<()>().await;
        }
        if !is_silent {
            // What it wrote is in the pipe; who else has the pipe open is not waited for.
            tokio::time::timeout(GRACE, &mut talk).await.ok();
        }
        status
    }

    fn spawn(&self) -> io::Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let mut command = Command::new(self.program);
        command.args(self.args).env("LC_ALL", "C");
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        command.stdout(if self.most > 0 { Stdio::piped() } else { Stdio::null() });
        // For its zombie; the group is ended by the guard.
        command.kill_on_drop(true);
        command.process_group(0).spawn()
    }
}

/// How long the output of a program that has ended is read on when others have its pipe open.
const GRACE: Duration = Duration::from_millis(200);

/// Bytes of stdout: more than the guard of ten thousand containers has.
const MOST: usize = 64 << 20;

/// Bytes of stderr; the rest says nothing more.
const MOST_COMPLAINTS: usize = 8 << 10;

/// The beginning of what a program writes.
struct Taken {
    kept: Vec<u8>,
    most: usize,
    is_cut: bool,
}

impl Taken {
    const fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most, is_cut: false }
    }

    /// All that `program` has written.
    fn whole(self, program: &str) -> Result<Vec<u8>, Error> {
        if self.is_cut {
            return Err(Error::TooMuch { program: program.to_owned(), most: self.most });
        }
        Ok(self.kept)
    }

    /// Reads to the end of `pipe`; nobody is held up by what is not kept.
    async fn take_all(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut bytes = vec![0; 16 << 10];
        while let Ok(count) = pipe.read(&mut bytes).await
            && count > 0
        {
            let fits = count.min(self.most - self.kept.len());
            self.kept.extend_from_slice(&bytes[..fits]);
            self.is_cut |= fits < count;
        }
    }
}

/// The leaders of the groups that run now.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process group of a program, which is ended when this is dropped before the program's own end.
///
/// What a program leaves in the background when it ends by itself is its own affair.
struct Group(u32);

impl Group {
    fn of(child: &Child) -> Self {
        // A child that was not waited for has a number.
        let leader = child.id().unwrap_or_default();
        running().insert(leader);
        Self(leader)
    }

    /// The leader has ended by itself.
    fn forget(&self) {
        running().remove(&self.0);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // 0 would be our own.
        if running().remove(&self.0) && self.0 != 0 {
            signal_group(self.0, Signal::SIGKILL);
        }
    }
}

/// From now on what ends this process by a signal ends the programs that it runs too: they are in groups of
/// their own, and Ctrl-C would not come to them.
///
/// For a process that has no use of its own for these signals. One that is ignored, as by `nohup`, stays so.
///
/// Listens from the first program on: most expansions run none.
pub fn end_with_us() {
    ENDS_WITH_US.store(true, Ordering::Relaxed);
}

/// Whether such a signal has come.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether [`end_with_us`] was said, and whether somebody listens.
static ENDS_WITH_US: AtomicBool = AtomicBool::new(false);
static LISTENS: OnceLock<()> = OnceLock::new();

/// Listens for what ends this process, once, when [`end_with_us`] was said.
fn listen() -> io::Result<()> {
    if !ENDS_WITH_US.load(Ordering::Relaxed) || LISTENS.set(()).is_err() {
        return Ok(());
    }
    let ignored = procfs::process::Process::myself().and_then(|this| this.status());
    let ignored = ignored.map_or(0, |status| status.sigign);
    let counts = |signal: &i32| (ignored >> (signal - 1)) & 1 == 0;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(counts))?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            ENDING.store(true, Ordering::SeqCst);
            // Not the same signal: what a shell has in the background ignores SIGINT.
            running().iter().for_each(|leader| signal_group(*leader, Signal::SIGTERM));
            emulate_default_handler(signal).ok();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::host::process::Process;

    use super::*;

    /// The process whose number the script has written to `file`.
    fn process(file: &std::path::Path) -> Process {
        let id = std::fs::read_to_string(file).unwrap();
        Process::of(id.trim().parse().unwrap()).unwrap()
    }

    fn end(left: Process) {
        assert!(left.lives());
        let id = nix::unistd::Pid::from_raw(left.id.cast_signed());
        nix::sys::signal::kill(id, Signal::SIGKILL).unwrap();
    }

    fn shell<'a>(script: &'a str, file: &'a str) -> [&'a str; 3] {
        ["-c", script, file]
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("pid");
        let args = shell("sleep 300 & echo $! > $0; wait", file.to_str().unwrap());
        let limit = Duration::from_secs(2);
        for asked in [true, false] {
            let ended = if asked {
                ask_within(limit, "sh", &args).await
            } else {
                run_within(limit, "sh", &args, &[], b"").await.map(drop)
            };
            assert!(matches!(ended, Err(Error::TooLong { .. })), "{ended:?}");
            let id: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
            let left = Process::of(id);
            assert!(left.is_none_or(|left| left.ends_within(Duration::from_secs(20))));
        }
    }

    #[tokio::test]
    async fn what_a_program_leaves_in_the_background_is_neither_waited_for_nor_ended() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("pid");
        let file_name = file.to_str().unwrap();
        let begun = Instant::now();
        let limit = Duration::from_secs(60);
        let args = shell("sleep 300 & echo $! > $0; echo out", file_name);
        assert_eq!(run_within(limit, "sh", &args, &[], b"").await.unwrap(), b"out\n");
        end(process(&file));
        let args = shell("sleep 300 & echo $! > $0; echo why >&2; exit 3", file_name);
        let error = ask_within(limit, "sh", &args).await.unwrap_err();
        assert_eq!(error.to_string(), "'sh' ended with exit status: 3: why");
        end(process(&file));
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_flood_is_not_kept() {
        let limit = Duration::from_secs(60);
        let some = ["-c", "1000", "/dev/zero"];
        assert_eq!(ended_with_most(1000, limit, "head", &some).await.unwrap().output.len(), 1000);
        let more = ended_with_most(999, limit, "head", &some).await.unwrap_err();
        assert!(matches!(more, Error::TooMuch { most: 999, .. }), "{more}");
        let flood = [
            "-c",
            "head -c 70000000 /dev/zero; head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1",
        ];
        let error = run_within(limit, "sh", &flood, &[], b"").await.unwrap_err();
        assert!(error.to_string().len() < 2 * MOST_COMPLAINTS, "{}", error.to_string().len());
        let args = ["-c", "70000000", "/dev/zero"];
        let error = run_within(limit, "head", &args, &[], b"").await.unwrap_err();
        assert!(matches!(error, Error::TooMuch { .. }), "{error}");
        ask_within(limit, "head", &args).await.unwrap();
        let args = ["-c", "60000000", "/dev/zero"];
        assert_eq!(run_within(limit, "head", &args, &[], b"").await.unwrap().len(), 60_000_000);
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_may_leave_it_unread() {
        let input = b"x".repeat(1 << 20);
        assert_eq!(run("cat", &[], &input).await.unwrap(), input);
        assert_eq!(run("true", &[], &input).await.unwrap(), b"");
        assert!(run("no-such-program-here", &[], b"").await.unwrap_err().is_missing());
    }
}
