// SPDX-License-Identifier: GPL-2.0-or-later

//! Whose engine it is: Docker's, or Podman's behind the compatible socket.

use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::host::Error as HostError;
use crate::host::engine::Engine;

/// How Podman calls itself among the parts of its version.
pub(super) const PODMAN: &str = "Podman Engine";

/// More bytes than a head has.
const HEAD: u64 = 16 * 1024;

impl Engine {
    /// Whether it is Podman behind its compatible socket; asked once.
    ///
    /// By the field `Server` of an answer, where there is one that can be understood: for its version Docker
    /// starts programs (10 ms).
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn is_podman(&self) -> Result<bool, HostError> {
        if let Some(known) = self.is_podman.get() {
            return Ok(*known);
        }
        let head = async {
            let Some(socket) = &self.socket else { return Ok(None) };
            Ok(head(socket).await.ok().as_deref().and_then(is_podmans))
        };
        let said = self.must("ask whose it is", head).await?;
        let is_podman = if let Some(is_podman) = said {
            is_podman
        } else {
            let version = self.must("ask for its version", self.client().version()).await?;
            version.components.iter().flatten().any(|part| part.name == PODMAN)
        };
        Ok(*self.is_podman.get_or_init(|| is_podman))
    }
}

/// What the library does not tell of an answer.
async fn head(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"HEAD /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").await?;
    let (mut answer, mut head) = (BufReader::new(stream.take(HEAD)), String::new());
    while answer.read_line(&mut head).await? > 2 {}
    Ok(head)
}

/// Whether the server of an answer with this `head` is Podman (`Libpod/4.3.1 (linux)`); `None` when it is
/// neither that nor Docker.
fn is_podmans(head: &str) -> Option<bool> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, server) = fields.find(|(name, _)| name.eq_ignore_ascii_case("server"))?;
    match server.trim().split('/').next() {
        Some("Libpod") => Some(true),
        Some("Docker") => Some(false),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_neither_name_is_asked_for_more() {
        let of = |fields: &str| is_podmans(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(of("Api-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n"), Some(false));
        assert_eq!(of("server: Libpod/4.3.1 (linux)\r\n"), Some(true));
        assert_eq!(of("Server: nginx\r\n"), None);
        assert_eq!(of("Api-Version: 1.41\r\n"), None);
        assert_eq!(is_podmans(""), None);
    }
}
