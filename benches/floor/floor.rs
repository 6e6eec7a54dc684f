// SPDX-License-Identifier: GPL-2.0-or-later

//! What a reconciler cannot beat: the engine calls alone, for the same work that `wharf apply` does.
//!
//! ```text
//! floor up N CONCURRENCY IMAGE   create the bridge and N containers, start them
//! floor list                     the one call of a pass without work
//! floor greet                    the same by a client that asks for the engine's version first, as they do
//! floor change NUMBER IMAGE      stop, remove, create and start one container
//! floor stop CONCURRENCY         stop every container
//! floor start CONCURRENCY        start every container
//! floor down                     remove every container and the bridge
//! floor count SOCKET COMMAND...  run COMMAND with DOCKER_HOST=unix://SOCKET; print the requests it sent
//! floor time FILE COMMAND...     run COMMAND; add its microseconds and resident KiB (at most) to FILE
//! ```
//!
//! Talks to the engine at `DOCKER_HOST` by the same library as wharf. `benches/apply.sh` runs it and
//! measures both from outside, start of the process included.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring tool prints its result and starts what it measures"
)]

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, Ipam, IpamConfig,
    NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptions,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nix::sys::resource::{UsageWho, getrusage};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Name of the bridge, in the engine and in the kernel.
const BRIDGE: &str = "wharf0";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| match words[..] {
        ["up", count, concurrency, image] => runtime.block_on(up(count, concurrency, image)),
        ["list"] => runtime.block_on(list(engine())),
        ["greet"] => runtime.block_on(greet()),
        ["change", number, image] => runtime.block_on(change(number, image)),
        ["stop", concurrency] => runtime.block_on(stop(concurrency)),
        ["start", concurrency] => runtime.block_on(start(concurrency)),
        ["down"] => runtime.block_on(down()),
        ["count", socket, program, ref arguments @ ..] => count(socket, program, arguments),
        ["time", file, program, ref arguments @ ..] => time(file, program, arguments),
        _ => Err("usage: floor up N CONCURRENCY IMAGE | list | greet | change NUMBER IMAGE | \
                stop CONCURRENCY | start CONCURRENCY | down | count SOCKET COMMAND... | time FILE COMMAND..."
            .into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn engine() -> Outcome<Docker> {
    Ok(Docker::connect_with_defaults()?)
}

async fn up(count: &str, concurrency: &str, image: &str) -> Outcome<()> {
    let engine = engine()?;
    let (count, concurrency): (u8, usize) = (count.parse()?, concurrency.parse()?);
    engine.create_network(bridge()).await?;
    stream::iter(0..count)
        .map(|number| one(&engine, number, image))
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn bridge() -> NetworkCreateRequest {
    let range = IpamConfig { subnet: Some("10.0.3.0/24".to_owned()), ..IpamConfig::default() };
    NetworkCreateRequest {
        name: BRIDGE.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
        options: Some(
            [("com.docker.network.bridge.name".to_owned(), BRIDGE.to_owned())]
                .into_iter()
                .collect(),
        ),
        ..NetworkCreateRequest::default()
    }
}

/// Creates and starts one container as wharf would: a limit, labels, a fixed address.
async fn one(engine: &Docker, number: u8, image: &str) -> Outcome<()> {
    let name = format!("box{number:02}");
    let address = EndpointIpamConfig {
        ipv4_address: Some(format!("10.0.3.{}", u16::from(number) + 2)),
        ..EndpointIpamConfig::default()
    };
    let endpoint = EndpointSettings { ipam_config: Some(address), ..EndpointSettings::default() };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(
            [("record".to_owned(), name.clone()), ("hash".to_owned(), format!("{number:064x}"))]
                .into_iter()
                .collect(),
        ),
        host_config: Some(HostConfig {
            network_mode: Some(BRIDGE.to_owned()),
            memory: Some(16 << 20),
            ..HostConfig::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some([(BRIDGE.to_owned(), endpoint)].into_iter().collect()),
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    engine.create_container(Some(options), body).await?;
    engine.start_container(&name, None::<StartContainerOptions>).await?;
    Ok(())
}

async fn list(engine: Outcome<Docker>) -> Outcome<()> {
    let all = ListContainersOptionsBuilder::default().all(true).build();
    println!("{}", engine?.list_containers(Some(all)).await?.len());
    Ok(())
}

async fn greet() -> Outcome<()> {
    list(Ok(engine()?.negotiate_version().await?)).await
}

/// What a changed container costs at least: there is no way back, and nobody waits until it serves.
async fn change(number: &str, image: &str) -> Outcome<()> {
    let engine = engine()?;
    let number: u8 = number.parse()?;
    let name = format!("box{number:02}");
    unless_absent(engine.stop_container(&name, None::<StopContainerOptions>).await)?;
    unless_absent(engine.remove_container(&name, None::<RemoveContainerOptions>).await)?;
    one(&engine, number, image).await
}

async fn all(engine: &Docker) -> Outcome<Vec<String>> {
    let all = ListContainersOptionsBuilder::default().all(true).build();
    let listed = engine.list_containers(Some(all)).await?;
    Ok(listed.into_iter().filter_map(|container| container.id).collect())
}

async fn stop(concurrency: &str) -> Outcome<()> {
    let engine = &engine()?;
    stream::iter(all(engine).await?)
        .map(|id| async move { engine.stop_container(&id, None::<StopContainerOptions>).await })
        .buffer_unordered(concurrency.parse()?)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn start(concurrency: &str) -> Outcome<()> {
    let engine = &engine()?;
    stream::iter(all(engine).await?)
        .map(|id| async move { engine.start_container(&id, None::<StartContainerOptions>).await })
        .buffer_unordered(concurrency.parse()?)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn down() -> Outcome<()> {
    let engine = &engine()?;
    let remove = |id: String| async move {
        let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        engine.remove_container(&id, Some(force)).await
    };
    let removed = stream::iter(all(engine).await?).map(remove).buffer_unordered(4);
    removed.try_collect::<Vec<()>>().await?;
    // A container that was removed is counted a moment longer.
    let mut answer = engine.remove_network(BRIDGE).await;
    for _ in 0..50 {
        if !matches!(
            &answer,
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 403, .. })
        ) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = engine.remove_network(BRIDGE).await;
    }
    unless_absent(answer)
}

/// What is not there was not in the way.
fn unless_absent(answer: Result<(), bollard::errors::Error>) -> Outcome<()> {
    match answer {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        other => Ok(other?),
    }
}

/// Measures `program` from the moment it is begun until it has ended.
fn time(file: &str, program: &str, arguments: &[&str]) -> Outcome<()> {
    let begun = Instant::now();
    let status = Command::new(program).args(arguments).status()?;
    let took = begun.elapsed().as_micros();
    let resident = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    writeln!(file, "{took} {resident}")?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

/// Runs `program` against a socket that passes everything on, and prints the requests it sent.
fn count(socket: &str, program: &str, arguments: &[&str]) -> Outcome<()> {
    let host = std::env::var("DOCKER_HOST")?;
    let engine = host.strip_prefix("unix://").ok_or("DOCKER_HOST is not a Unix socket")?.to_owned();
    let listener = UnixListener::bind(socket)?;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&sent);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&engine) else { return };
            let (Ok(answers), Ok(back)) = (server.try_clone(), client.try_clone()) else { return };
            let noted = Arc::clone(&noted);
            std::thread::spawn(move || pass(answers, back, &Mutex::default()));
            std::thread::spawn(move || pass(client, server, &noted));
        }
    });
    let output = Command::new(program)
        .args(arguments)
        .env("DOCKER_HOST", format!("unix://{socket}"))
        .output()?;
    std::fs::remove_file(socket)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    for line in requests(&sent.lock().map_err(|_| "a thread panicked")?) {
        println!("{line}");
    }
    Ok(())
}

fn pass(mut from: UnixStream, mut to: UnixStream, noted: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Ok(mut noted) = noted.lock() {
            noted.extend_from_slice(&buffer[..length]);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// The first lines of the requests in `sent`.
fn requests(sent: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(sent);
    text.lines().filter(|line| line.ends_with(" HTTP/1.1")).map(str::to_owned).collect()
}
