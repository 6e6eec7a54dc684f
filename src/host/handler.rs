// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs one handler of an event and waits for it: a process group of its own, a time limit, and an
//! output that is read while it runs.
//!
//! No runtime is needed: one thread waits for the pipe, for the end of the child and for a signal
//! to us. Of a terminal's keys the handler sees nothing, since it is in another group: who presses
//! Ctrl-C ends us, and we end it.
//!
//! Left out on purpose: what a handler leaves behind in the background when it ends by itself. That
//! is its own affair, as in e-smith. Its output is not waited for, but goes on to a small process of ours,
//! which is there as long as anybody can write into the pipe: nobody is ended by it, or held up.

pub mod output;

use std::ffi::OsString;
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use crate::event::past::Ended;
use crate::host::process::{MERCY, group_lives, signal_group};

use output::{Kept, Lines};

/// How long the output of a handler that has ended is read on when others have its pipe open.
const GRACE: Duration = Duration::from_millis(200);

/// Between two looks at a group whose leader has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Run by this when it has no `#!` line, as `execvp` does it.
const SHELL: &str = "/bin/sh";

/// The wait status of what could not be run, as a shell has it: status 127.
const NOT_RUN: i32 = 127 << 8;

/// What interrupts the waiting for a handler: its end, or a signal to this process.
#[derive(Debug)]
pub struct Wake {
    reader: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Wake {
    /// Catches the signals from now on.
    ///
    /// SIGHUP is caught and means nothing: an event goes on when the terminal is gone.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGQUIT] {
            // The flag first: who is woken then sees it.
            flag::register(signal, Arc::clone(&stop))?;
            pipe::register(signal, writer.try_clone()?)?;
        }
        flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
        pipe::register(SIGCHLD, writer)?;
        Ok(Self { reader, stop })
    }

    /// Set when this process was told to end.
    pub const fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// Whether this process was told to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn drain(&self) {
        let mut bytes = [0; 64];
        while (&self.reader).read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}

/// What is to be run.
#[derive(Debug)]
pub struct Handler<'a> {
    /// The file.
    pub path: &'a Path,
    /// The name of the event and its arguments.
    pub args: &'a [OsString],
    /// Variables that it has beside those of this process.
    pub environment: &'a [(&'static str, OsString)],
    /// How long it may take.
    pub limit: Duration,
    /// Arguments of this program that read from stdin what is written after the handler's end.
    pub rest: &'a [OsString],
}

/// What became of it.
#[derive(Debug)]
pub struct Ran {
    /// In one word.
    pub result: Ended,
    /// The raw wait status.
    pub status: i32,
    /// What it wrote to stdout and stderr.
    pub output: Kept,
}

/// Runs `handler` to its end; `started` gets its process, `line` every line that it writes.
pub fn run(
    handler: &Handler<'_>,
    wake: &Wake,
    started: &mut dyn FnMut(u32),
    line: &mut dyn FnMut(&[u8]),
) -> Ran {
    let begun = io::pipe().and_then(|(reader, writer)| Ok((reader, start(handler, &writer)?)));
    match begun {
        Ok((reader, child)) => {
            started(child.id());
            Running::new(child, reader, handler).finish(wake, line)
        }
        Err(error) => {
            let mut output = Kept::default();
            let mut out = Vec::new();
            // Writing to a Vec cannot fail.
            write!(out, "cannot run {}: {error}", handler.path.display()).ok();
            line(&out);
            output.add(&out);
            output.add(b"\n");
            Ran { result: Ended::NotRun, status: NOT_RUN, output }
        }
    }
}

fn start(handler: &Handler<'_>, writer: &PipeWriter) -> io::Result<Child> {
    match spawn(handler, handler.path, None, writer) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOEXEC as i32) => {
            spawn(handler, Path::new(SHELL), Some(handler.path), writer)
        }
        started => started,
    }
}

fn spawn(
    handler: &Handler<'_>,
    program: &Path,
    script: Option<&Path>,
    writer: &PipeWriter,
) -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "handlers need their input, group and output")]
    let mut command = Command::new(program);
    command.args(script).args(handler.args).process_group(0);
    command.stdout(writer.try_clone()?).stderr(writer.try_clone()?);
    // In another group than the terminal's, whoever reads from it is stopped for good.
    if io::stdin().is_terminal() {
        command.stdin(Stdio::null());
    }
    command.envs(handler.environment.iter().map(|(name, value)| (*name, value)));
    command.spawn()
}

/// Starts who reads on.
fn hand_over(pipe: PipeReader, args: &[OsString]) -> io::Result<()> {
    // Under this name it is this program also when its file was replaced meanwhile.
    #[expect(clippy::disallowed_methods, reason = "it outlives us, and has the pipe")]
    let mut command = Command::new("/proc/self/exe");
    // Of no terminal's and no directory's business.
    command.args(args).process_group(0).current_dir("/");
    command.stdin(pipe).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop)
}

/// A handler that was started.
struct Running<'a> {
    handler: &'a Handler<'a>,
    child: Child,
    /// `None` once everybody has closed it.
    pipe: Option<PipeReader>,
    exited: Option<ExitStatus>,
    deadline: Instant,
    ending: Option<Ended>,
    /// Whether nobody is left of the group that was told to end.
    is_gone: bool,
    output: Kept,
    lines: Lines,
}

impl<'a> Running<'a> {
    fn new(child: Child, pipe: PipeReader, handler: &'a Handler<'a>) -> Self {
        Self {
            handler,
            child,
            pipe: Some(pipe),
            exited: None,
            deadline: Instant::now() + handler.limit,
            ending: None,
            is_gone: false,
            output: Kept::default(),
            lines: Lines::default(),
        }
    }

    fn finish(mut self, wake: &Wake, line: &mut dyn FnMut(&[u8])) -> Ran {
        loop {
            if self.exited.is_none()
                && let Ok(Some(status)) = self.child.try_wait()
            {
                self.exited = Some(status);
                if self.ending.is_none() {
                    self.deadline = Instant::now() + GRACE;
                }
            }
            self.cut_mercy_short();
            if self.exited.is_some() && self.pipe.is_none() {
                break;
            }
            if wake.is_stopped() && self.ending.is_none() && self.exited.is_none() {
                self.end(Ended::Interrupted);
            }
            if Instant::now() >= self.deadline {
                if self.exited.is_some() {
                    break;
                }
                match self.ending {
                    None => self.end(Ended::TooLong),
                    Some(_) => self.kill(),
                }
            }
            self.wait(wake, line);
        }
        if self.is_awaited() {
            // Whoever of the group outlived its leader.
            self.signal(Signal::SIGKILL);
        }
        self.lines.end(line);
        if let Some(pipe) = self.pipe
            && let Err(error) = hand_over(pipe, self.handler.rest)
        {
            line(format!("what is still written is not logged: {error}").as_bytes());
        }
        let status = self.exited.map_or(NOT_RUN, ExitStatusExt::into_raw);
        let result = match self.ending {
            Some(ending) => ending,
            None if status == 0 => Ended::Done,
            None => Ended::Failed,
        };
        Ran { result, status, output: self.output }
    }

    /// Once all of the group are gone, who else has the pipe is waited for no longer than after a good end.
    fn cut_mercy_short(&mut self) {
        if self.exited.is_some() && self.is_awaited() && !group_lives(self.child.id()) {
            self.deadline = self.deadline.min(Instant::now() + GRACE);
            self.is_gone = true;
        }
    }

    /// Whether the group was told to end, and may still be at it.
    const fn is_awaited(&self) -> bool {
        self.ending.is_some() && !self.is_gone
    }

    /// Sleeps until something is to be read, the child has ended, a signal came or the time is over.
    fn wait(&mut self, wake: &Wake, line: &mut dyn FnMut(&[u8])) {
        let mut left = self.deadline.saturating_duration_since(Instant::now());
        if self.exited.is_some() && self.is_awaited() {
            // The end of those who are no children of ours has no signal.
            left = left.min(LOOK);
        }
        // Rounded up: a wait of less than a millisecond would be none.
        let limit =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut sources = vec![PollFd::new(wake.reader.as_fd(), PollFlags::POLLIN)];
        sources.extend(self.pipe.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        // A signal ends the wait too; what is ready is looked at again next time.
        if poll(&mut sources, limit).is_err() {
            return;
        }
        let is_ready = |source: Option<&PollFd<'_>>| source.and_then(PollFd::any).unwrap_or(false);
        let (woken, readable) = (is_ready(sources.first()), is_ready(sources.get(1)));
        if woken {
            wake.drain();
        }
        if readable {
            self.read(line);
        }
    }

    fn read(&mut self, line: &mut dyn FnMut(&[u8])) {
        let mut bytes = [0; 16_384];
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut bytes) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                self.output.add(&bytes[..count]);
                self.lines.add(&bytes[..count], line);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.pipe = None,
        }
    }

    fn end(&mut self, why: Ended) {
        self.ending = Some(why);
        self.deadline = Instant::now() + MERCY;
        self.signal(Signal::SIGTERM);
    }

    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.deadline = Instant::now() + MERCY;
    }

    /// To all of its group.
    fn signal(&self, signal: Signal) {
        signal_group(self.child.id(), signal);
    }
}
