// SPDX-License-Identifier: GPL-2.0-or-later

//! Each rule of a parser once; then what holds for any text.

mod network;

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use proptest::prelude::*;

use super::*;

/// Checks that each text is refused, and that the refusal quotes `part`.
fn refused<T: Debug>(parse: impl Fn(&str) -> Parsed<T>, cases: &[(&str, &str)]) {
    for (text, part) in cases {
        let bad = parse(text).expect_err(text);
        assert!(bad.wrong.contains(part), "{text:?}: {bad}");
        assert!(bad.expected.len() > 1, "{text:?}: {bad}");
    }
}

/// Checks that the text of what was read from `text` is `shown`, and is read as the same.
fn shown<T>(text: &str, shown: &str)
where
    T: Display + FromStr<Err = BadValue> + Debug + PartialEq,
{
    let value: T = text.parse().unwrap();
    assert_eq!(value.to_string(), shown);
    assert_eq!(shown.parse::<T>().unwrap(), value);
}

fn ranges(text: &str) -> Vec<String> {
    ports(text).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_message_is_short_and_on_one_line() {
    assert_eq!(one_line("a\nerror: b\x1b[2J"), "a\\nerror: b\\u{1b}[2J");
    assert_eq!(quoted("a\tb"), "'a\\tb'");
    assert_eq!(quoted(&"\u{e4}".repeat(60)), format!("'{}'", "\u{e4}".repeat(60)));
    assert_eq!(quoted(&"\u{e4}".repeat(61)), format!("'{}...'", "\u{e4}".repeat(60)));
}

#[test]
fn only_names_of_about_one_length_are_compared() {
    assert_eq!(distance("MKNOD", "MKNDO", 2), Some(1));
    assert_eq!(distance("MKNOD", "CHOWN", 2), None);
    // Letter by letter this would take gigabytes.
    let long = "A".repeat(50_000_000);
    assert_eq!(distance("MKNOD", &long, 2), None);
    refused(capabilities, &[(&long[..100_000], "is no capability")]);
}

#[test]
fn a_container_name_is_one_that_every_engine_takes() {
    assert_eq!(container_name("my_app.v2-x").unwrap().as_str(), "my_app.v2-x");
    refused(
        container_name,
        &[
            ("", "too short"),
            ("a", "too short"),
            ("-ab", "begins"),
            ("a b", "' '"),
            ("caf\u{e9}", "'\u{e9}'"),
            ("a/b", "'/'"),
            ("a\nb", "'\\n'"),
            (&"a".repeat(129), "129 bytes"),
        ],
    );
}

#[test]
fn a_link_without_an_alias_has_the_name_of_its_target() {
    let found = links("mariadb:db, my_redis").unwrap();
    assert_eq!(found[0].alias, "db");
    assert_eq!(found[1].alias, "my_redis");
    shown::<Link>("redis:redis", "redis");
    shown::<Link>("mariadb:db", "mariadb:db");
    refused(
        links,
        &[
            ("a1:db,b1:DB", "'DB'"),
            ("db,db", "'db'"),
            ("mariadb:", "empty"),
            ("mariadb:d_b", "'_'"),
            ("mariadb:db:x", "':'"),
            ("x", "'x'"),
        ],
    );
}

#[test]
fn an_image_is_a_reference_of_the_registries() {
    let pinned = format!("registry.example.com:5000/apps/wiki:2.1@sha256:{}", "a".repeat(64));
    for text in [
        "mariadb",
        "mariadb:11",
        "library/mariadb",
        "localhost/wiki",
        "LOCAL.example/wiki:A",
        "[::1]:5000/wiki",
        "ghcr.io/a/b__c/d--e/f.g_h:v1.0-rc_1",
        &pinned,
    ] {
        assert_eq!(image_ref(text).unwrap().as_str(), text);
    }
    let image = image_ref(&pinned).unwrap();
    assert_eq!(image.name(), "registry.example.com:5000/apps/wiki");
    assert_eq!(image.tag(), Some("2.1"));
    assert_eq!(image.digest().unwrap().len(), 71);
    let port = image_ref("example.com:5000/wiki").unwrap();
    assert_eq!((port.name(), port.tag()), ("example.com:5000/wiki", None));
    refused(
        image_ref,
        &[
            ("", "no name"),
            (":1", "no name"),
            ("Wiki", "upper case"),
            ("wiki:", "''"),
            ("wiki:-1", "'-1'"),
            ("wiki@md5:1", "'md5:1'"),
            ("a//b", "empty"),
            ("a/-b", "'-b'"),
            ("wiki 2", "'wiki 2'"),
            ("sha256:12", "'sha256:12'"),
            ("sha256", "registry"),
            (&"a".repeat(64), "id"),
            (&"b".repeat(256), "256 bytes"),
        ],
    );
}

#[test]
fn an_image_gets_latest_only_when_it_has_neither_tag_nor_digest() {
    let with_tag = |text: &str| image_ref(text).unwrap().with_tag().to_string();
    assert_eq!(with_tag("example.com:5000/wiki"), "example.com:5000/wiki:latest");
    assert_eq!(with_tag("wiki:2"), "wiki:2");
    let id = format!("sha256:{}", "0".repeat(64));
    assert_eq!(with_tag(&id), id);
    let pinned = format!("wiki@{id}");
    assert_eq!(with_tag(&pinned), pinned);
    assert!(image_ref(&id).unwrap().is_id());
}

#[test]
fn memory_is_in_mb_when_no_unit_is_said() {
    let mb = 1024 * 1024;
    for (text, bytes) in [
        ("64", 64 * mb),
        ("64m", 64 * mb),
        ("64MB", 64 * mb),
        ("2g", 2048 * mb),
        ("8192k", 8 * mb),
        ("6291456b", 6 * mb),
    ] {
        assert_eq!(memory_bytes(text).unwrap(), bytes, "{text}");
    }
    refused(
        memory_bytes,
        &[
            ("5", "'5'"),
            ("1.5g", "whole number"),
            ("64t", "unit"),
            ("64 m", "whole number"),
            ("", "''"),
            ("0", "nothing"),
            ("99999999999g", "too much"),
            ("8589934592g", "too much"),
        ],
    );
    assert_eq!(size_bytes("1m").unwrap(), mb);
}

#[test]
fn cpus_are_billionths() {
    assert_eq!(cpus("0.5").unwrap(), 500_000_000);
    assert_eq!(cpus("2").unwrap(), 2_000_000_000);
    assert_eq!(cpus("1.000000001").unwrap(), 1_000_000_001);
    refused(
        cpus,
        &[
            ("0", "little"),
            ("0.009", "little"),
            ("1.", "'1.'"),
            (".5", "'.5'"),
            ("9999", "machine"),
            ("1,5", "'1,5'"),
        ],
    );
}

#[test]
fn a_time_is_at_most_a_day() {
    for (text, seconds) in [("0", 0), ("10", 10), ("10s", 10), ("2m", 120), ("24h", 86400)] {
        assert_eq!(super::seconds(text).unwrap().as_secs(), seconds);
    }
    refused(
        super::seconds,
        &[
            ("25h", "day"),
            ("10d", "unit"),
            ("m", "time"),
            ("", "time"),
            ("-1", "'-1'"),
            ("1m30s", "time"),
        ],
    );
}

#[test]
fn a_number_is_within_its_bounds() {
    assert_eq!(integer("0", 0, 9999).unwrap(), 0);
    assert_eq!(integer("-5", -10, 0).unwrap(), -5);
    for text in ["10000", "-1", "", "+1", "1.0", "99999999999999999999", "-"] {
        assert!(integer(text, 0, 9999).is_err(), "{text}");
    }
}

#[test]
fn a_path_is_absolute_and_stays_where_it_is() {
    assert_eq!(absolute_path("/srv//wiki/./data/").unwrap().to_str(), Some("/srv/wiki/data"));
    refused(
        absolute_path,
        &[
            ("srv", "'srv'"),
            ("", "''"),
            ("/", "whole"),
            ("//", "whole"),
            ("/srv/../etc", "'..'"),
            ("/a:b", "':'"),
            ("/a\0b", "'\\u{0}'"),
            ("/a ", "blank"),
            ("/a\u{2003}/./", "blank"),
        ],
    );
}

#[test]
fn a_mount_is_a_host_path_or_below_the_data_root() {
    let found = mounts("/srv/media:/media:ro, /var/www/, /:/host:ro").unwrap();
    assert_eq!(found[0].source, MountSource::Host("/srv/media".into()));
    assert!(found[0].read_only);
    assert_eq!(found[1].source, MountSource::DataRoot);
    assert_eq!(found[1].target.to_str(), Some("/var/www"));
    shown::<MountEntry>("/a/:/b/:rw", "/a:/b");
    shown::<MountEntry>("/a:/b:ro", "/a:/b:ro");
    refused(
        mounts,
        &[
            ("/a:/b:rx", "'rx'"),
            ("/a:/b:ro:z", "too many"),
            ("a:/b", "'a'"),
            ("/a:b", "'b'"),
            ("/a:/", "whole"),
            ("/a:/x,/b:/x/", "'/x' comes twice"),
            ("/a:/x /", "blank"),
        ],
    );
}

#[test]
fn tmpfs_and_devices_name_each_place_once() {
    shown::<TmpfsEntry>("/tmp:64m", "/tmp:67108864b");
    shown::<TmpfsEntry>("/run/", "/run");
    shown::<DeviceEntry>("/dev/a", "/dev/a:/dev/a:rwm");
    shown::<DeviceEntry>("/dev/a:/dev/b:wr", "/dev/a:/dev/b:rw");
    refused(tmpfs, &[("/tmp,/tmp:1m", "'/tmp'"), ("/tmp:x", "'x'"), ("tmp", "'tmp'")]);
    refused(
        devices,
        &[("/dev/a:/dev/b:x", "'x'"), ("/dev/a,/dev/a", "twice"), ("/dev/a:/b:", "''")],
    );
}

#[test]
fn a_command_is_split_as_a_shell_would() {
    assert_eq!(command("a  'b c' d\\ e").unwrap(), ["a", "b c", "d e"]);
    refused(command, &[("", "empty"), ("  ", "empty"), ("a 'b", "not closed"), ("a\0", "NUL")]);
    assert!(!command("x -phunter2 '").unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn a_user_is_a_name_or_an_id() {
    for text in ["www-data", "1000", "1000:1000", "root:wheel", "DOMAIN.user:0", "host$"] {
        assert_eq!(user(text).unwrap(), text);
    }
    refused(
        user,
        &[
            ("", "''"),
            ("a:", "''"),
            (":a", "''"),
            ("a b", "'a b'"),
            ("2147483648", "'2147483648'"),
            ("a:b:c", "'b:c'"),
        ],
    );
}

#[test]
fn capabilities_are_added_and_with_a_minus_taken_away() {
    shown::<Capabilities>("cap_net_admin, -MKNOD,-cap_chown", "NET_ADMIN,-CHOWN,-MKNOD");
    shown::<Capabilities>("-ALL,NET_RAW", "NET_RAW,-ALL");
    refused(
        capabilities,
        &[("CHOWN,-CHOWN", "'CHOWN'"), ("FLY", "'FLY'"), ("", "empty"), ("-", "''")],
    );
    assert_eq!(capabilities("NET_ADMN").unwrap_err().expected, "NET_ADMIN");
}

#[test]
fn a_health_test_is_a_command_a_page_or_a_port() {
    shown::<HealthTest>("cmd:pg_isready -q", "cmd:pg_isready -q");
    shown::<HealthTest>("http:8080", "http:8080/");
    shown::<HealthTest>("http:80/a?b=c", "http:80/a?b=c");
    shown::<HealthTest>("tcp:25", "tcp:25");
    refused(
        health,
        &[
            ("cmd: ", "empty"),
            ("http:/x", "port"),
            ("http:80/a b", "blanks"),
            ("tcp:0", "port"),
            ("pg_isready", "'pg_isready'"),
        ],
    );
}

#[test]
fn an_environment_value_is_any_text_and_never_in_an_error() {
    assert_eq!(env_value("a|b=c\n").unwrap(), "a|b=c\n");
    let bad = env_value("hunter2\0").unwrap_err();
    assert!(!bad.to_string().contains("hunter2"));
    assert_eq!(env_name("discovery.type").unwrap(), "discovery.type");
    refused(env_name, &[("", "''"), ("1A", "'1A'"), ("A B", "'A B'"), ("A=B", "'A=B'")]);
}

#[test]
fn a_cron_expression_has_five_fields_within_their_bounds() {
    for text in [
        "* * * * *",
        "30 7 * * mon-fri",
        "*/15 0-6/2 1,15 JAN-mar 7",
        "0 0 29 2 *",
        "0 0 31 2 mon",
        "0  3\t* * Sun",
    ] {
        assert!(cron(text).is_ok(), "{text}");
    }
    refused(
        cron,
        &[
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * * 8", "day of the week"),
            ("* * * * fri-mon", "backwards"),
            ("*/0 * * * *", "step"),
            ("5/10 * * * *", "step"),
            ("1, * * * *", "minute"),
            ("jan * * * *", "'jan'"),
            ("@daily", "1 fields"),
            ("0 0 31 2 *", "no month"),
            ("0 0 31 4,6,9,11 *", "no month"),
        ],
    );
}

#[test]
fn a_word_is_one_of_those_allowed() {
    assert_eq!(yes_no("yes"), Ok(true));
    assert_eq!(yes_no("no"), Ok(false));
    refused(yes_no, &[("Yes", "'Yes'"), ("", "''"), ("1", "'1'")]);
    assert_eq!(choice("x", &["a", "b"]).unwrap_err().expected, "a, b");
}

#[test]
fn a_message_stays_on_one_line_and_short() {
    let bad = port(&format!("8\n0{}", "x".repeat(500))).unwrap_err().to_string();
    assert!(!bad.contains('\n') && bad.len() < 200, "{bad}");
}

#[test]
fn a_value_in_json_is_its_text() {
    let link: Link = serde_json::from_str("\"mariadb:db\"").unwrap();
    assert_eq!(serde_json::to_string(&link).unwrap(), "\"mariadb:db\"");
    assert!(serde_json::from_str::<ContainerName>("\"a b\"").is_err());
    assert_eq!(serde_json::to_string(&Protocol::Udp).unwrap(), "\"udp\"");
}

/// Calls every parser; what was read and has a text must be read from that text again.
fn all_parsers(text: &str) {
    fn back<T: Display + FromStr<Err = BadValue> + Debug + PartialEq>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value), "{text:?}");
        }
    }
    back::<Port>(text);
    back::<PortRange>(text);
    back::<PortMap>(text);
    back::<ContainerName>(text);
    back::<Link>(text);
    back::<ImageRef>(text);
    back::<MountEntry>(text);
    back::<TmpfsEntry>(text);
    back::<DeviceEntry>(text);
    back::<Egress>(text);
    back::<Capabilities>(text);
    back::<HealthTest>(text);
    for parse in [absolute_path] {
        if let Ok(path) = parse(text) {
            assert_eq!(parse(path.to_str().unwrap()), Ok(path));
        }
    }
    for parse in [host_label, web_alias, bridge_name, user, env_name, env_value, endpoint, digest] {
        if let Ok(same) = parse(text) {
            assert_eq!(parse(&same), Ok(same));
        }
    }
    for parse in [memory_bytes, size_bytes, cpus] {
        drop(parse(text));
    }
    let _ignored = (ports(text), port_maps(text), host_access(text), links(text), mounts(text));
    let _ignored = (tmpfs(text), devices(text), ip_networks(text), subnet(text), ipv4(text));
    let _ignored =
        (command(text), seconds(text), cron(text), events(text), yes_no(text), port(text));
    let _ignored = integer(text, -5, 5);
}

proptest! {
    #[test]
    fn no_parser_panics_on_any_text(text in any::<String>()) {
        all_parsers(&text);
    }

    #[test]
    fn no_parser_panics_on_text_that_is_nearly_right(
        text in "(unix://|tcp://|http:|cmd:|sha256:|cap_|-)?[a-zA-Z0-9/:.,@*_ \\-\\[\\]\"'\\\\]{0,24}"
    ) {
        all_parsers(&text);
    }

    #[test]
    fn a_port_list_keeps_its_ports(
        list in prop::collection::vec((prop_oneof![1_u16..300, 1_u16..=65535], 0_u16..40), 1..12)
    ) {
        let list: Vec<(u16, u16)> =
            list.into_iter().map(|(first, more)| (first, first.saturating_add(more))).collect();
        let text: Vec<String> =
            list.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let expected: BTreeSet<u16> =
            list.iter().flat_map(|(first, last)| *first..=*last).collect();

        let found = ports(&text.join(",")).unwrap();
        let each: Vec<u16> =
            found.iter().flat_map(|range| range.iter()).map(std::num::NonZeroU16::get).collect();
        prop_assert_eq!(each, expected.into_iter().collect::<Vec<_>>());
        for range in &found {
            prop_assert!(range.contains(range.first()) && range.contains(range.last()));
            prop_assert_eq!(range.iter().count(), range.count());
        }
        let again: Vec<String> = found.iter().map(ToString::to_string).collect();
        prop_assert_eq!(ports(&again.join(",")).unwrap(), found);
    }

    #[test]
    fn a_size_is_the_number_times_its_unit(count in 1_u64..1_000_000) {
        for (unit, bytes) in [("b", 1), ("k", 1 << 10), ("", 1 << 20), ("M", 1 << 20), ("gb", 1 << 30)] {
            prop_assert_eq!(size_bytes(&format!("{count}{unit}")).unwrap(), count * bytes);
        }
    }
}
