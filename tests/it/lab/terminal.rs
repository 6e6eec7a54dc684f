// SPDX-License-Identifier: GPL-2.0-or-later

//! A program on a terminal of its own, as a person has it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

/// A program and the terminal on which it is.
#[derive(Debug)]
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` in a session of its own, on a terminal of 100 columns.
    pub(super) fn spawn(command: &Command) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // Ctrl-C is a signal only for those whose terminal it is.
        let mut session = super::process::command("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.env("TERM", "xterm");
        let copy = || pty.slave.try_clone().unwrap();
        let child = session.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        // The command keeps copies of this side, and there is no end while one is open.
        drop(session);
        drop(pty.slave);
        let keyboard = File::from(pty.master);
        let mut screen = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last one who has the other side open gone is an error here.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, keyboard, shown }
    }

    /// Everything that was shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Presses `keys`.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for `condition`, which is given what was shown.
    #[track_caller]
    pub(crate) fn wait_for(&self, limit: Duration, what: &str, condition: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + limit;
        while !condition(&self.shown()) {
            assert!(Instant::now() < deadline, "still not: {what}; shown:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end and gives its exit status.
    #[track_caller]
    pub(crate) fn ended(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still runs; shown:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
