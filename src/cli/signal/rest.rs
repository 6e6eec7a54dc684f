// SPDX-License-Identifier: GPL-2.0-or-later

//! What a handler's background jobs still write when the handler has ended.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

use bstr::ByteSlice;

use crate::cli::Exit;
use crate::event::line::IDENT;
use crate::host::handler::output::Lines;
use crate::host::syslog::Syslog;
use crate::settings::Root;

/// The command that [`log_rest`] is.
pub(in crate::cli) const NAME: &str = "event-output";

/// The arguments with which this program is started for it.
pub(super) fn arguments(root: &Path) -> [OsString; 3] {
    ["--root".into(), root.into(), NAME.into()]
}

/// Reads stdin until nobody has its other end: lines for the log, as many as of a handler, then nothing.
///
/// Without a reader a job would be ended by its next line; one that waits until it is read would hold it.
pub(in crate::cli) fn log_rest(root: &Path) -> Exit {
    let mut log = Syslog::new(Root::new(root).at("/dev/log"), IDENT);
    let mut line = |text: &[u8]| log.line(&text.to_str_lossy());
    let (mut input, mut lines, mut bytes) = (io::stdin().lock(), Lines::default(), [0; 16_384]);
    loop {
        match input.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => lines.add(&bytes[..count], &mut line),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.end(&mut line);
    Exit::Done
}
