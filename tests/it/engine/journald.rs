// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines of the daemon's log as the journal gets them: one datagram each, with fields.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::{SOON, set, until_runs};
use crate::lab::Lab;

/// Starts wharfd where a journal of ours is at its place, and its stderr leads into it.
const SCRIPT: &str = "set -e; mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; \
    mount --bind $1 /run/systemd/journal; exec 2>$1/stderr; \
    JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); export JOURNAL_STREAM; \
    shift; exec \"$@\"";

/// The fields of a datagram: `NAME=value` and a newline, or `NAME`, a newline, eight bytes of length, the
/// value and a newline.
///
/// Source: "Native Journal Protocol" of systemd.
fn fields(mut rest: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = BTreeMap::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        if let Some(sign) = line.iter().position(|byte| *byte == b'=') {
            fields.insert(text(&line[..sign]), text(&line[sign + 1..]));
            rest = after;
        } else {
            let (length, value) = after.split_first_chunk::<8>().unwrap();
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
            fields.insert(text(line), text(&value[..length]));
            rest = &value[length + 1..];
        }
    }
    fields
}

#[test]
fn the_journal_gets_record_step_and_pass_as_fields_and_nothing_of_a_quiet_pass() {
    let Some(lab) = Lab::new() else { return };
    let journal = lab.scratch("journal");
    fs::create_dir(&journal).unwrap();
    let socket = UnixDatagram::bind(journal.join("socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    set(&lab, "box service status enabled Image demo-db TCPPort 3306 PortMapping none");
    let (root, host) = (format!("WHARF_ROOT={}", lab.root().display()), lab.docker_host());
    let (host, to) = (format!("DOCKER_HOST={host}"), journal.display().to_string());
    let shell = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", &to];
    let wharf = env!("CARGO_BIN_EXE_wharf");
    let program = ["env", &root, &host, "WHARF_INTERVAL=1", wharf, "daemon"];
    let _daemon = lab.spawn(&[&shell[..], &program].concat());
    let mut buffer = vec![0; 65536];
    let mut next = || socket.recv(&mut buffer).ok().map(|length| fields(&buffer[..length]));
    let deadline = Instant::now() + SOON;
    let started = loop {
        assert!(Instant::now() < deadline, "no start of box came");
        let Some(found) = next() else { continue };
        if found.get("STEP").is_some_and(|step| step == "start container box") {
            break found;
        }
    };
    for (name, value) in [("RECORD", "box"), ("SYSLOG_IDENTIFIER", "wharfd"), ("PRIORITY", "5")] {
        assert_eq!(started.get(name).map(String::as_str), Some(value), "{started:?}");
    }
    let message = &started["MESSAGE"];
    assert!(message.contains("record=box") && message.contains("step=start container box"));
    assert!(started.get("PASS").is_some_and(|pass| pass.parse::<u64>().is_ok()), "{started:?}");
    until_runs(&lab, "box");
    // What that pass still says, and the look after the beginning; then three passes, which change nothing,
    // say nothing.
    let mut heard = Instant::now();
    while heard.elapsed() < Duration::from_secs(3) {
        if let Some(rest) = next() {
            assert!(heard < deadline, "never quiet: {rest:?}");
            heard = Instant::now();
        }
    }
    assert_eq!(fs::read_to_string(journal.join("stderr")).unwrap(), "");
}
