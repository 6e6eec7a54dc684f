// SPDX-License-Identifier: GPL-2.0-or-later

//! The same matrix on hosts without `nft`: with the iptables of before, and with the one that writes tables
//! of nftables.

use super::run_with;
use crate::lab::{Engine, Filter, Mode};

#[test]
fn docker_on_a_gateway_without_nftables() {
    run_with(Engine::Docker, Mode::Gateway, Filter::IptablesLegacy);
}

#[test]
fn docker_on_a_host_with_one_interface_without_nftables() {
    run_with(Engine::Docker, Mode::ServerOnly, Filter::Iptables);
}

#[test]
#[ignore = "the other half of the two above"]
fn docker_on_a_gateway_with_iptables_for_nftables() {
    run_with(Engine::Docker, Mode::Gateway, Filter::Iptables);
}

#[test]
#[ignore = "the other half of the two above"]
fn docker_on_a_host_with_one_interface_and_iptables_of_before() {
    run_with(Engine::Docker, Mode::ServerOnly, Filter::IptablesLegacy);
}
