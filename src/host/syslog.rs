// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines to the system's log: one datagram each, to `/dev/log` below the root.
//!
//! A machine without a log daemon, or one whose daemon hangs, is no reason to stop: the line is then lost.

use crate::settings::zone;
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Facility local1 (17), severity info (6); `syslog(3)`.
const PRIORITY: u8 = 17 * 8 + 6;

/// How long a daemon that does not read may hold us up, in all.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to the log.
#[derive(Debug)]
pub struct Syslog {
    socket: Option<UnixDatagram>,
    path: PathBuf,
    head: String,
    zone: TimeZone,
    patience: Duration,
}

impl Syslog {
    /// To the log at `path`, under the name `ident`.
    pub fn new(path: PathBuf, ident: &str) -> Self {
        let socket = UnixDatagram::unbound().ok();
        let socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        let head = format!("{ident}[{}]", std::process::id());
        Self { socket, path, head, zone: zone::local(), patience: PATIENCE }
    }

    /// Sends one line; control characters are written as the log daemons do it (`#012`).
    pub fn line(&mut self, text: &str) {
        let now = Timestamp::now().to_zoned(self.zone.clone()).strftime("%b %e %H:%M:%S");
        let mut message = format!("<{PRIORITY}>{now} {}: ", self.head);
        for character in text.chars() {
            if character.is_control() && character != '\t' {
                // Writing to a String cannot fail.
                write!(message, "#{:03o}", u32::from(character)).ok();
            } else {
                message.push(character);
            }
        }
        self.send(message.as_bytes());
    }

    fn send(&mut self, message: &[u8]) {
        let Some(socket) = &self.socket else { return };
        loop {
            // By its path every time: an event may restart the daemon.
            match socket.send_to(message, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.patience.is_zero() {
                        return;
                    }
                    let begun = Instant::now();
                    // Waiting by poll() would end at once: a socket that is not connected is always writable.
                    std::thread::sleep(Duration::from_millis(1));
                    self.patience = self.patience.saturating_sub(begun.elapsed());
                }
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_datagram_in_the_form_of_syslog() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        Syslog::new(path, "esmith::event").line("a\nb \u{1b}[1m ä");
        let mut bytes = [0; 200];
        let length = daemon.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let (head, rest) = text.split_at("<142>Nov 21 11:00:00 ".len());
        assert!(head.starts_with("<142>") && head.ends_with(' '), "{text}");
        let ident = format!("esmith::event[{}]: ", std::process::id());
        assert_eq!(rest.strip_prefix(&ident).unwrap(), "a#012b #033[1m ä");
    }

    #[test]
    fn a_daemon_that_does_not_read_holds_nobody_up() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let mut log = Syslog::new(path, "x");
        log.patience = Duration::from_millis(30);
        let begun = Instant::now();
        for _ in 0..2000 {
            log.line("never read");
        }
        assert!(log.patience.is_zero() && begun.elapsed() < Duration::from_secs(5));
    }
}
