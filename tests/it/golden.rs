// SPDX-License-Identifier: GPL-2.0-or-later

//! Recorded spec hashes: a change of one would make every such container anew at the next update of
//! wharf. A new property must leave them as they are; when the canonical form has to change, so does
//! its version.

use std::fmt::Write as _;

use wharf::db::Records;
use wharf::db::schema::Schema;
use wharf::desired::{self, Overrides, Snapshot};
use wharf::settings::Root;
use wharf::state::Facts;

const RECORDS: &str = "\
bare=service|Address|10.0.3.2|Image|app|status|enabled
full=service|Address|10.0.3.3|Capabilities|NET_ADMIN,-CHOWN|Command|serve --all|DataMount|container|DataMountPath|/data|Devices|/dev/fuse|Env_LANG|de_DE|Health|cmd:true|Image|app:2|Interlinked|bare:db|LogMaxSize|1m|MaxCpu|0.5|MaxMemory|64|MaxPids|100|MountPath|/etc/ssl:/ssl:ro,/var/cache|PortMapping|custom|PortMappingPorts|8080:80,5353:53/udp|ReadOnly|yes|StopGrace|30|TCPPort|80|Tmpfs|/tmp:16m|UDPPort|53|User|1000:1000|access|localhost|status|enabled
host=service|Image|app|Interlinked|bare|TCPPort|9000|network|host|status|enabled
";

#[test]
fn hashes_of_specs_stay_as_they_were_recorded() {
    let snapshot =
        Snapshot { containers: Records::parse(RECORDS.as_bytes()), ..Snapshot::default() };
    let root = Root::new("/");
    let resolution = desired::resolve(
        &snapshot,
        &Schema::new(None),
        &root,
        &Facts::default(),
        &Overrides::new(),
    );
    assert!(resolution.rejected.is_empty(), "{:#?}", resolution.rejected);
    let mut text = String::new();
    for (name, container) in &resolution.desired.containers {
        writeln!(text, "{name} {}", container.spec.hash().as_str()).unwrap();
    }
    insta::assert_snapshot!(text);
}
