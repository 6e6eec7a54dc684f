// SPDX-License-Identifier: GPL-2.0-or-later

//! Packets from a chosen place: one thread for each probe, inside the network namespace it comes from.
//!
//! A network namespace belongs to a thread, so a probe needs no process of its own, and hundreds
//! of them wait for their time limit together.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, SockAddr, Socket, Type};

/// How long nothing must come for a port to pass for closed.
pub(crate) const CLOSED: Duration = Duration::from_millis(500);
/// How long an answer may take that must come, on a busy machine.
pub(crate) const OPEN: Duration = Duration::from_secs(8);

/// `tcp` or `udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub(crate) const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One question to one port.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub(crate) transport: Transport,
    /// The address it says to come from, which need not be one of the namespace's own.
    pub(crate) from: Option<IpAddr>,
    /// With the interface when the address is of a link.
    pub(crate) to: SocketAddr,
    /// How long to wait for an answer.
    pub(crate) limit: Duration,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Somebody said this.
    Text(String),
    /// The connection came to be, and nobody said anything.
    Mute,
    /// Refused, or nothing within the limit.
    Nothing,
}

/// Runs `work` in network namespace `file` (`/run/netns/NAME`, `/proc/PID/ns/net`).
pub(crate) fn within<T: Send + 'static>(
    file: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let namespace = File::open(file).unwrap_or_else(|why| panic!("{file}: {why}"));
    let builder = std::thread::Builder::new().stack_size(256 * 1024);
    let enter_and_work = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    builder.spawn(enter_and_work).unwrap()
}

/// Asks all of `shots` at once from namespace `file`; the answers are in their order.
pub(crate) fn ask_all(file: &str, shots: &[Shot]) -> Vec<Answer> {
    let ask_one = |shot: &Shot| {
        let shot = shot.clone();
        within(file, move || ask(&shot))
    };
    let asking: Vec<JoinHandle<Answer>> = shots.iter().map(ask_one).collect();
    asking.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn socket(shot: &Shot) -> std::io::Result<Socket> {
    let kind = match shot.transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(shot.to), kind, None)?;
    if let Some(from) = shot.from {
        // Allows an address that is somebody else's: that is what a spoofer sends.
        match from {
            IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    }
    Ok(socket)
}

fn ask(shot: &Shot) -> Answer {
    let deadline = Instant::now() + shot.limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(CLOSED / 5);
        let socket = socket(shot).unwrap_or_else(|why| panic!("{shot:?}: {why}"));
        let answer = match shot.transport {
            Transport::Tcp => ask_tcp(socket, shot, left),
            Transport::Udp => ask_udp(socket, shot),
        };
        // A server that is busy may reset what it has just accepted.
        if matches!(answer, Answer::Text(_)) || Instant::now() + CLOSED > deadline {
            return answer;
        }
        std::thread::sleep(CLOSED / 10);
    }
}

fn ask_tcp(socket: Socket, shot: &Shot, limit: Duration) -> Answer {
    if socket.connect_timeout(&SockAddr::from(shot.to), limit).is_err() {
        return Answer::Nothing;
    }
    // Whoever is met by a full queue thinks that he is connected; another one gets through.
    socket.set_read_timeout(Some(limit.min(CLOSED * 3))).unwrap();
    let mut text = String::new();
    // A reset after the text takes nothing from it.
    drop(std::net::TcpStream::from(socket).take(200).read_to_string(&mut text));
    if text.is_empty() { Answer::Mute } else { Answer::Text(text.trim_end().to_owned()) }
}

/// A packet may be lost, and the answer may come from another address of the host than was asked:
/// the engine's proxy answers by the address of the way back.
fn ask_udp(socket: Socket, shot: &Shot) -> Answer {
    let socket = UdpSocket::from(socket);
    let deadline = Instant::now() + shot.limit;
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
    {
        if socket.send_to(b"?", shot.to).is_err() {
            return Answer::Nothing;
        }
        socket.set_read_timeout(Some(left.min(CLOSED))).unwrap();
        let mut text = [0; 200];
        if let Ok((length, _)) = socket.recv_from(&mut text) {
            return Answer::Text(String::from_utf8_lossy(&text[..length]).into_owned());
        }
    }
    Answer::Nothing
}

/// A server in a namespace; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(file: &str, serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: Some(within(file, move || serve(&told))) }
    }

    /// Answers each datagram to `port` with `text`.
    pub(crate) fn udp(file: &str, port: u16, text: String) -> Self {
        let bound = within(file, move || UdpSocket::bind(("::", port)).unwrap());
        let socket = bound.join().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self::start(file, move |stop| {
            let mut question = [0; 16];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut question) {
                    // Who asked may be gone.
                    drop(socket.send_to(text.as_bytes(), from));
                }
            }
        })
    }

    /// Writes to everybody who connects to `port`, for as long as he stays, and by UDP to everybody
    /// who has once asked.
    pub(crate) fn stream(file: &str, port: u16) -> [Self; 2] {
        let bind =
            move || (TcpListener::bind(("0.0.0.0", port)), UdpSocket::bind(("0.0.0.0", port)));
        let (listener, socket) = within(file, bind).join().unwrap();
        let (listener, socket) = (listener.unwrap(), socket.unwrap());
        listener.set_nonblocking(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let tcp = Self::start(file, move |stop| {
            let mut clients = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if let Ok((client, _)) = listener.accept() {
                    client.set_nonblocking(true).unwrap();
                    client.set_nodelay(true).unwrap();
                    clients.push(client);
                }
                for client in &mut clients {
                    // One that is cut off has a full buffer.
                    drop(client.write(TICK));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let udp = Self::start(file, move |stop| {
            let mut clients = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
                    clients.push(from);
                }
                for client in &clients {
                    drop(socket.send_to(TICK, client));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        [tcp, udp]
    }
}

/// What a server of streams writes, again and again.
const TICK: &[u8] = b"tick";

/// A flow that somebody keeps open, and through which ticks come.
#[derive(Debug)]
pub(crate) struct Flow {
    socket: Socket,
}

impl Flow {
    /// Opens it, which must succeed.
    #[track_caller]
    pub(crate) fn open(file: &str, shot: &Shot) -> Self {
        let shot = shot.clone();
        let open = move || {
            let socket = socket(&shot)?;
            socket.connect_timeout(&SockAddr::from(shot.to), shot.limit)?;
            if shot.transport == Transport::Udp {
                socket.send(b"?")?;
            }
            Ok::<Socket, std::io::Error>(socket)
        };
        let flow = Self { socket: within(file, open).join().unwrap().unwrap() };
        assert!(flow.ticks_within(OPEN), "it does not even begin");
        flow
    }

    /// Whether something new comes within `limit`; what has come until now is thrown away.
    pub(crate) fn ticks_within(&self, limit: Duration) -> bool {
        let mut socket = &self.socket;
        let mut piece = [0; 8192];
        socket.set_nonblocking(true).unwrap();
        while matches!(socket.read(&mut piece), Ok(length) if length > 0) {}
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(limit)).unwrap();
        matches!(socket.read(&mut piece), Ok(length) if length > 0)
    }

    /// The port of this side.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().as_socket().unwrap().port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The file of the network namespace of process `pid`.
pub(crate) fn of_process(pid: u64) -> String {
    let file = format!("/proc/{pid}/ns/net");
    assert!(fs::metadata(&file).is_ok(), "process {pid} has ended");
    file
}
