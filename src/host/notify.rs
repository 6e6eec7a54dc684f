// SPDX-License-Identifier: GPL-2.0-or-later

//! What the daemon tells the one who started it, and its watchdog.
//!
//! Source: `sd_notify(3)`, `sd_watchdog_enabled(3)`: lines `NAME=value` in one datagram to the socket that
//! `NOTIFY_SOCKET` names. Without it nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long a manager that takes nothing holds us up; the next word tells the same or later.
const LIMIT: Duration = Duration::from_secs(5);

/// Signs of life in the time that the watchdog gives.
const SIGNS: u32 = 4;

/// The way to the one who started us.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Between two signs of life.
    pub pace: Option<Duration>,
}

impl Notifier {
    /// As the environment says it; what cannot be used is in the log.
    pub fn of_environment(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC").filter(|limit| *limit > 0 && is_ours);
        let socket = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let socket = socket.and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(socket = ?path, %error, "who started us cannot be told anything");
                None
            }
        });
        let pace = limit.map(|limit| Duration::from_micros(limit) / SIGNS);
        Self { pace: pace.filter(|_| socket.is_some()), socket }
    }

    fn send(&self, words: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(words.as_bytes())) {
            tracing::debug!(words, %error, "who started us was not told");
        }
    }

    /// Triggers are listened to.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// How things are, in one line.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// Somebody asked for a look; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        // An abstract name is written with an `@`.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(LIMIT))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn every_word_is_one_datagram_also_to_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("wharf-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let cases = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}").into()),
        ];
        for (socket, path) in cases {
            let of = |name: &str| (name == "NOTIFY_SOCKET").then(|| path.clone());
            let notifier = Notifier::of_environment(&of);
            notifier.ready();
            assert_eq!(heard(&socket), "READY=1");
            notifier.status("two\nlines");
            assert_eq!(heard(&socket), "STATUS=two lines");
            notifier.reloading();
            let words = heard(&socket);
            let time = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(time.parse::<u64>().unwrap() > 0, "{words}");
            notifier.stopping();
            assert_eq!(heard(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_none_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let with = |pid: &str| {
            Notifier::of_environment(&|name| match name {
                "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
                "WATCHDOG_USEC" => Some("8000000".into()),
                "WATCHDOG_PID" => Some(pid.into()),
                _ => None,
            })
            .pace
        };
        assert_eq!(with(&std::process::id().to_string()), Some(Duration::from_secs(2)));
        assert_eq!(with("1"), None);
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        let notifier = Notifier::of_environment(&|_| None);
        notifier.ready();
        assert!(notifier.socket.is_none() && notifier.pace.is_none());
    }
}
