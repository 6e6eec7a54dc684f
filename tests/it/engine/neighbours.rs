// SPDX-License-Identifier: GPL-2.0-or-later

//! Beside others: their packet rules, their policies, their firewalls, their wish for forwarding.
//!
//! Two things are asked of each neighbour: that it loses nothing by us, and that nothing it does opens
//! what a record keeps closed.

mod foreign;

use crate::lab::Lab;

/// All packet rules of the host but our own table, without counters and dates.
fn foreign_rules(lab: &Lab) -> String {
    let mut text = without_our_table(&lab.nft(&["-s", "list", "ruleset"]));
    for program in ["iptables-save", "ip6tables-save"] {
        let saved = lab.host(&[program]).succeeded().stdout;
        let rules = saved.lines().filter(|line| !line.starts_with('#')).map(without_counters);
        text.extend(["== ", program, "\n"]);
        text.extend(rules.map(|line| line + "\n"));
    }
    text
}

/// A ruleset without the table `inet wharf`.
fn without_our_table(ruleset: &str) -> String {
    let mut is_ours = false;
    let mut text = String::new();
    for line in ruleset.lines() {
        is_ours |= line == "table inet wharf {";
        if !is_ours {
            text.push_str(line);
            text.push('\n');
        }
        is_ours &= line != "}";
    }
    text
}

/// `:FORWARD DROP [3:180]` without the numbers.
fn without_counters(line: &str) -> String {
    line.rsplit_once(" [").map_or(line, |(before, _)| before).to_owned()
}

/// Fails with the lines that differ.
#[track_caller]
fn assert_same(before: &str, after: &str, when: &str) {
    let diff = similar::TextDiff::from_lines(before, after);
    assert!(before == after, "{when}:\n{}", diff.unified_diff());
}
