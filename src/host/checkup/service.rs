// SPDX-License-Identifier: GPL-2.0-or-later

//! Units, the clock's keeper, name servers, and tables of others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::kernel;
use crate::host::firewall::TABLE;
use crate::host::{command, process, unit};
use crate::settings::Root;
use crate::state::checkup::{CronSeen, Resolver, Seen};

/// A program that only answers has no reason to take longer.
const ANSWER: Duration = Duration::from_secs(5);

/// What begins with the machine, or does not.
const UNITS: [&str; 4] = [
    "wharf-guard.service",
    "wharf-guard-iptables.service",
    "wharfd.service",
    "wharf-reconcile.timer",
];

/// Tables of those who let their own containers and machines through: engines, and managers of them.
const OF_ENGINES: [&str; 5] = ["docker-bridges", "netavark", "libvirt_network", "lxc", "incus"];

/// Whether units begin with the machine, in systemd's own words.
pub(super) async fn units(root: &Root) -> Seen<BTreeMap<&'static str, String>> {
    if !root.is_host() {
        return Err("this root is not the machine's".to_owned());
    }
    if !unit::is_booted() {
        return Err("systemd does not run this machine".to_owned());
    }
    let mut units = BTreeMap::new();
    for name in UNITS {
        let ended = command::ended_within(ANSWER, "systemctl", &["is-enabled", name]).await;
        let ended = ended.map_err(|error| error.to_string())?;
        let word = String::from_utf8_lossy(&ended.output).trim().to_owned();
        units.insert(name, if word.is_empty() { "not-found".to_owned() } else { word });
    }
    Ok(units)
}

/// Our line for cron, which makes passes where no daemon does.
pub(super) fn cron(root: &Root) -> Option<CronSeen> {
    let path = root.at("/etc/cron.d/wharf");
    let text = std::fs::read_to_string(&path).ok()?;
    has_pass(&text).then(|| CronSeen { path, runs: process::is_called(&["cron", "crond"]) })
}

/// Whether a line of a table of cron makes a pass.
fn has_pass(table: &str) -> bool {
    table.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("/wharf apply"))
}

/// Whether somebody keeps the clock right.
///
/// Asked of systemd, because the call of the kernel (`adjtimex(2)`) has no safe way.
pub(super) async fn is_synchronised() -> Seen<bool> {
    let words = ["show", "--property=NTPSynchronized", "--value"];
    let ended = command::ended_within(ANSWER, "timedatectl", &words).await;
    let ended = ended.map_err(|error| error.to_string())?;
    match (ended.code, String::from_utf8_lossy(&ended.output).trim()) {
        (Some(0), "yes") => Ok(true),
        (Some(0), "no") => Ok(false),
        (_, _) => Err(format!("timedatectl does not tell: {}", ended.complaints)),
    }
}

/// Whom this host asks for names.
pub(super) fn resolver() -> Seen<Resolver> {
    let path = PathBuf::from("/etc/resolv.conf");
    let servers = name_servers(&kernel::read(&path)?);
    Ok(Resolver { path, servers })
}

/// `nameserver 192.0.2.53`.
fn name_servers(text: &str) -> Vec<String> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words[..] {
            ["nameserver", server, ..] => Some(server.to_owned()),
            _ => None,
        })
        .collect()
}

/// Tables of others that drop what they do not let through between interfaces.
pub(super) async fn closed_by() -> Seen<Vec<String>> {
    let text = command::run_within(ANSWER, "nft", &["-j", "list", "chains"], &[], b"").await;
    let text = text.map_err(|error| error.to_string())?;
    let answer = serde_json::from_slice(&text).map_err(|error| format!("nft: {error}"))?;
    Ok(closing(&answer))
}

/// The tables with a chain at the hook `forward` whose policy is to drop.
///
/// In the tables `filter` of iptables it is usual: engines set it, and write beside it what they let
/// through.
fn closing(answer: &Value) -> Vec<String> {
    let chains = answer["nftables"].as_array().into_iter().flatten().map(|item| &item["chain"]);
    let mut tables: Vec<String> = chains
        .filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop")
        .filter_map(|chain| Some((chain["family"].as_str()?, chain["table"].as_str()?)))
        .filter(|(family, table)| {
            let is_of_iptables = matches!((*family, *table), ("ip" | "ip6", "filter"));
            let is_known = *table == TABLE || OF_ENGINES.contains(table);
            matches!(*family, "ip" | "ip6" | "inet") && !is_of_iptables && !is_known
        })
        .map(|(family, table)| format!("{family} {table}"))
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_makes_a_pass_is_told_from_a_table_without_containers() {
        let text = include_str!("../../../templates/etc/cron.d/wharf");
        let line = text.lines().find(|line| line.starts_with("*/5")).unwrap();
        assert!(has_pass(line));
        let table = text.lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>();
        assert!(!table.is_empty() && !has_pass(&table.join("\n")));
        assert!(!has_pass(&format!("# {line}")));
    }

    #[test]
    fn name_servers_are_read_as_resolvers_read_them() {
        let text =
            "# nameserver 10.0.0.1\nsearch lan\nnameserver\t127.0.0.53 # local\nnameserver\n";
        assert_eq!(name_servers(text), ["127.0.0.53"]);
    }

    #[test]
    fn only_tables_of_others_that_drop_between_interfaces_are_named() {
        let chain = |family: &str, table: &str, hook: &str, policy: &str| json!({ "chain": { "family": family, "table": table, "hook": hook, "policy": policy } });
        let answer = json!({ "nftables": [
            { "metainfo": { "json_schema_version": 1 } },
            chain("inet", "wharf", "forward", "drop"),
            chain("ip", "filter", "forward", "drop"),
            chain("inet", "mine", "input", "drop"),
            chain("inet", "mine", "forward", "accept"),
            chain("inet", "strict", "forward", "drop"),
            chain("ip", "strict", "forward", "drop"),
            chain("bridge", "strict", "forward", "drop"),
        ] });
        assert_eq!(closing(&answer), ["inet strict", "ip strict"]);
    }
}
