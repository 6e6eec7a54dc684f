// SPDX-License-Identifier: GPL-2.0-or-later

//! An engine that lies: stands before a real one, and spoils the answers that a test names.
//!
//! It reads whole requests and makes whole answers, so that it can do the work and then deny it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::proxy::request_of;

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done, and nothing is said.
    Silent,
    /// It is done, and nothing is said.
    DoneSilent,
    /// It is done, and told by a byte a second.
    Drip,
    /// It is done, and the answer ends after its head.
    HeadOnly,
    /// It is done, and the line is cut in the head of the answer.
    CutHead,
    /// It is done, and the line is cut in the middle of the answer.
    CutBody,
    /// It is done, and the answer is whole, but its JSON is not.
    Truncated,
    /// It is done, and the answer is 500.
    DoneBut500,
    /// Nothing is done, and the answer is 409.
    Conflict,
    /// Nothing is done, and the line is cut.
    HangUp,
}

/// Which requests are spoiled, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lie {
    /// The method, and a part of the path that the request begins with.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// What the path ends with.
    pub(crate) end: &'static str,
    pub(crate) fault: Fault,
    /// Whether the engine is silent to everything from then on.
    pub(crate) for_good: bool,
}

#[derive(Debug, Default)]
struct State {
    lie: Option<Lie>,
    /// When the first request was spoiled.
    told: Option<Instant>,
    requests: Vec<(Instant, String)>,
}

/// A socket at which an engine is heard through a liar.
#[derive(Debug)]
pub(crate) struct Liar {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Liar {
    /// Listens at `socket`, and tells the truth of `engine`. Its threads end with the test program.
    pub(crate) fn start(socket: PathBuf, engine: PathBuf) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let (engine, state) = (engine.clone(), Arc::clone(&shared));
                // A client that is gone is no matter.
                thread::spawn(move || drop(serve(client, &engine, &state)));
            }
        });
        Self { socket, state }
    }

    /// `DOCKER_HOST` for this socket.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Lies like this from now on.
    pub(crate) fn tell(&self, lie: Lie) {
        *self.state.lock().unwrap() = State { lie: Some(lie), ..State::default() };
    }

    /// When the first lie was told since then.
    pub(crate) fn told(&self) -> Option<Instant> {
        self.state.lock().unwrap().told
    }

    /// The requests since then, with the version of the API and the query left out.
    pub(crate) fn requests(&self) -> Vec<(Instant, String)> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// What is to be done with `request`.
fn judge(state: &Mutex<State>, request: &str) -> Option<Fault> {
    let mut state = state.lock().unwrap();
    state.requests.push((Instant::now(), request.to_owned()));
    let lie = state.lie?;
    let (method, path) = request.split_once(' ')?;
    let is_it = method == lie.method && path.starts_with(lie.path) && path.ends_with(lie.end);
    let told = state.told.is_some();
    if is_it && !(told && lie.for_good) {
        state.told.get_or_insert_with(Instant::now);
        return Some(lie.fault);
    }
    (told && lie.for_good).then_some(Fault::Silent)
}

/// One connection: one request after the other.
fn serve(mut client: UnixStream, engine: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    while let Some((head, body)) = read_request(&mut reader)? {
        let line = head.lines().next().unwrap_or_default();
        let request = request_of(line).unwrap_or_default();
        let fault = judge(state, &request);
        // One with an end is an answer as any other, and the line is used again after it.
        if fault.is_none() && request == "GET /events" && !line.contains("until=") {
            return follow(client, engine, &head);
        }
        let is_done = !matches!(fault, Some(Fault::Silent | Fault::Conflict | Fault::HangUp));
        let true_answer = if is_done { ask(engine, &head, &body)? } else { Vec::new() };
        match fault {
            None => client.write_all(&true_answer)?,
            Some(fault) => return spoil(&mut client, fault, &true_answer),
        }
    }
    Ok(())
}

fn spoil(client: &mut UnixStream, fault: Fault, answer: &[u8]) -> std::io::Result<()> {
    let head = answer.windows(4).position(|part| part == b"\r\n\r\n").map_or(0, |at| at + 4);
    let half = head + (answer.len() - head) / 2;
    let json = "Content-Type: application/json\r\n";
    let said = |status: &str, text: &str| {
        let length = text.len();
        format!("HTTP/1.1 {status}\r\n{json}Content-Length: {length}\r\n\r\n{text}")
    };
    match fault {
        Fault::Silent | Fault::DoneSilent => hold(client),
        Fault::Drip => {
            for byte in answer {
                client.write_all(&[*byte])?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
        Fault::HeadOnly => {
            let head = format!("HTTP/1.1 200 OK\r\n{json}Content-Length: 4000\r\n\r\n");
            client.write_all(head.as_bytes())?;
            hold(client)
        }
        Fault::CutHead => client.write_all(&answer[..head / 2]),
        Fault::CutBody => client.write_all(&answer[..half]),
        Fault::Truncated => {
            let text = String::from_utf8_lossy(&answer[head..half]).into_owned();
            client.write_all(said("200 OK", &text).as_bytes())
        }
        Fault::DoneBut500 => {
            let text = "{\"message\":\"the liar says so\"}";
            client.write_all(said("500 Internal Server Error", text).as_bytes())
        }
        Fault::Conflict => {
            let text = "{\"message\":\"the liar has a conflict\"}";
            client.write_all(said("409 Conflict", text).as_bytes())
        }
        Fault::HangUp => Ok(()),
    }?;
    client.shutdown(Shutdown::Both)
}

/// Says nothing until the client goes.
fn hold(client: &mut UnixStream) -> std::io::Result<()> {
    client.read(&mut [0; 1]).map(drop)
}

/// The head and the body of the next request; none when the client is gone.
fn read_request(reader: &mut BufReader<UnixStream>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut body = Vec::new();
    if let Some(length) = field("content-length").and_then(|length| length.parse().ok()) {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    } else if field("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let length = usize::from_str_radix(size.trim(), 16).unwrap();
            let start = body.len();
            body.resize(start + length, 0);
            reader.read_exact(&mut body[start..])?;
            reader.read_line(&mut String::new())?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(Some((head, body)))
}

/// The engine's answer to the request, in one piece.
///
/// HTTP/1.0 on purpose: it then has no chunks and ends with the connection.
fn ask(engine: &Path, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut engine = UnixStream::connect(engine)?;
    let line = head.lines().next().unwrap_or_default().replace("HTTP/1.1", "HTTP/1.0");
    let kind = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-type:"));
    let kind = kind.map(|kind| format!("{kind}\r\n")).unwrap_or_default();
    let length = body.len();
    write!(engine, "{line}\r\nHost: engine\r\n{kind}Content-Length: {length}\r\n\r\n")?;
    engine.write_all(body)?;
    let mut answer = Vec::new();
    engine.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let text = answer.split_off(end);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let (_, status) = head.lines().next().unwrap().split_once(' ').unwrap();
    let is_kept = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("content-type:") || line.starts_with("server:")
    };
    let kept: String = head.lines().filter(is_kept).flat_map(|line| [line, "\r\n"]).collect();
    let length = if status.starts_with("204") || status.starts_with("304") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", text.len())
    };
    let mut whole = format!("HTTP/1.1 {status}\r\n{kept}{length}\r\n").into_bytes();
    whole.extend(text);
    Ok(whole)
}

/// A stream of answers: passed on as it comes.
fn follow(mut client: UnixStream, engine: &Path, head: &str) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(engine)?;
    engine.write_all(head.as_bytes())?;
    std::io::copy(&mut engine, &mut client)?;
    client.shutdown(Shutdown::Both)
}
