// SPDX-License-Identifier: GPL-2.0-or-later

//! Beside others: their packet rules, their policies, their firewalls, their wish for forwarding.
//!
//! Two things are asked of each neighbour: that it loses nothing by us, and that nothing it does opens
//! what a record keeps closed.

mod docker29;
mod firewalld;
mod foreign;
mod forwarding;
mod masq;
mod podman;
mod policy;
mod prefix;
mod suse;

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

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

/// The network namespace of `side` of the laboratory: `lan`, `wan`, or one that a test adds.
fn namespace(lab: &Lab, side: &str) -> String {
    // The directory is called `NAME.xxxxxx`, a namespace `NAME-SIDE`.
    let dir = lab.scratch("").components().next_back().unwrap().as_os_str().to_owned();
    format!("{}-{side}", dir.to_str().unwrap().rsplit_once('.').unwrap().0)
}

/// A client on the Internet that tries to connect all the time.
struct Prober {
    stop: Arc<AtomicBool>,
    tries: Arc<AtomicUsize>,
    connects: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Prober {
    /// Tries `ports` of each of `hosts`, some hundred times a second altogether.
    fn start(lab: &Lab, hosts: &[&str], port: u16) -> Self {
        let namespace = format!("/run/netns/{}", namespace(lab, "wan"));
        let prober = Self {
            stop: Arc::default(),
            tries: Arc::default(),
            connects: Arc::default(),
            threads: Vec::new(),
        };
        let addresses = hosts.iter().map(|host| format!("{host}:{port}").parse().unwrap());
        let threads = addresses.flat_map(|address: SocketAddr| [address; 3]).map(|address| {
            let namespace = File::open(&namespace).unwrap();
            let (stop, tries, connects) =
                (prober.stop.clone(), prober.tries.clone(), prober.connects.clone());
            thread::spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    tries.fetch_add(1, Ordering::Relaxed);
                    let got = TcpStream::connect_timeout(&address, Duration::from_millis(25));
                    connects.fetch_add(usize::from(got.is_ok()), Ordering::Relaxed);
                }
            })
        });
        Self { threads: threads.collect(), ..prober }
    }

    /// How often it got through so far.
    fn connects(&self) -> usize {
        self.connects.load(Ordering::Relaxed)
    }

    /// Ends it: how often it tried, and how often it got through.
    fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (self.tries.load(Ordering::Relaxed), self.connects.load(Ordering::Relaxed))
    }
}
