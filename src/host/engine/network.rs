// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's network of the managed bridge: made, compared, removed.

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;

use crate::host::Error as HostError;
use crate::host::engine::{Engine, list};
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

    /// Makes the network and its bridge.
    pub(crate) async fn create_network(&self, bridge: &Bridge) -> Result<(), HostError> {
        if self.network(bridge, false).await? == ObservedNetwork::Right {
            return Ok(());
        }
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
        let doing = format!("create network {}", bridge.name);
        self.must(doing, self.client().create_network(request)).await.map(drop)
    }

    /// Removes the network, if it is ours.
    pub(crate) async fn remove_network(&self, id: &str) -> Result<(), HostError> {
        let call = self.client().inspect_network(id, None::<InspectNetworkOptions>);
        let found = self.call("inspect network", self.limit, call).await?;
        let labels = found.and_then(|found| found.labels).unwrap_or_default();
        if !labels.contains_key(list::LABEL_BRIDGE) {
            return Ok(());
        }
        self.call("remove network", self.limit, self.client().remove_network(id)).await.map(drop)
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
