// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules, loaded by `nft` in a network namespace of their own and listed from there.

use super::*;

#[test]
fn nft_lists_every_value_and_no_other_rule() {
    if !nix::unistd::geteuid().is_root() || !can_run(&["nft", "unshare"]) {
        let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
        assert!(!required, "WHARF_REQUIRE_ENGINE is set, but this is not root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let head = "table inet t {\n chain c {\n";
    // A comment has 128 bytes at most, to nft itself.
    let values: Vec<String> = values().into_iter().filter(|value| value.len() < 120).collect();
    for line in ["  counter comment \"x¤y\" # ¤\n", "  log prefix \"¤\" # ¤\n"] {
        let mut sheet = Sheet::new(Format::Nftables, head, line, &values);
        sheet.text += " }\n}\n";
        let log = line.contains("log");
        let file = sheet.write(directory.path(), if log { "log.nft" } else { "comment.nft" });
        let script = format!("nft -c -f {0} && nft -f {0} && nft -j list ruleset", file.display());
        let listed = output("unshare", &["-n", "sh", "-c", &script]);
        let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
        let objects = listed["nftables"].as_array().unwrap();
        let rules: Vec<_> = objects.iter().filter_map(|object| object.get("rule")).collect();
        assert_eq!(objects.len(), rules.len() + 3, "more than version, table and chain");
        let found: Vec<String> = rules
            .iter()
            .map(|rule| {
                let text = if log { &rule["expr"][0]["log"]["prefix"] } else { &rule["comment"] };
                text.as_str().unwrap_or_default().to_owned()
            })
            .collect();
        sheet
            .assert_read(&found, |value| if log { value.to_owned() } else { format!("x{value}y") });
    }
}
