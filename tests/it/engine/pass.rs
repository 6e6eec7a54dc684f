// SPDX-License-Identifier: GPL-2.0-or-later

//! From records to running containers, and from one state of the records to the next.

use bollard::ClientVersion;
use serde_json::{Value, json};
use wharf::host::engine::{Endpoint, Engine};
use wharf::state::Query;

use super::{
    SOON, apply, containers, in_status, set, setprop, started_at, street, until_page, web,
};
use crate::lab::{DB_TEXT, Lab, WEB_TEXT};

#[test]
fn records_become_running_containers() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);

    let plan = lab.wharf(&["plan"]).ended_with(3);
    assert!(plan.stdout.contains("mysql"), "{}", plan.stdout);
    assert!(plan.stdout.contains("wordpress"), "{}", plan.stdout);
    assert_eq!(containers(&lab), [""; 0], "a plan changes nothing");

    lab.signal_event(&["docker-update"]).succeeded();

    assert_eq!(containers(&lab), ["mysql", "wordpress"]);
    assert!(lab.runs("mysql") && lab.runs("wordpress"));
    until_page(WEB_TEXT, || lab.host_get("http://localhost:8080/"));
    until_page(DB_TEXT, || lab.host_get("http://localhost:8080/database.txt"));
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn a_pass_without_work_says_so_and_asks_what_is_there_and_what_has_happened() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    let before = [lab.id("mysql"), lab.id("wordpress")];
    let proxy = lab.proxy(|_| {});

    let host = proxy.docker_host();
    let second = lab.wharf_with(&[("DOCKER_HOST", &host)], &["apply"]).succeeded();

    assert!(second.stdout.to_lowercase().contains("nothing"), "{}", second.stdout);
    let mut asked = proxy.requests();
    asked.sort_unstable();
    assert_eq!(asked, ["GET /containers/json", "GET /events"]);
    assert_eq!([lab.id("mysql"), lab.id("wordpress")], before);
}

#[test]
fn a_new_memory_limit_touches_one_container() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    assert_eq!(lab.memory_limit("wordpress"), 128 << 20);
    let mysql = (lab.id("mysql"), started_at(&lab, "mysql"));

    setprop(&lab, "wordpress MaxMemory 96");
    let plan = lab.wharf(&["plan"]).ended_with(3);
    assert!(plan.stdout.contains("wordpress"), "{}", plan.stdout);
    assert!(plan.stdout.contains("MaxMemory"), "{}", plan.stdout);
    apply(&lab);

    assert!(lab.runs("wordpress"));
    assert_eq!(lab.memory_limit("wordpress"), 96 << 20);
    assert_eq!((lab.id("mysql"), started_at(&lab, "mysql")), mysql);
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn a_property_that_the_engine_cannot_change_makes_the_container_anew() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    let (mysql, wordpress) = (lab.id("mysql"), lab.id("wordpress"));

    setprop(&lab, "wordpress Env_GREETING moin");
    apply(&lab);

    assert_ne!(lab.id("wordpress"), wordpress);
    assert_eq!(lab.id("mysql"), mysql);
    assert_eq!(lab.exec("wordpress", &["sh", "-c", "echo $GREETING"]).stdout, "moin\n");
    assert_eq!(containers(&lab), ["mysql", "wordpress"], "nothing is left of the old one");
}

#[test]
fn status_shows_record_state_address_port_and_link() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);

    let table = lab.wharf(&["status"]).succeeded().stdout;
    let line =
        table.lines().find(|line| line.contains("wordpress")).unwrap_or_else(|| panic!("{table}"));
    for shown in ["running", "8080", "private", "mysql", "blog", &lab.address("wordpress")] {
        assert!(line.contains(shown), "no {shown:?} in\n{table}");
    }

    let status: Value =
        serde_json::from_str(&lab.wharf(&["status", "--json"]).succeeded().stdout).unwrap();
    let mysql = in_status(&status, "mysql").unwrap_or_else(|| panic!("{status:#}")).to_string();
    assert!(mysql.contains("running") && mysql.contains(&lab.address("mysql")), "{mysql}");
}

#[test]
fn a_foreign_container_is_shown_and_never_touched() {
    let Some(lab) = Lab::new() else { return };
    lab.run_foreign("guest", "demo-db", &json!({}));
    let before = (lab.id("guest"), started_at(&lab, "guest"));
    street(&lab);
    apply(&lab);

    let table = lab.wharf(&["status"]).stdout;
    let line =
        table.lines().find(|line| line.contains("guest")).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains("foreign") || table.contains("foreign"), "{table}");

    for name in ["wordpress", "mysql"] {
        lab.db(&["docker_containers", "delete", name]);
    }
    apply(&lab);
    assert_eq!(containers(&lab), ["guest"]);
    assert_eq!((lab.id("guest"), started_at(&lab, "guest")), before);
}

#[test]
fn a_foreign_container_with_the_name_of_a_record_stays_and_is_named() {
    let Some(lab) = Lab::new() else { return };
    lab.run_foreign("mysql", "demo-web", &json!({}));
    let before = lab.id("mysql");
    set(&lab, "mysql service status enabled Image demo-db TCPPort 3306");
    set(&lab, &super::web("steady", 8081));

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["mysql", "foreign"]);

    assert_eq!(lab.id("mysql"), before);
    assert!(lab.runs("mysql") && lab.runs("steady"));
}

#[test]
fn a_disabled_record_stops_its_container_and_an_enabled_one_starts_it() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "mysql service status enabled Image demo-db TCPPort 3306");
    apply(&lab);
    assert!(lab.runs("mysql"));

    setprop(&lab, "mysql status disabled");
    apply(&lab);
    assert!(!lab.runs("mysql"));
    lab.wharf(&["plan"]).succeeded();

    setprop(&lab, "mysql status enabled");
    apply(&lab);
    assert!(lab.runs("mysql"));
}

#[test]
fn a_deleted_record_takes_its_container_and_leaves_its_data() {
    let Some(lab) = Lab::new() else { return };
    let records = [
        "inside service status enabled Image demo-db TCPPort 3306 PortMapping none DataMount container \
         DataMountPath /data DataMountWrite yes",
        "outside service status enabled Image demo-db TCPPort 3306 PortMapping none DataMount host \
         DataMountPath /data DataMountWrite yes",
    ];
    for record in records {
        set(&lab, record);
    }
    apply(&lab);
    for name in ["inside", "outside"] {
        let line = format!("echo written by {name} > /data/note");
        lab.exec(name, &["sh", "-c", &line]).succeeded();
        lab.db(&["docker_containers", "delete", name]);
    }
    apply(&lab);
    assert_eq!(containers(&lab), [""; 0]);

    for record in records {
        set(&lab, record);
    }
    apply(&lab);
    for name in ["inside", "outside"] {
        let note = lab.exec(name, &["cat", "/data/note"]);
        assert_eq!(note.stdout, format!("written by {name}\n"));
    }
}

#[test]
fn an_address_is_kept_in_the_record_and_outlives_the_container() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    let address = lab.address("wordpress");
    assert!(address.starts_with("10.0.3."), "{address}");
    let kept = lab.db(&["docker_containers", "getprop", "wordpress", "Address"]);
    assert_eq!(kept.trim_end(), address);

    // Lower in the alphabet: whoever numbers them at each pass would move the others.
    set(&lab, "alpha service status enabled Image demo-db TCPPort 3306 PortMapping none");
    lab.docker("DELETE", "/containers/wordpress?force=true", None);
    apply(&lab);

    assert_eq!(lab.address("wordpress"), address);
}

#[test]
fn a_start_by_hand_starts_what_it_is_linked_to_first() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    lab.wharf(&["stop", "wordpress"]).succeeded();
    assert!(!lab.runs("wordpress") && lab.runs("mysql"));
    lab.wharf(&["stop", "mysql"]).succeeded();
    assert!(!lab.runs("mysql"));

    apply(&lab);
    assert!(!lab.runs("wordpress") && !lab.runs("mysql"), "a stop by hand outlives a pass");

    lab.wharf(&["start", "wordpress"]).succeeded();
    assert!(lab.runs("wordpress") && lab.runs("mysql"));
    assert!(started_at(&lab, "mysql") < started_at(&lab, "wordpress"));
}

#[test]
fn a_restart_by_hand_is_of_one_container() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    let before = [started_at(&lab, "mysql"), started_at(&lab, "wordpress")];

    lab.wharf(&["restart", "wordpress"]).succeeded();

    assert!(lab.runs("wordpress"));
    assert_eq!(started_at(&lab, "mysql"), before[0]);
    assert!(started_at(&lab, "wordpress") > before[1]);
    lab.wharf(&["start", "nobody"]).ended_with(1).complains_of(&["nobody"]);
}

#[test]
fn what_somebody_did_to_our_containers_is_repaired() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    lab.docker("POST", "/containers/mysql/stop", None);
    lab.docker("DELETE", "/containers/wordpress?force=true", None);
    let plan = lab.wharf(&["plan"]).ended_with(3);
    assert!(plan.stdout.contains("mysql") && plan.stdout.contains("wordpress"), "{}", plan.stdout);

    apply(&lab);

    assert!(lab.runs("mysql") && lab.runs("wordpress"));
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn twenty_linked_containers_start_in_one_pass() {
    let Some(lab) = Lab::new() else { return };
    for n in 0..20 {
        let links = match n {
            0..4 => String::new(),
            _ => format!(" Interlinked box{:02}:db", n % 4),
        };
        set(
            &lab,
            &format!(
                "box{n:02} service status enabled Image demo-db TCPPort 3306 PortMapping none{links}"
            ),
        );
    }

    apply(&lab);

    let all: Vec<String> = (0..20).map(|n| format!("box{n:02}")).collect();
    assert_eq!(containers(&lab), all);
    assert!(all.iter().all(|name| lab.runs(name)));
    for n in 4..20 {
        let (from, to) = (format!("box{n:02}"), format!("box{:02}", n % 4));
        assert!(started_at(&lab, &to) < started_at(&lab, &from), "{from} started before {to}");
    }
    assert_eq!(lab.read_from("box19", "db", 3306).trim_end(), DB_TEXT);
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn records_in_flat_files_are_served_like_those_in_sqlite() {
    let Some(lab) = Lab::new() else { return };
    let flat = lab.scratch("flat");
    std::fs::create_dir(&flat).unwrap();
    std::fs::write(
        flat.join("docker_containers"),
        "mysql=service|Image|demo-db|TCPPort|3306|status|enabled\n",
    )
    .unwrap();

    let store = format!("esmith:{}", flat.display());
    lab.wharf_with(&[("WHARF_STORE", &store)], &["apply"]).succeeded();

    assert!(lab.runs("mysql"));
    let file = std::fs::read_to_string(flat.join("docker_containers")).unwrap();
    assert!(file.contains(&format!("Address|{}", lab.address("mysql"))), "{file}");
}

#[test]
fn an_engine_that_speaks_another_version_is_asked_for_its_own() {
    let Some(lab) = Lab::new() else { return };
    let endpoint = Endpoint::parse(&lab.docker_host(), None).unwrap();
    let version = ClientVersion { major_version: 1, minor_version: 999 };
    let engine = Engine::speaking(&endpoint, SOON, &version).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    lab.run_foreign("mine", "demo-db", &json!({}));

    let observed = runtime
        .block_on(async { Box::pin(engine.observe(engine.list().await, &Query::default())).await })
        .unwrap();

    assert_eq!(observed.foreign[0].name, "mine");
}

#[test]
fn whose_engine_it_is_is_said_by_any_answer_of_it() {
    let Some(lab) = Lab::new() else { return };
    let proxy = lab.proxy(|_| {});
    let endpoint = Endpoint::parse(&proxy.docker_host(), None).unwrap();
    let engine = Engine::new(&endpoint, SOON).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let is_podman = runtime.block_on(async { Box::pin(engine.is_podman()).await }).unwrap();

    assert_eq!(is_podman, lab.is_podman());
    assert_eq!(proxy.requests(), ["HEAD /_ping"]);
}

#[test]
fn a_volume_that_the_image_declares_goes_over_to_the_next_container() {
    let Some(lab) = Lab::new() else { return };
    lab.run_foreign("maker", "demo-db", &json!({}));
    let commit = "/commit?container=maker&repo=keeper&changes=VOLUME%20/kept";
    assert_eq!(lab.docker("POST", commit, Some(&json!({}))).status, 201);
    set(&lab, "box1 service status enabled Image keeper PortMapping none MaxMemory 32");
    apply(&lab);
    lab.exec("box1", &["sh", "-c", "echo precious > /kept/data"]).succeeded();
    let id = lab.id("box1");

    setprop(&lab, "box1 MaxMemory 48");
    apply(&lab);

    assert_ne!(lab.id("box1"), id);
    assert_eq!(lab.exec("box1", &["cat", "/kept/data"]).succeeded().stdout, "precious\n");
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn two_records_change_their_addresses_and_ports_with_each_other_in_one_pass() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} Address 10.0.3.7", web("one", 8080)));
    set(&lab, &format!("{} Address 10.0.3.8", web("two", 8081)));
    apply(&lab);
    lab.wharf(&["status"]).succeeded();

    setprop(&lab, "one Address 10.0.3.8 PortMappingPorts 8081:80");
    setprop(&lab, "two Address 10.0.3.7 PortMappingPorts 8080:80");
    let ran = lab.wharf(&["apply"]).succeeded();

    assert_eq!((lab.address("one"), lab.address("two")), ("10.0.3.8".into(), "10.0.3.7".into()));
    assert!(lab.runs("one") && lab.runs("two"), "{}", ran.stdout);
    lab.wharf(&["plan"]).succeeded();
}
