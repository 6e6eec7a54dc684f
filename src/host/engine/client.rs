// SPDX-License-Identifier: GPL-2.0-or-later

//! The client of an engine, also of one whose socket nobody has made yet.
//!
//! The library gives none for a socket that is not there. An engine that has not begun is as one that has
//! ended: each question is answered by that, and the next one may find it.

use std::future::ready;
use std::sync::OnceLock;

use bollard::errors::Error as Answer;
use bollard::{BollardRequest, ClientVersion, Docker};

use crate::host::engine::{Endpoint, Error, limit};

/// Who is asked.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    version: ClientVersion,
    /// As soon as there is a socket.
    first: OnceLock<Docker>,
    /// The same, after the engine was asked what it speaks.
    negotiated: OnceLock<Docker>,
    /// Says to each question that there is no socket.
    nobody: Docker,
}

impl Client {
    /// For the engine at `endpoint`, speaking `version` at first.
    ///
    /// # Errors
    ///
    /// Its certificates cannot be used.
    pub(super) fn new(endpoint: &Endpoint, version: &ClientVersion) -> Result<Self, Error> {
        let first = match connect(endpoint, version) {
            Ok(client) => OnceLock::from(client),
            Err(Answer::SocketNotFoundError(_)) => OnceLock::new(),
            Err(source) => return Err(unreachable(endpoint, source)),
        };
        let nobody = nobody(endpoint, version).map_err(|source| unreachable(endpoint, source))?;
        let (endpoint, version) = (endpoint.clone(), *version);
        Ok(Self { endpoint, version, first, negotiated: OnceLock::new(), nobody })
    }

    /// The one to ask now.
    pub(super) fn get(&self) -> &Docker {
        self.negotiated.get().unwrap_or_else(|| self.first())
    }

    /// The same, before it was asked what it speaks.
    pub(super) fn first(&self) -> &Docker {
        if self.first.get().is_none()
            && let Ok(client) = connect(&self.endpoint, &self.version)
        {
            return self.first.get_or_init(|| client);
        }
        self.first.get().unwrap_or(&self.nobody)
    }

    /// Speaks as `client` from now on.
    pub(super) fn keep(&self, client: Docker) {
        self.negotiated.get_or_init(|| client);
    }
}

/// The library's own limit ends where an answer begins, so it is not the one that counts.
fn connect(endpoint: &Endpoint, version: &ClientVersion) -> Result<Docker, Answer> {
    endpoint.connect(limit::AFTER_OURS.as_secs(), version)
}

fn unreachable(endpoint: &Endpoint, source: Answer) -> Error {
    Error::Unreachable { endpoint: endpoint.to_string(), source }
}

fn nobody(endpoint: &Endpoint, version: &ClientVersion) -> Result<Docker, Answer> {
    let place = match endpoint {
        Endpoint::Unix(path) => path.display().to_string(),
        Endpoint::Loopback(_) | Endpoint::Tls(..) => endpoint.to_string(),
    };
    let answer = move |_: BollardRequest| ready(Err(Answer::SocketNotFoundError(place.clone())));
    let seconds = limit::AFTER_OURS.as_secs();
    Docker::connect_with_custom_transport(answer, Some("http://nobody"), seconds, version)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::host::engine::{API, endpoint};

    #[tokio::test]
    async fn a_socket_that_comes_later_is_asked_as_soon_as_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine");
        let client = Client::new(&Endpoint::Unix(path.clone()), &API).unwrap();
        let answer = client.get().ping().await.unwrap_err();
        assert!(endpoint::is_unreachable(&answer), "{answer}");
        assert!(answer.to_string().contains("engine"), "{answer}");

        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").unwrap();
        });
        assert_eq!(client.get().ping().await.unwrap(), "OK");
        served.join().unwrap();
    }
}
