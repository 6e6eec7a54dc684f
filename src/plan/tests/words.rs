// What is shown of steps and causes, to people and to programs.

use std::collections::BTreeMap;

use serde_json::json;

use super::seen::Seen;
use super::{BLOG, MYSQL, name_of};
use crate::plan::data::first_lost;
use crate::plan::reason::differences;
use crate::plan::{Difference, Reason, Step};
use crate::state::container::Readiness;
use crate::state::exposure::HostPort;
use crate::state::layer::Layer;
use crate::state::{ImageSource, ObservedNetwork};

fn difference() -> Difference {
    Difference { property: "Image".to_owned(), old: None, new: Some("app".to_owned()) }
}

/// One of each cause.
fn causes() -> Vec<Reason> {
    let name = || name_of("wiki");
    let port = HostPort { protocol: crate::db::value::Protocol::Tcp, port: 80.try_into().unwrap() };
    let at = jiff::Timestamp::from_second(1_000_000).unwrap();
    vec![
        Reason::NoContainer,
        Reason::Differs(vec![]),
        Reason::Differs(vec![difference()]),
        Reason::Drifted(vec![difference()], Some(at)),
        Reason::ImageMoved,
        Reason::NotRunning("Created".to_owned()),
        Reason::Ended("exit code 1".to_owned()),
        Reason::Unhealthy(String::new()),
        Reason::Unhealthy("no table".to_owned()),
        Reason::Disabled,
        Reason::ByHand,
        Reason::ByEvent,
        Reason::ByClock,
        Reason::RecordDeleted,
        Reason::NeededBy(name()),
        Reason::GivesWay(name()),
        Reason::Interrupted,
        Reason::BridgeAnew,
        Reason::NotGuarded([port].into()),
        Reason::Absent,
        Reason::Changed,
        Reason::Altered,
        Reason::FileChanged,
        Reason::Setting("it is off".to_owned()),
    ]
}

#[test]
fn each_cause_has_its_word_and_its_sentence() {
    let all = causes();
    let shown: Vec<String> =
        all.iter().map(|reason| format!("{}: {reason}", reason.kind())).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    no-container: record is enabled and has no container
    differs: was made from another record
    differs: Image (none) -> app
    drifted: somebody has changed it at 1970-01-12 13:46:40 UTC: Image (none) -> app
    image-moved: Image stands for another image now
    not-running: should run, is: Created
    ended: should run, is: exit code 1
    unhealthy: its health check fails
    unhealthy: its health check fails; no table
    disabled: status is not enabled
    by-hand: asked for by hand
    by-event: asked for by an event in StopOn
    by-clock: it is not between StartAt and StopAt
    record-deleted: there is no such record any more
    needed-by: 'wiki' needs it
    gives-way: 'wiki' gets its address or a port of it
    interrupted: a replacement was interrupted
    bridge-anew: the bridge must be made anew
    not-guarded: the guard does not keep 80/tcp, and cannot be loaded
    absent: is not there
    changed: records or template have changed
    altered: somebody else has changed it
    file-changed: its file has changed
    setting: it is off
    ");
    let about = all.iter().filter(|reason| !reason.differences().is_empty()).count();
    assert_eq!(about, 2);
    assert_eq!(all[2].differences(), [difference()]);
    assert_eq!(all[3].differences(), [difference()]);
}

#[test]
fn of_a_health_check_only_the_command_is_hidden() {
    let of = |command: &str, retries: u8| json!({ "health": { "command": command, "retries": retries }, "log_max_bytes": 5 });
    let all = differences(&of("geheim1", 3), &of("geheim2", 4));
    let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
    let expected = r#"Health {"command":"***","retries":3} -> {"command":"***","retries":4}"#;
    assert_eq!(shown, [expected]);
}

#[test]
fn parameters_say_how_an_image_is_had_and_what_is_waited_for() {
    let image = |source: ImageSource| {
        Step::EnsureImage { image: "app".parse().unwrap(), source }.parameters()["source"].clone()
    };
    assert_eq!(image(ImageSource::Registry), "registry");
    assert_eq!(image(ImageSource::Archive("/a".into())), json!({ "archive": "/a" }));
    assert_eq!(image(ImageSource::Rootfs("/a".into())), json!({ "rootfs": "/a" }));
    assert_eq!(image(ImageSource::Unknown("a".to_owned())), json!({ "unknown": "a" }));

    let (address, port) = ("10.0.3.2".parse().unwrap(), 80.try_into().unwrap());
    let wait = |readiness: Readiness| {
        Step::AwaitReady { name: name_of("wiki"), readiness }.parameters()["readiness"].clone()
    };
    assert_eq!(wait(Readiness::Running), "running");
    assert_eq!(wait(Readiness::Health), "health");
    assert_eq!(wait(Readiness::Tcp(address, port)), json!({ "tcp": "10.0.3.2:80" }));
    assert_eq!(
        wait(Readiness::Http(address, port, "/up".to_owned())),
        json!({ "http": "http://10.0.3.2:80/up" })
    );
}

#[test]
fn who_is_on_a_bridge_that_is_made_anew_is_down_or_gone() {
    let other = "other=service|Address|10.0.3.4|Image|app|status|enabled\n";
    let down = other.replace("status|enabled", "status|disabled");
    let old = "old=service|Address|10.0.3.5|Image|app|status|enabled\n";
    let mut seen =
        Seen::new(&format!("{MYSQL}{BLOG}{other}{old}"), &format!("{MYSQL}{BLOG}{down}"));
    seen.observed.network =
        ObservedNetwork::Differs { id: "id".to_owned(), how: "another".to_owned(), ours: true };
    insta::assert_snapshot!(seen.plan(), @r"
    remove container blog: the bridge must be made anew
      cost: blog is down for at most 10 s and its start
    remove container mysql: the bridge must be made anew
      cost: mysql is down for at most 10 s and its start; blog links to it
    remove container old: the bridge must be made anew
      cost: old is gone
    remove container other: the bridge must be made anew
      cost: other is gone
    remove network id: another
    create bridge wharf0 10.0.3.0/24: the bridge must be made anew
    create container mysql from db: record is enabled and has no container
    start container mysql: record is enabled and has no container
    wait until mysql serves: 'blog' needs it
    create container blog from web: record is enabled and has no container
    start container blog: record is enabled and has no container
    ");
}

#[test]
fn the_first_container_with_something_to_lose_is_named() {
    let layer = |paths: &[&str]| Layer {
        changed: paths.iter().map(Into::into).collect(),
        ..Layer::default()
    };
    let layers = [("aaa", layer(&[])), ("bbb", layer(&["/srv/x"])), ("ccc", layer(&["/srv/y"]))];
    let all: BTreeMap<_, _> =
        layers.into_iter().map(|(name, layer)| (name_of(name), layer)).collect();
    assert_eq!(first_lost(&all), Some((name_of("bbb"), "/srv/x".to_owned())));
    let nothing = [(name_of("aaa"), layer(&[]))].into();
    assert_eq!(first_lost(&nothing), None);
}
