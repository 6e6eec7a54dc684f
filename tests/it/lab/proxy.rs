// SPDX-License-Identifier: GPL-2.0-or-later

//! Stands between wharf and the engine: notes each request, and lets a test do something at it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

type Hook = Arc<dyn Fn(&str) + Send + Sync>;
type Requests = Arc<Mutex<Vec<String>>>;

/// A socket that passes everything on to another.
#[derive(Debug)]
pub(crate) struct Proxy {
    socket: PathBuf,
    requests: Requests,
}

impl Proxy {
    /// Listens at `socket`; each request is noted, then shown to `hook`, then passed on to `engine`.
    ///
    /// Its threads end with their connections, and the one that listens with the test program.
    pub(crate) fn start(
        socket: PathBuf,
        engine: PathBuf,
        hook: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Requests::default();
        let hook: Hook = Arc::new(hook);
        let noted = Arc::clone(&requests);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                pass(client, &engine, &noted, &hook);
            }
        });
        Self { socket, requests }
    }

    /// `DOCKER_HOST` for this socket.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The requests so far, `GET /containers/json`, without the version of the API and the query.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn pass(client: UnixStream, engine: &Path, noted: &Requests, hook: &Hook) {
    let Ok(engine) = UnixStream::connect(engine) else { return };
    let (from_engine, to_client) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || copy(from_engine, to_client, |_| {}));
    let (noted, hook) = (Arc::clone(noted), Arc::clone(hook));
    let mut rest = Vec::new();
    thread::spawn(move || {
        copy(client, engine, |bytes| {
            rest.extend_from_slice(bytes);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if let Some(request) = request_of(&String::from_utf8_lossy(&line)) {
                    noted.lock().unwrap().push(request.clone());
                    hook(&request);
                }
            }
            // The rest of a body that has no end of line; the next head follows it directly.
            if let Some(head) = rest.iter().rposition(|byte| *byte == b'}') {
                rest.drain(..=head);
            }
        });
    });
}

fn copy(mut from: UnixStream, mut to: UnixStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        look(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}

/// `GET /containers/json` of `GET /v1.41/containers/json?all=true HTTP/1.1`.
pub(super) fn request_of(line: &str) -> Option<String> {
    let mut words = line.trim_end().split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/") || words.next().is_some() {
        return None;
    }
    let path = target.split('?').next()?;
    let path = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((number, rest)) if number.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("/{rest}")
        }
        Some(_) | None => path.to_owned(),
    };
    Some(format!("{method} {path}"))
}

#[test]
fn a_request_is_noted_without_version_and_query() {
    let noted = request_of("GET /v1.41/containers/json?all=true HTTP/1.1\r\n");
    assert_eq!(noted.as_deref(), Some("GET /containers/json"));
    assert_eq!(request_of("Host: localhost\r\n"), None);
}
