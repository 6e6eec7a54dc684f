// SPDX-License-Identifier: GPL-2.0-or-later

//! As much HTTP over a Unix socket as the tests need to ask the engine themselves.
//!
//! HTTP/1.0 on purpose: the answer then has no chunks and ends with the connection.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// What the engine answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The bytes after the head.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why} in {}", self.text()))
    }
}

/// Sends one request to `socket` and reads the whole answer.
pub(crate) fn request(
    socket: &Path,
    method: &str,
    path: &str,
    kind: &str,
    body: Option<&[u8]>,
) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.unwrap_or_default();
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: engine\r\n");
    if !body.is_empty() {
        let _ = write!(head, "Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;

    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = String::from_utf8_lossy(&answer[..end])
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: answer.split_off(end + 4) })
}

/// `text` as it stands in the query of a URL.
pub(crate) fn query_value(text: &str) -> String {
    let mut value = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}

/// The text of the engine's framed output: before each piece stand eight bytes, the last four of
/// which are its length.
pub(crate) fn without_stream_heads(mut framed: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((head, rest)) = framed.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let (piece, rest) = rest.split_at(rest.len().min(length as usize));
        text.extend_from_slice(piece);
        framed = rest;
    }
    String::from_utf8_lossy(&text).into_owned()
}
