// What is decided about one container, by what is seen and remembered of it.

use std::sync::LazyLock;

use jiff::SignedDuration;

use super::*;
use crate::plan::tests::{MYSQL, brought_to, name_of, resolve};
use crate::state::Observed;
use crate::state::trouble::Past;

/// What is seen and remembered.
struct Seen {
    observed: Observed,
    past: Past,
    restart: bool,
}

impl Seen {
    fn found(&mut self) -> &mut ObservedContainer {
        self.observed.containers.get_mut(&name_of("mysql")).unwrap()
    }

    fn trouble(&mut self) -> &mut Trouble {
        let hash = self.found().hash.clone();
        let fresh = Trouble { hash, ..Trouble::default() };
        self.past.troubles.entry(name_of("mysql")).or_insert(fresh)
    }

    fn is_on(&mut self, networks: &[&str]) {
        self.found().networks = Some(networks.iter().map(|name| (*name).to_owned()).collect());
    }

    fn failed(&mut self, hash: &str, image: &str) {
        self.trouble().replacement = Some(FailedReplacement {
            hash: hash.to_owned(),
            image: image.to_owned(),
            at: now(),
            why: "it does not serve".to_owned(),
        });
    }
}

/// The host that was brought to `MYSQL`.
static BROUGHT: LazyLock<Observed> = LazyLock::new(|| brought_to(MYSQL).state());

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now().saturating_sub(SignedDuration::from_secs(seconds)).unwrap()
}

/// Asks about that host after `change`.
fn ask<T>(records: &str, change: impl FnOnce(&mut Seen), of: impl FnOnce(&Given<'_>) -> T) -> T {
    let observed = BROUGHT.clone();
    let resolution = resolve(records, &observed.facts);
    let past = Past { troubles: [].into(), autopsies: [].into(), now: now() };
    let mut seen = Seen { observed, past, restart: false };
    change(&mut seen);
    of(&Given {
        desired: &resolution.desired,
        files: &[],
        observed: &seen.observed,
        applied: &[].into(),
        restart: &seen.restart.then(|| name_of("mysql")).into_iter().collect(),
        layers: &[].into(),
        given_up: &[].into(),
        past: &seen.past,
        is_unguarded: false,
    })
}

fn act(act: &Act) -> String {
    match act {
        Act::Create => "create".to_owned(),
        Act::Replace { reason, .. } => format!("replace: {reason}"),
        Act::Finish { previous } => format!("finish: {previous}"),
        Act::Update { reason, .. } => format!("update: {reason}"),
        Act::Start { reason } => format!("start: {reason}"),
        Act::Restart { reason } => format!("restart: {reason}"),
    }
}

/// What is decided after `change`.
fn decided(change: impl FnOnce(&mut Seen)) -> String {
    ask(MYSQL, change, |given| {
        let name = name_of("mysql");
        let found = given.observed.containers.get(&name);
        match verdict(given, &name, &given.desired.containers[&name], found) {
            None => "nothing".to_owned(),
            Some(Verdict::Do(done)) => act(&done),
            Some(Verdict::Leave { why, until, meanwhile }) => {
                let until = until.map(|until| until.duration_since(now()).as_secs());
                format!("leave, {until:?}, {:?}: {why}", meanwhile.as_ref().map(act))
            }
            Some(Verdict::Hold(why)) => format!("hold: {why}"),
        }
    })
}

#[test]
fn a_container_is_made_anew_when_it_is_not_on_our_network_alone() {
    let cases: [(&[&str], &str); 4] = [
        (&["wharf0"], "nothing"),
        (&["other", "wharf0"], "replace: it is also on other"),
        (&[], "replace: it is not on wharf0"),
        (&["a", "b"], "replace: it is on a, b, not on wharf0"),
    ];
    for (networks, expected) in cases {
        assert_eq!(decided(|seen| seen.is_on(networks)), expected);
    }
    let ended = decided(|seen| {
        seen.is_on(&[]);
        seen.found().state = Running::Exited;
    });
    assert!(ended.starts_with("start: "), "one that does not run is on none: {ended}");
}

#[test]
fn each_state_of_a_container_has_its_answer() {
    for (state, expected) in [
        (Running::Running, "nothing"),
        (Running::Restarting, "nothing"),
        (Running::Paused, "start: should run, is: as told"),
        (Running::Created, "start: should run, is: as told"),
        (Running::Exited, "start: should run, is: as told"),
        (Running::Dead, "replace: should run, is: as told"),
    ] {
        let decided = decided(|seen| {
            seen.found().state = state;
            seen.found().status = "as told".to_owned();
        });
        assert_eq!(decided, expected, "{state:?}");
    }
    assert_eq!(decided(|seen| seen.restart = true), "restart: asked for by hand");
    assert_eq!(decided(|seen| seen.observed.containers.clear()), "create");
}

#[test]
fn an_image_that_moved_makes_it_anew_only_when_the_list_does_not_say_otherwise() {
    let moved = |is_current: bool, is_known: bool| {
        decided(|seen| {
            seen.found().image_current = is_current;
            if is_known {
                seen.observed.images.values_mut().for_each(|id| id.push('x'));
            } else {
                seen.observed.images.clear();
            }
        })
    };
    assert_eq!(moved(false, true), "replace: Image stands for another image now");
    assert_eq!(moved(true, true), "nothing");
    assert_eq!(moved(false, false), "nothing");
    assert_eq!(decided(|seen| seen.found().image_current = false), "nothing");
}

#[test]
fn a_container_of_another_version_is_left_alone() {
    let decided = decided(|seen| seen.found().hash = "v9:abc".to_owned());
    assert_eq!(decided, "hold: its container was made by another version of wharf (v9:abc)");
}

#[test]
fn one_whose_check_fails_is_restarted_ever_later_and_then_left_running() {
    let unhealthy = |before: &[i64], of_this: bool| {
        decided(|seen| {
            seen.found().health = Some(Health::Unhealthy);
            seen.trouble().unhealthy = before.iter().copied().map(ago).collect();
            if !of_this {
                seen.trouble().hash = "v1:other".to_owned();
            }
            let autopsy = Autopsy { last_lines: vec!["no table".to_owned()], ..Autopsy::default() };
            seen.past.autopsies.insert(name_of("mysql"), autopsy);
        })
    };
    let words = "its log ends: no table";
    assert_eq!(unhealthy(&[], true), format!("restart: its health check fails; {words}"));
    assert_eq!(
        unhealthy(&[4], true),
        format!(
            "leave, Some(6), None: its health check fails ({words}); it is restarted again at \
             1970-01-12 13:46:46 UTC; at once: wharf retry mysql"
        )
    );
    assert!(unhealthy(&[10], true).starts_with("restart: "));
    assert!(unhealthy(&[4], false).starts_with("restart: "), "that was another container");
    assert_eq!(
        unhealthy(&[50, 40, 30, 20, 10], true),
        format!(
            "leave, None, None: its health check fails after each of 5 restarts ({words}); it is \
             left running; to try again: wharf retry mysql"
        )
    );
    for health in [Some(Health::Healthy), Some(Health::Starting), None] {
        assert_eq!(decided(|seen| seen.found().health = health), "nothing");
    }
}

/// What is left of a trouble with two restarts, the last one 600 seconds ago.
fn left(change: impl FnOnce(&mut Seen)) -> Trouble {
    let changed = |seen: &mut Seen| {
        seen.trouble().ended = vec![ago(700)];
        seen.trouble().unhealthy = vec![ago(600)];
        change(seen);
    };
    let name = name_of("mysql");
    ask(MYSQL, changed, |given| left_of(given, &name, &given.past.troubles[&name]))
}

#[test]
fn a_trouble_is_over_when_the_container_has_been_well_for_ten_minutes_or_is_another_one() {
    let is_over = |change: fn(&mut Seen)| {
        let left = left(change);
        assert_eq!(left.ended.is_empty(), left.unhealthy.is_empty(), "{left:?}");
        left.ended.is_empty()
    };
    assert!(is_over(|_| ()));
    assert!(is_over(|seen| seen.found().health = Some(Health::Healthy)));
    assert!(!is_over(|seen| seen.trouble().ended = vec![ago(599)]));
    assert!(!is_over(|seen| seen.trouble().unhealthy = vec![ago(599)]));
    assert!(!is_over(|seen| seen.found().health = Some(Health::Unhealthy)));
    assert!(!is_over(|seen| seen.found().health = Some(Health::Starting)));
    assert!(!is_over(|seen| seen.found().state = Running::Exited));
    assert!(!is_over(|seen| seen.observed.containers.clear()));
    assert!(is_over(|seen| {
        seen.found().state = Running::Exited;
        seen.trouble().hash = "v1:other".to_owned();
    }));
}

#[test]
fn a_failed_replacement_counts_for_its_record_and_image_only() {
    let hash = ask(
        MYSQL,
        |_| (),
        |given| given.desired.containers[&name_of("mysql")].spec.hash().as_str().to_owned(),
    );
    let image = ask(MYSQL, |_| (), |given| given.observed.images.values().next().unwrap().clone());
    let stays =
        |hash: &str, image: &str| left(|seen| seen.failed(hash, image)).replacement.is_some();
    assert!(stays(&hash, &image));
    assert!(stays(&hash, ""));
    assert!(!stays(&hash, "another"));
    assert!(!stays("v1:other", &image));
    let unknown = left(|seen| {
        seen.failed(&hash, "another");
        seen.observed.images.clear();
    });
    assert!(unknown.replacement.is_some(), "nobody knows what the image is now");
}

#[test]
fn asked_is_who_should_run_and_is_unwell_not_for_the_first_time() {
    let asked = |records: &str, change: fn(&mut Seen)| {
        ask(records, change, |given| !to_examine(given).is_empty())
    };
    let ended: fn(&mut Seen) = |seen| {
        seen.found().state = Running::Exited;
        seen.trouble().ended = vec![ago(5)];
    };
    let unhealthy: fn(&mut Seen) = |seen| seen.found().health = Some(Health::Unhealthy);
    let down = MYSQL.replace("status|enabled", "status|disabled");
    assert!(asked(MYSQL, ended));
    assert!(asked(MYSQL, unhealthy));
    assert!(!asked(&down, ended));
    assert!(!asked(&down, unhealthy));
    assert!(!asked(MYSQL, |_| ()));
    assert!(!asked(MYSQL, |seen| seen.found().state = Running::Exited), "the first time");
    assert!(!asked(MYSQL, |seen| seen.trouble().ended = vec![ago(5)]), "it runs again");
    assert!(!asked(MYSQL, |seen| {
        seen.found().state = Running::Exited;
        seen.trouble().unhealthy = vec![ago(5)];
    }));
}
