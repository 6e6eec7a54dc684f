// SPDX-License-Identifier: GPL-2.0-or-later

//! Waiting until a container serves: what its record says about health, asked from here.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::db::value::ContainerName;
use crate::host::Error;
use crate::host::engine::Engine;
use crate::state::Health;
use crate::state::container::Readiness;

/// For one try.
const TRY: Duration = Duration::from_secs(1);

/// Between two tries, at first; it doubles up to [`SLOWEST`]. Many programs listen a few milliseconds after their
/// start, and a try costs less than one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause between two tries.
const SLOWEST: Duration = Duration::from_millis(320);

/// Waits until `name` serves, at most `limit`.
///
/// # Errors
///
/// It has ended meanwhile, or does not serve in time.
pub async fn wait(
    engine: &Engine,
    name: &ContainerName,
    readiness: &Readiness,
    limit: Duration,
) -> Result<(), Error> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match readiness {
            Readiness::Tcp(address, port) => connect(*address, *port, TRY).await.err(),
            Readiness::Http(address, port, path) => get(*address, *port, path, TRY).await.err(),
            Readiness::Health | Readiness::Running => None,
        };
        let (status, health) = match (readiness, &why) {
            (Readiness::Tcp(..) | Readiness::Http(..), None) => return Ok(()),
            (Readiness::Tcp(..) | Readiness::Http(..), Some(_)) if pause < SLOWEST => {
                // Asking the engine each time would cost more than the wait.
                (None, None)
            }
            _ => engine.state(name).await?,
        };
        let not_ready = |why: String| Error::NotReady { name: name.clone(), why };
        if let Some(ended) = status {
            return Err(not_ready(format!("it has ended ({ended})")));
        }
        match (readiness, health) {
            (Readiness::Running, _) | (Readiness::Health, Some(Health::Healthy)) => return Ok(()),
            (Readiness::Health, Some(Health::Unhealthy)) => {
                return Err(not_ready("its health check fails".to_owned()));
            }
            (Readiness::Health | Readiness::Tcp(..) | Readiness::Http(..), _) => {}
        }
        if begun.elapsed() >= limit {
            let why = why.unwrap_or_else(|| "its health check has not succeeded".to_owned());
            return Err(not_ready(format!("{why}, after {} s", limit.as_secs())));
        }
        sleep(pause).await;
        pause = SLOWEST.min(pause * 2);
    }
}

/// Whether something answers as `readiness` says, within `limit`; what is not asked from here does.
pub async fn answers(readiness: &Readiness, limit: Duration) -> bool {
    let ask = async {
        match readiness {
            Readiness::Tcp(address, port) => connect(*address, *port, limit).await.is_ok(),
            Readiness::Http(address, port, path) => get(*address, *port, path, limit).await.is_ok(),
            Readiness::Running | Readiness::Health => true,
        }
    };
    timeout(limit, ask).await.unwrap_or(false)
}

/// How long a container that tells nothing of itself must run to count as one that serves.
const PROBATION: Duration = Duration::from_secs(1);

/// Between two looks at one that is on probation.
const LOOK: Duration = Duration::from_millis(100);

/// As [`wait`]; and one of which nothing can be seen but that it runs must do so for a moment.
///
/// # Errors
///
/// It has ended meanwhile, or does not serve in time.
pub async fn prove(
    engine: &Engine,
    name: &ContainerName,
    readiness: &Readiness,
    limit: Duration,
) -> Result<(), Error> {
    match readiness {
        Readiness::Tcp(..) | Readiness::Http(..) | Readiness::Health => {
            wait(engine, name, readiness, limit).await
        }
        Readiness::Running => {
            let begun = Instant::now();
            while begun.elapsed() < PROBATION {
                wait(engine, name, readiness, limit).await?;
                sleep(LOOK).await;
            }
            wait(engine, name, readiness, limit).await
        }
    }
}

async fn connect(
    address: Ipv4Addr,
    port: NonZeroU16,
    limit: Duration,
) -> Result<TcpStream, String> {
    match timeout(limit, TcpStream::connect((address, port.get()))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("nothing answers at {address}:{port} ({error})")),
        Err(_) => Err(format!("nothing answers at {address}:{port}")),
    }
}

/// One request by hand: a status line is all that is wanted.
async fn get(
    address: Ipv4Addr,
    port: NonZeroU16,
    path: &str,
    limit: Duration,
) -> Result<(), String> {
    let mut stream = connect(address, port, limit).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = [0_u8; 12];
    let talk = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    match timeout(limit, talk).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("http://{address}:{port}{path}: {error}")),
        Err(_) => return Err(format!("http://{address}:{port}{path} does not answer")),
    }
    // RFC 9112 §4: `HTTP/1.1 200`.
    let line = String::from_utf8_lossy(&answer).into_owned();
    match line.get(9..12).and_then(|code| code.parse::<u16>().ok()) {
        Some(code) if (200..400).contains(&code) => Ok(()),
        Some(_) | None => Err(format!("http://{address}:{port}{path} answers {line}")),
    }
}
