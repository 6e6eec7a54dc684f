// What an interrupted replacement has left, names that were taken away, and what a new container is.

use super::seen::Seen;
use super::{BLOG, MYSQL, name_of};
use crate::plan::{Plan, Step};
use crate::state::{Renamed, Role, Running};

fn kinds(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.step.kind()).collect()
}

/// A changed limit, so that the container is made anew.
fn more(records: &str) -> String {
    records.replace("status|", "MaxMemory|64|status|")
}

fn disabled(records: &str) -> String {
    records.replace("status|enabled", "status|disabled")
}

#[test]
fn an_old_container_whose_successor_is_gone_gets_its_name_back() {
    let mut seen = Seen::as_of(MYSQL);
    seen.leave("mysql", Role::Previous);
    seen.observed.containers.clear();
    assert_eq!(seen.steps(), ["0 restore name mysql {}"]);
}

#[test]
fn a_new_container_that_came_to_nothing_is_removed_and_nothing_else_is_done() {
    let mut seen = Seen::as_of(MYSQL);
    seen.leave("mysql", Role::Next);
    assert_eq!(seen.steps(), ["0 remove leftover mysql.next {}"]);
}

#[test]
fn the_old_one_of_a_record_that_is_disabled_by_now_goes_at_the_end() {
    let mut seen = Seen::new(MYSQL, &disabled(&more(MYSQL)));
    seen.leave("mysql", Role::Previous);
    assert_eq!(seen.steps(), ["0 stop container mysql {}", "1 remove leftover mysql.prev {}"]);
}

#[test]
fn of_a_held_record_nothing_is_removed() {
    let mut seen = Seen::new(MYSQL, &MYSQL.replace("status|", "Hold|yes|status|"));
    assert!(seen.desired.held.contains_key(&name_of("mysql")));
    seen.leave("mysql", Role::Previous);
    assert_eq!(seen.steps(), [""; 0]);
}

#[test]
fn the_old_one_of_another_record_proves_nothing() {
    let records = format!("{MYSQL}{BLOG}");
    let mut seen = Seen::as_of(&records);
    seen.leave("mysql", Role::Previous);
    assert_eq!(kinds(&seen.plan()), ["finish-replacement"]);
    let mut seen = Seen::new(&records, &format!("{}{BLOG}", more(MYSQL)));
    seen.leave("blog", Role::Previous);
    let plan = seen.plan();
    assert_eq!(kinds(&plan), ["replace-container", "await-ready", "finish-replacement"]);
    assert_eq!(plan.steps[2].record, Some(name_of("blog")));
}

/// The steps for containers that somebody has renamed, after `change`.
fn renamed(wanted: &str, change: impl FnOnce(&mut Seen)) -> Vec<String> {
    let mut seen = Seen::new("", wanted);
    seen.observed.renamed =
        vec![Renamed { id: "id".to_owned(), record: name_of("mysql"), name: "strange".to_owned() }];
    change(&mut seen);
    seen.plan().steps.iter().map(|one| format!("{}: {}", one.step, one.reason)).collect()
}

#[test]
fn a_name_that_somebody_has_taken_away_comes_back_where_it_is_wanted_and_free() {
    let back = ["restore name mysql: somebody has renamed it to 'strange'"];
    assert_eq!(renamed(MYSQL, |_| ()), back);
    assert_eq!(renamed(&MYSQL.replace("status|", "Hold|yes|status|"), |_| ()), back);
    assert_eq!(renamed("", |_| ()), [""; 0], "there is no record");
    let foreign = |seen: &mut Seen| {
        seen.observed.facts.foreign_names = ["mysql".to_owned()].into();
    };
    assert!(!renamed(MYSQL, foreign).contains(&back[0].to_owned()), "somebody else has it");
    let another = |seen: &mut Seen| {
        seen.observed.containers = Seen::as_of(MYSQL).observed.containers;
    };
    assert_eq!(renamed(MYSQL, another), [""; 0], "another one has it");
    let twice = renamed(MYSQL, |seen| seen.observed.renamed.extend(seen.observed.renamed.clone()));
    assert_eq!(twice, back, "one of two gets it");
}

#[test]
fn a_new_container_has_the_next_number_and_what_shows_that_it_serves() {
    let new = |seen: &Seen| {
        let plan = seen.plan();
        let Some(Step::ReplaceContainer { new, proof: Some(proof), .. }) =
            plan.steps.last().map(|planned| &planned.step)
        else {
            panic!("{plan}")
        };
        (new.generation, proof.is_said)
    };
    assert_eq!(new(&Seen::new(MYSQL, &more(MYSQL))), (4, false));
    let check = |check: &str| more(MYSQL).replace("status|", &format!("Health|{check}|status|"));
    assert_eq!(new(&Seen::new(MYSQL, &check("tcp:3306"))), (4, true), "it is asked by us");
    assert_eq!(new(&Seen::new(MYSQL, &check("cmd:true"))), (4, true), "the engine asks it");

    let plan = Seen::new("", MYSQL).plan();
    let made = plan.steps.iter().find_map(|planned| {
        let Step::CreateContainer(new) = &planned.step else { return None };
        Some(new.generation)
    });
    assert_eq!(made, Some(1));
}

#[test]
fn who_does_not_run_is_not_missed() {
    let mut seen = Seen::new(MYSQL, &more(MYSQL));
    assert!(seen.plan().to_string().contains("cost: mysql is down"), "{}", seen.plan());
    seen.found("mysql").state = Running::Exited;
    assert_eq!(kinds(&seen.plan()), ["replace-container"]);
    assert!(!seen.plan().to_string().contains("cost"), "{}", seen.plan());
}

#[test]
fn the_old_one_stays_while_the_next_replacement_has_to_wait() {
    let wiki = "wiki=service|Address|10.0.3.9|Image|app|TCPPort|80|status|enabled\n";
    let other = "other=service|Address|10.0.3.8|Image|app|TCPPort|81|status|enabled\n";
    let held = other.replace("TCPPort|81", "Hold|yes|TCPPort|82");
    let mut seen = Seen::new(
        &format!("{wiki}{other}"),
        &format!("{}{held}", wiki.replace("TCPPort|80", "TCPPort|81")),
    );
    seen.leave("wiki", Role::Previous);
    let plan = seen.plan();
    assert!(plan.is_empty(), "{plan}");
    let why = &plan.held[&name_of("wiki")];
    assert_eq!(why, "port 81/tcp stays with 'other', which is held itself");
}
