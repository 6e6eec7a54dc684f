// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's network of the managed bridge: made, compared, removed.

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use tokio::time::{Instant, sleep};

use crate::host::Error as HostError;
use crate::host::engine::{AGAIN, ENDING, Engine, Error, list};
use crate::state::{Bridge, ObservedNetwork};

impl Engine {
    /// The network that is there. `is_used` when it must stay as long as it serves: somebody is on it.
    pub(super) async fn network(
        &self,
        bridge: &Bridge,
        is_used: bool,
    ) -> Result<ObservedNetwork, HostError> {
        let call = self.client().inspect_network(&bridge.name, None::<InspectNetworkOptions>);
        let found = self.call("inspect network", self.limit, call).await?;
        Ok(found.map_or(ObservedNetwork::Absent, |found| compare(found, bridge, is_used)))
    }

    /// Makes the network and its bridge, if they are not there: for one subnet an engine makes no second network.
    pub(crate) async fn create_network(&self, bridge: &Bridge) -> Result<(), HostError> {
        let request = NetworkCreateRequest {
            name: bridge.name.clone(),
            driver: Some("bridge".to_owned()),
            enable_ipv6: Some(false),
            labels: Some([(list::LABEL_BRIDGE.to_owned(), bridge.for_others().to_string())].into()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(bridge.subnet.to_string()),
                    ip_range: Some(bridge.for_others().to_string()),
                    gateway: Some(bridge.gateway().to_string()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            options: Some(
                [("com.docker.network.bridge.name".to_owned(), bridge.name.clone())].into(),
            ),
            ..NetworkCreateRequest::default()
        };
        let begun = Instant::now();
        loop {
            let doing = format!("create network {}", bridge.name);
            let create = self.client().create_network(request.clone());
            match self.must(doing, create).await {
                Err(HostError::Engine { doing, source })
                    if matches!(*source, Error::Refused { .. }) =>
                {
                    match self.network(bridge, false).await? {
                        ObservedNetwork::Right => return Ok(()),
                        // A pass that was cut has asked for it: Docker gives the subnet out before the
                        // network can be seen (0.1 s).
                        ObservedNetwork::Absent
                            if source.is_about_a_subnet() && begun.elapsed() < ENDING =>
                        {
                            sleep(AGAIN).await;
                        }
                        ObservedNetwork::Absent | ObservedNetwork::Differs { .. } => {
                            return Err(HostError::Engine { doing, source });
                        }
                    }
                }
                other => return other.map(drop),
            }
        }
    }

    /// Removes the network, if it is ours.
    pub(crate) async fn remove_network(&self, id: &str) -> Result<(), HostError> {
        let call = self.client().inspect_network(id, None::<InspectNetworkOptions>);
        let found = self.call("inspect network", self.limit, call).await?;
        let Some(found) = found else { return Ok(()) };
        if !found.labels.is_some_and(|labels| labels.contains_key(list::LABEL_BRIDGE)) {
            return Ok(());
        }
        let is_free = found.containers.is_none_or(|containers| containers.is_empty());
        let begun = Instant::now();
        loop {
            let remove = self.client().remove_network(id);
            match self.call("remove network", self.limit, remove).await {
                // Docker counts a container that it has told as removed a moment longer (20.10, one of
                // fifty that are removed together).
                Err(HostError::Engine { source, .. })
                    if source.is_about_endpoints() && is_free && begun.elapsed() < ENDING =>
                {
                    sleep(AGAIN).await;
                }
                other => return other.map(drop),
            }
        }
    }
}

/// What differs between the engine's network and the bridge that is desired.
fn compare(found: NetworkInspect, bridge: &Bridge, is_used: bool) -> ObservedNetwork {
    let subnets: Vec<String> = found
        .ipam
        .and_then(|ipam| ipam.config)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|config| config.subnet)
        .collect();
    // By the label: Podman does not tell the range.
    let ours = found.labels.and_then(|mut labels| labels.remove(list::LABEL_BRIDGE));
    let interface = found
        .options
        .as_ref()
        .and_then(|options| options.get("com.docker.network.bridge.name").cloned())
        // Nor the interface, which it gave the name that ours were made with.
        .unwrap_or_else(|| ours.as_ref().map(|_| bridge.name.clone()).unwrap_or_default());
    let is_apart = ours.as_ref() == Some(&bridge.for_others().to_string());
    let how = if found.driver.as_deref() != Some("bridge") {
        format!("its driver is {}", found.driver.unwrap_or_default())
    } else if subnets != [bridge.subnet.to_string()] {
        format!("its subnet is {}, not {}", subnets.join(" "), bridge.subnet)
    } else if interface != bridge.name {
        format!("its interface is '{interface}'")
    } else if ours.is_some() && !is_apart && !is_used {
        "its containers of others may get addresses of records".to_owned()
    } else {
        return ObservedNetwork::Right;
    };
    ObservedNetwork::Differs { id: found.id.unwrap_or_default(), how, ours: ours.is_some() }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::host::engine::Endpoint;

    /// An engine that gives `answers`, one after the other, and how many of them it gave.
    fn engine(answers: Vec<String>) -> (Engine, Arc<AtomicUsize>, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine");
        let listener = UnixListener::bind(&path).unwrap();
        let given = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&given);
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = BufReader::new(stream.try_clone().unwrap());
                let head: Vec<String> = request
                    .by_ref()
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                request.read_exact(&mut vec![0; length]).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let engine = Engine::new(&Endpoint::Unix(path), Duration::from_secs(5)).unwrap();
        (engine, given, directory)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// What comes of a removal that an engine with `body` for its network answers by `answers`, one after the
    /// other, and how many of them it gave.
    async fn removal(body: &str, answers: &[String]) -> (Result<(), HostError>, usize) {
        let (engine, given, _directory) = engine([&[answer("200 OK", body)], answers].concat());
        let removed = engine.remove_network("wharf0").await;
        (removed, given.load(Ordering::SeqCst) - 1)
    }

    /// What comes of making the bridge `wharf0`, 10.0.3.0/24.
    async fn creation(answers: &[String]) -> (Result<(), HostError>, usize) {
        let (engine, given, _directory) = engine(answers.to_vec());
        let subnet = "10.0.3.0/24".parse().unwrap();
        let made = engine.create_network(&Bridge { name: "wharf0".to_owned(), subnet }).await;
        (made, given.load(Ordering::SeqCst))
    }

    fn overlaps() -> String {
        let message = "Pool overlaps with other one on this address space";
        answer("403 Forbidden", &format!(r#"{{"message":"{message}"}}"#))
    }

    fn absent() -> String {
        answer("404 Not Found", r#"{"message":"network wharf0 not found"}"#)
    }

    fn network(subnet: &str) -> String {
        let options = r#"{"com.docker.network.bridge.name":"wharf0"}"#;
        let ipam = format!(r#"{{"Config":[{{"Subnet":"{subnet}"}}]}}"#);
        let network =
            format!(r#"{{"Id":"4711","Driver":"bridge","Options":{options},"IPAM":{ipam}}}"#);
        answer("200 OK", &network)
    }

    #[tokio::test]
    async fn a_network_that_the_engine_is_still_at_is_waited_for() {
        let answers =
            [overlaps(), absent(), overlaps(), absent(), overlaps(), network("10.0.3.0/24")];
        let (made, given) = creation(&answers).await;
        made.unwrap();
        assert_eq!(given, 6);
    }

    #[tokio::test]
    async fn one_whose_making_came_to_nothing_is_made() {
        let (made, given) = creation(&[
            overlaps(),
            absent(),
            answer("201 Created", r#"{"Id":"4711","Warning":""}"#),
        ])
        .await;
        made.unwrap();
        assert_eq!(given, 3);
    }

    #[tokio::test]
    async fn another_one_of_its_name_is_told_at_once() {
        let (made, given) = creation(&[overlaps(), network("10.0.9.0/24"), overlaps()]).await;
        assert!(format!("{:?}", made.unwrap_err()).contains("Pool overlaps"));
        assert_eq!(given, 2);
    }

    fn in_use() -> String {
        answer("403 Forbidden", r#"{"message":"network wharf0 id 4711 has active endpoints"}"#)
    }

    fn done() -> String {
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()
    }

    #[tokio::test]
    async fn a_network_that_is_still_counted_in_use_is_removed_a_moment_later() {
        let ours = r#"{"Labels":{"io.github.wharfd.bridge":"10.0.3.0/24"},"Containers":{}}"#;
        let (removed, given) = removal(ours, &[in_use(), in_use(), done()]).await;
        removed.unwrap();
        assert_eq!(given, 3);
    }

    #[tokio::test]
    async fn one_on_which_somebody_is_stays_at_once() {
        let ours =
            r#"{"Labels":{"io.github.wharfd.bridge":"10.0.3.0/24"},"Containers":{"4711":{}}}"#;
        let (removed, given) = removal(ours, &[in_use(), done()]).await;
        let error = removed.unwrap_err();
        assert!(format!("{error:?}").contains("active endpoints"), "{error:?}");
        assert_eq!(given, 1);
    }

    #[tokio::test]
    async fn that_of_somebody_else_is_left_alone() {
        let (removed, given) = removal(r#"{"Labels":{},"Containers":{}}"#, &[done()]).await;
        removed.unwrap();
        assert_eq!(given, 0);
    }
}
