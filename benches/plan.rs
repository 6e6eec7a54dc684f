// SPDX-License-Identifier: GPL-2.0-or-later

//! What planning costs by itself: records become desired state, and that becomes steps.
//!
//! `cargo bench --bench plan`. Half of the records link to another one, all have a host port. Of ten
//! times as many records nothing may cost more than about ten times as much.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use wharf::db::Records;
use wharf::db::schema::Schema;
use wharf::desired::{self, Overrides, Resolution, Snapshot};
use wharf::plan::{self, Given, Plan};
use wharf::settings::Root;
use wharf::state::trouble::Past;
use wharf::state::{Facts, Observed, ObservedContainer, ObservedNetwork, Running};

const SIZES: [u32; 3] = [1_000, 10_000, 20_000];

/// Chains of links are this long.
const CHAIN: u32 = 50;

fn snapshot(count: u32) -> Snapshot {
    let mut text = String::new();
    for number in 0..count {
        let address = format!("10.8.{}.{}", (number + 2) / 256, (number + 2) % 256);
        let port = 20_000 + number;
        let link = match number % CHAIN {
            place if place < CHAIN / 2 => String::new(),
            _ => format!("|Interlinked|box{:05}:db", number - 1),
        };
        // Writing to a String cannot fail.
        writeln!(
            text,
            "box{number:05}=service|Address|{address}|Image|app{link}|PortMapping|custom|\
             PortMappingPorts|{port}:80|TCPPort|80|status|enabled"
        )
        .ok();
    }
    Snapshot {
        containers: Records::parse(text.as_bytes()),
        configuration: Records::parse(b"docker=service|Subnet|10.8.0.0/16|status|enabled\n"),
        ..Snapshot::default()
    }
}

fn resolve(snapshot: &Snapshot) -> Resolution {
    let schema = Schema::new(None);
    let facts = Facts { memory_bytes: None, ..Facts::default() };
    desired::resolve(snapshot, &schema, &Root::new("/"), &facts, &Overrides::new())
}

/// The host on which all is as `resolution` says, but for the hash of what the containers were made from.
fn observed(resolution: &Resolution, hash: impl Fn(&str) -> String) -> Observed {
    let containers = resolution.desired.containers.iter().map(|(name, container)| {
        let found = ObservedContainer {
            id: format!("id-{name}"),
            hash: hash(container.hash.as_str()),
            generation: 1,
            image_id: "sha256:app".to_owned(),
            image_current: true,
            state: Running::Running,
            status: "Up 2 minutes".to_owned(),
            health: None,
            published: container
                .exposure
                .iter()
                .flat_map(|one| one.ports.iter().copied())
                .collect(),
            networks: None,
            address: None,
            settings: None,
        };
        (name.clone(), found)
    });
    let images = resolution.desired.containers.values().map(|container| &container.spec.image);
    Observed {
        containers: containers.collect(),
        images: images.map(|image| (image.clone(), "sha256:app".to_owned())).collect(),
        network: ObservedNetwork::Right,
        forwarding: true,
        bridge_filter: Some(true),
        ..Observed::default()
    }
}

fn plan(resolution: &Resolution, observed: &Observed) -> Plan {
    let past =
        Past { troubles: BTreeMap::new(), autopsies: BTreeMap::new(), now: Timestamp::UNIX_EPOCH };
    plan::plan(&Given {
        desired: &resolution.desired,
        files: &[],
        observed,
        applied: &BTreeMap::new(),
        restart: &BTreeSet::new(),
        layers: &BTreeMap::new(),
        given_up: &BTreeSet::new(),
        past: &past,
        is_unguarded: false,
    })
}

fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for count in SIZES {
        group.throughput(Throughput::Elements(count.into()));
        let records = snapshot(count);
        let resolution = resolve(&records);
        assert!(resolution.rejected.is_empty(), "{:?}", resolution.rejected.first());
        let right = observed(&resolution, str::to_owned);
        assert!(plan(&resolution, &right).is_empty(), "nothing differs");
        let other = observed(&resolution, |_| "another".to_owned());
        let nobody = resolve(&snapshot(0));
        let hosts = [
            ("nothing to do", &resolution, &right),
            ("from nothing", &resolution, &Observed::default()),
            ("all changed", &resolution, &other),
            ("all deleted", &nobody, &right),
        ];
        for (what, resolution, observed) in hosts {
            group.bench_function(BenchmarkId::new(what, count), |bencher| {
                bencher.iter(|| plan(black_box(resolution), black_box(observed)));
            });
        }
        group.bench_function(BenchmarkId::new("desired state", count), |bencher| {
            bencher.iter(|| resolve(black_box(&records)));
        });
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
