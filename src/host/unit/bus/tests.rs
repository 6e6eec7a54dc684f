// SPDX-License-Identifier: GPL-2.0-or-later

//! What is said to systemd and what is made of its answers, with a systemd at the other end of a
//! socket pair that ends jobs as the test says. (The real one was tried in a booted container.)

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use zbus::connection::Builder;
use zbus::names::BusName;

use super::*;

/// How the stand-in ends the job of a unit; by the unit's name, `done` when it is not here.
type Ends = &'static [(&'static str, &'static str)];

const JOB: &str = "/org/freedesktop/systemd1/job/7";
const OTHER: &str = "/org/freedesktop/systemd1/job/6";
const LIMIT: Wait = Wait::For(Duration::from_secs(20));

/// A connection to a stand-in, and what was asked of it.
async fn systemd(ends: Ends) -> (Bus, Arc<Mutex<Vec<String>>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = Builder::unix_stream(theirs).server(zbus::Guid::generate()).p2p().build();
    let client = Builder::unix_stream(ours).p2p().build();
    let (server, client) = tokio::join!(server, client);
    let (server, client) = (server.unwrap(), client.unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let mut calls = MessageStream::from(&server);
    tokio::spawn(async move {
        while let Some(Ok(call)) = calls.next().await {
            answer(&server, &call, ends, &told).await;
        }
    });
    (Bus::on(client).await.unwrap(), asked)
}

async fn answer(server: &Connection, call: &Message, ends: Ends, told: &Mutex<Vec<String>>) {
    let header = call.header();
    let member = header.member().unwrap().to_string();
    let body = call.body();
    let removed = |job: &'static str, unit: String, result: &'static str| async move {
        let job = OwnedObjectPath::try_from(job).unwrap();
        let body = (7_u32, job, unit, result);
        let to = None::<BusName<'_>>;
        server.emit_signal(to, PATH, MANAGER, "JobRemoved", &body).await.unwrap();
    };
    let text = match member.as_str() {
        "KillUnit" => format!("{:?}", body.deserialize::<(String, String, i32)>().unwrap()),
        "EnableUnitFiles" => {
            format!("{:?}", body.deserialize::<(Vec<String>, bool, bool)>().unwrap())
        }
        "DisableUnitFiles" => format!("{:?}", body.deserialize::<(Vec<String>, bool)>().unwrap()),
        "Subscribe" | "Reload" => String::new(),
        _ => {
            let (unit, mode): (String, String) = body.deserialize().unwrap();
            if unit == "refused.service" {
                let name = "org.freedesktop.systemd1.NoSuchUnit";
                server.reply_error(&header, name, &"no such unit").await.unwrap();
                return;
            }
            let end = ends.iter().find(|(name, _)| *name == unit).map_or("done", |end| end.1);
            // Somebody else's job fails, and a fast one of ours is over before we know its name.
            removed(OTHER, unit.clone(), "failed").await;
            if end != "never" {
                removed(JOB, unit.clone(), end).await;
            }
            told.lock().unwrap().push(format!("{member} {unit} {mode}"));
            server.reply(&header, &OwnedObjectPath::try_from(JOB).unwrap()).await.unwrap();
            return;
        }
    };
    told.lock().unwrap().push(format!("{member} {text}"));
    server.reply(&header, &()).await.unwrap();
}

#[tokio::test]
async fn each_call_is_the_method_of_its_name() {
    let (mut bus, asked) = systemd(&[]).await;
    for call in [
        Call::Start,
        Call::Stop,
        Call::Restart,
        Call::Reload,
        Call::ReloadOrRestart,
        Call::TryRestart,
        Call::ReloadOrTryRestart,
        Call::Kill("SIGWINCH".to_owned()),
        Call::Enable,
        Call::Disable,
    ] {
        bus.call("a.service", &call, LIMIT).await.unwrap();
    }
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "Subscribe ",
            "StartUnit a.service replace",
            "StopUnit a.service replace",
            "RestartUnit a.service replace",
            "ReloadUnit a.service replace",
            "ReloadOrRestartUnit a.service replace",
            "TryRestartUnit a.service replace",
            "ReloadOrTryRestartUnit a.service replace",
            "KillUnit (\"a.service\", \"all\", 28)",
            "EnableUnitFiles ([\"a.service\"], false, false)",
            "Reload ",
            "DisableUnitFiles ([\"a.service\"], false)",
            "Reload ",
        ]
    );
}

#[tokio::test]
async fn the_end_of_our_job_counts_and_no_other() {
    let ends: Ends = &[("bad.service", "failed"), ("idle.service", "skipped")];
    let (mut bus, _) = systemd(ends).await;
    bus.call("good.service", &Call::Start, LIMIT).await.unwrap();
    bus.call("idle.service", &Call::TryRestart, LIMIT).await.unwrap();
    let error = bus.call("bad.service", &Call::Start, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "the job of bad.service ended with 'failed'");
    assert_eq!(error.remedy().as_deref(), Some("systemctl status bad.service"));
}

#[tokio::test]
async fn a_job_that_does_not_end_is_waited_for_only_so_long_or_not_at_all() {
    let (mut bus, _) = systemd(&[("slow.service", "never")]).await;
    let short = Wait::For(Duration::from_millis(50));
    let error = bus.call("slow.service", &Call::Start, short).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    bus.call("slow.service", &Call::Start, Wait::No).await.unwrap();
}

#[tokio::test]
async fn what_systemd_refuses_is_told_in_its_words() {
    let (mut bus, _) = systemd(&[]).await;
    let error = bus.call("refused.service", &Call::Start, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("no such unit"), "{error}");
    let kill = Call::Kill("SIGNONE".to_owned());
    let error = bus.call("a.service", &kill, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no signal SIGNONE");
}
