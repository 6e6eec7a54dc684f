// SPDX-License-Identifier: GPL-2.0-or-later

//! Options of dnsmasq, asked back over the loopback as TXT records.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;

/// What the name server at `port` tells about `name`, and the length of what it was asked.
fn query(socket: &UdpSocket, name: &str, kind: u8) -> (Vec<u8>, usize) {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.bytes());
    }
    question.extend([0, 0, kind, 0, 1]);
    let mut answer = [0; 2048];
    for _ in 0..20 {
        // Nobody listens yet, or the answer got lost: ask again.
        if socket.send(&question).is_ok()
            && let Ok(length) = socket.recv(&mut answer)
        {
            return (answer[..length].to_vec(), question.len());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no answer about {name}");
}

/// The strings of the TXT record `name`.
fn ask(socket: &UdpSocket, name: &str) -> Vec<u8> {
    let (answer, asked) = query(socket, name, 16);
    assert_eq!(answer[7], 1, "no answer about {name}");
    // Name (a pointer), type, class, time to live, length.
    answer[asked + 12..].to_vec()
}

/// A name server with the options in `file`, and a way to ask it.
fn serve(file: &str, directory: &Path) -> (process::Daemon, UdpSocket) {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = process::command("dnsmasq");
    command.args(["--no-daemon", "--no-resolv", "--no-hosts", "--bind-interfaces", "-C", file]);
    command.args([
        "--listen-address=127.0.0.1",
        &format!("--port={free}"),
        "--user=",
        "--pid-file=",
    ]);
    let server = process::Daemon::spawn(&mut command, directory.join("log"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", free)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    (server, socket)
}

#[test]
fn dnsmasq_tells_every_value_and_has_no_other_option() {
    if !can_run(&["dnsmasq"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // A string of a TXT record has 255 bytes at most.
    let values: Vec<String> = values().into_iter().filter(|value| value.len() < 250).collect();
    for (name, line) in [
        ("bare", "txt-record=n№.x,¤\n"),
        ("double", "txt-record=n№.x,\"x¤y\" # ¤\n"),
        ("inside", "# ¤\ntxt-record=n№.x,x¤y\n"),
    ] {
        let sheet = Sheet::new(Format::Dnsmasq, "", line, &values);
        assert_eq!(sheet.text.lines().count(), sheet.held.len() * line.lines().count());
        let file = sheet.write(directory.path(), &format!("dnsmasq-{name}"));
        let file = file.to_str().unwrap();
        let checked = process::command("dnsmasq").args(["--test", "-C", file]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

        let (server, socket) = serve(file, directory.path());
        let found: Vec<String> = (0..sheet.held.len())
            .map(|number| {
                let data = ask(&socket, &format!("n{number}.x"));
                let length = usize::from(*data.first().unwrap_or(&0));
                assert_eq!(data.len(), length + 1, "n{number}: more than one string");
                String::from_utf8_lossy(&data[1..]).into_owned()
            })
            .collect();
        drop(server);
        sheet.assert_read(&found, |value| {
            if name == "bare" { value.to_owned() } else { format!("x{value}y") }
        });
    }
}

#[test]
fn a_domain_from_a_value_is_no_other_domain() {
    if !can_run(&["dnsmasq"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("conf");
    let addresses = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let (server, socket) = serve(file.to_str().unwrap(), directory.path());
        let found = query(&socket, "other.y", 1).0[7];
        drop(server);
        found
    };
    // So it would be with the value as it is.
    assert_eq!(addresses("address=/#/127.9.9.9\n"), 1);
    let line = "address=/¤/127.9.9.9\n";
    let values = ["#", "/y/", "*", "", "good.x", "a/y", "10.0.0.1", "*.y"].map(str::to_owned);
    let sheet = Sheet::taken(Format::Dnsmasq, "", line, &values);
    assert_eq!(sheet.held, ["good.x", "10.0.0.1"]);
    assert_eq!(addresses(&sheet.text), 0);
}
