// SPDX-License-Identifier: GPL-2.0-or-later

//! What `db` says about records that do not go together, when one is written and when all are
//! checked. Every write here succeeds: a clash is told, never refused.

use std::path::Path;

use crate::lab::process::{Ran, command, run};

/// Both stores say the same: `SQLite` below the root, and e-smith's files.
fn on_each_store(promise: impl Fn(&Desk)) {
    insta::allow_duplicates! {
        for flat in [false, true] {
            let root = tempfile::tempdir().unwrap();
            promise(&Desk { root, flat });
        }
    }
}

struct Desk {
    root: tempfile::TempDir,
    flat: bool,
}

impl Desk {
    fn db(&self, line: &str) -> Ran {
        let mut command = command(env!("CARGO_BIN_EXE_wharf"));
        let root: &Path = self.root.path();
        // No engine answers here: what is asked of one would fail or hang.
        command.args(["db"]).args(line.split(' ')).env("WHARF_ROOT", root);
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env_remove("WHARF_STORE");
        if self.flat {
            command.env("DBPATH", root);
        } else {
            command.env_remove("DBPATH");
        }
        run(&mut command, 20)
    }

    /// Writes without a warning.
    #[track_caller]
    fn quiet(&self, line: &str) -> &Self {
        assert_eq!(self.db(line).succeeded().stderr, "", "{line}");
        self
    }

    /// An enabled container, without a warning.
    #[track_caller]
    fn container(&self, name: &str, properties: &str) -> &Self {
        self.quiet(&format!("docker_containers set {name} {ENABLED} {properties}"))
    }

    /// Writes with a warning.
    #[track_caller]
    fn told(&self, line: &str) -> String {
        let told = self.db(line).succeeded().stderr;
        assert!(told.starts_with("warning: "), "{told}");
        told
    }
}

const ENABLED: &str = "service Image app status enabled";

#[test]
fn a_port_that_another_record_has_is_told() {
    on_each_store(|desk| {
        desk.container("blog", "TCPPort 80 UDPPort 53");
        let set = |name: &str, rest: &str| {
            desk.told(&format!("docker_containers set {name} {ENABLED} {rest}"))
        };
        let told = set("aa", "TCPPort 80");
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'aa', property TCPPort '80/tcp'
          because: port 80/tcp of the host belongs to record 'blog' already
          hint: db docker_containers setprop aa PortMapping custom PortMappingPorts FREEPORT:80
        ");
        let told = set("aa", "PortMapping custom PortMappingPorts 80:8080,1053:53/udp");
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'aa', property PortMappingPorts '80/tcp'
          because: port 80/tcp of the host belongs to record 'blog' already
          hint: db docker_containers setprop aa PortMapping custom PortMappingPorts FREEPORT:8080
        ");
        let told = set("bb", "PortMapping custom PortMappingPorts 53:53/udp");
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'bb', property PortMappingPorts '53/udp'
          because: port 53/udp of the host belongs to record 'blog' already
          hint: db docker_containers setprop bb PortMapping custom PortMappingPorts FREEPORT:53/udp
        ");
        // The write was made, and what mends it says nothing.
        desk.quiet("docker_containers setprop aa PortMappingPorts 8080:8080");
        desk.quiet("docker_containers setprop bb status disabled");
        desk.quiet("docker_containers setprop blog access public");
    });
}

#[test]
fn an_alias_and_a_host_name_that_another_record_has_are_told() {
    on_each_store(|desk| {
        desk.container("blog", "TCPPort 80 PortMapping none WebAlias wiki");
        desk.container("wiki", "TCPPort 80 PortMapping none");
        insta::assert_snapshot!(desk.told("docker_containers setprop wiki WebAlias wiki"), @"
        warning: docker_containers record 'wiki', property WebAlias 'wiki'
          because: record 'blog' has it already; choose another
          hint: db docker_containers setprop wiki WebAlias wiki-2
        ");
        desk.quiet("docker_containers setprop wiki WebAlias w");

        desk.db("docker_containers setprop blog SubDomain enabled SubDomainName www").succeeded();
        let told = desk.told("docker_containers setprop wiki SubDomain enabled SubDomainName www");
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'wiki', property SubDomain: The name is checked and kept, but the web server is not told of it yet; WebAlias works.
        warning: docker_containers record 'wiki', property SubDomainName 'www'
          because: record 'blog' has it already; choose another
          hint: db docker_containers setprop wiki SubDomainName wiki
        ");
        desk.quiet("docker_containers setprop wiki SubDomainName wiki");
    });
}

#[test]
fn an_address_that_another_record_has_is_told() {
    on_each_store(|desk| {
        desk.container("wiki", "Address 10.0.3.9");
        let told = desk.told(&format!("docker_containers set blog {ENABLED} Address 10.0.3.9"));
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'blog', property Address '10.0.3.9'
          because: record 'wiki' has it already
          hint: db docker_containers delprop blog Address
        ");
        desk.quiet("docker_containers delprop blog Address");
    });
}

#[test]
fn a_link_to_nothing_and_one_that_comes_back_are_told() {
    on_each_store(|desk| {
        let told = desk.told(&format!("docker_containers set blog {ENABLED} Interlinked mysql:db"));
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'blog', property Interlinked 'mysql'
          because: there is no record 'mysql' in docker_containers
          hint: db docker_containers set mysql service status enabled Image IMAGE
        ");
        desk.container("mysql", "TCPPort 3306");
        insta::assert_snapshot!(desk.told("docker_containers setprop mysql Interlinked blog"), @"
        warning: docker_containers record 'mysql', property Interlinked
          because: these links go round in a circle: blog -> mysql -> blog; none could start first
          hint: db docker_containers delprop mysql Interlinked
        ");
        desk.quiet("docker_containers delprop mysql Interlinked");
        insta::assert_snapshot!(desk.told("docker_containers delete mysql"), @"
        warning: docker_containers record 'blog', property Interlinked 'mysql'
          because: there is no record 'mysql' in docker_containers
          hint: db docker_containers set mysql service status enabled Image IMAGE
        ");
    });
}

#[test]
fn records_that_are_written_together_are_judged_together() {
    on_each_store(|desk| {
        let record = |name: &str, props: &str| {
            format!(
                r#"{{"name":"{name}","type":"service","props":{{"status":"enabled","Image":"app",{props}}}}}"#
            )
        };
        let (blog, mysql) =
            (record("blog", r#""Interlinked":"mysql""#), record("mysql", r#""TCPPort":"3306""#));
        desk.quiet(&format!("docker_containers setjson [{blog},{mysql}]"));
        let (blog, wiki) =
            (record("blog", r#""TCPPort":"80""#), record("wiki", r#""TCPPort":"80""#));
        let told = desk.told(&format!("docker_containers setjson [{blog},{wiki}]"));
        assert!(told.contains("record 'wiki', property TCPPort '80/tcp'"), "{told}");
        assert_eq!(told.matches("warning:").count(), 1, "{told}");
    });
}

#[test]
fn limits_of_memory_beyond_the_machine_are_told() {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let machine = total.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1024;
    let most = machine * 2 / 3;
    on_each_store(|desk| {
        let told = desk.told(&format!("docker_containers set huge {ENABLED} MaxMemory 8000000g"));
        for part in ["record 'huge'", "MaxMemory '8000000g'", "hint:", &format!("{machine} MB")] {
            assert!(told.contains(part), "{told}");
        }
        desk.container("huge", &format!("MaxMemory {most}"));
        let told = desk.told(&format!("docker_containers set wiki {ENABLED} MaxMemory {most}"));
        for part in
            ["MaxMemory", "huge", "wiki", "hint: db docker_containers setprop huge MaxMemory"]
        {
            assert!(told.contains(part), "{told}");
        }
        desk.quiet(&format!("docker_containers setprop wiki MaxMemory {}", most - 1));
        desk.quiet("docker_containers delprop wiki MaxMemory");
    });
}

#[test]
fn a_default_of_an_image_and_the_subnet_of_the_host_count_too() {
    on_each_store(|desk| {
        desk.container("blog", "TCPPort 81").container("wiki", "access private");
        desk.quiet("docker_images set app service TCPPort 80");
        let told = desk.told("docker_images setprop app TCPPort 81");
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'wiki', property TCPPort '81/tcp'
          because: port 81/tcp of the host belongs to record 'blog' already
          hint: db docker_containers setprop wiki PortMapping custom PortMappingPorts FREEPORT:81
        ");
        desk.quiet("configuration set httpd service TCPPort 81");
        for name in ["aa", "bb", "cc", "dd"] {
            desk.db(&format!("docker_containers set {name} {ENABLED} TCPPort 90{}", name.len()));
        }
        let told = desk.told("configuration set docker service Subnet 10.9.9.0/29");
        assert!(told.contains("no address of 10.9.9.0/29 is free"), "{told}");
    });
}

#[test]
fn a_clash_is_no_concern_of_other_databases_nor_of_a_write_without_the_check() {
    on_each_store(|desk| {
        desk.container("blog", "TCPPort 80");
        let clash = format!("set wiki {ENABLED} TCPPort 80");
        desk.quiet(&format!("--no-check docker_containers {clash}"));
        desk.quiet(&format!("accounts {clash}"));
        // It was there before: no news.
        desk.quiet("docker_containers setprop wiki access public");
        desk.quiet("docker_containers delete wiki");
        desk.told(&format!("--no-check --check docker_containers {clash}"));
    });
}

#[test]
fn all_records_of_a_database_are_checked_at_once() {
    on_each_store(|desk| {
        desk.quiet("--check docker_containers").container("blog", "TCPPort 80");
        desk.quiet("--check docker_containers").quiet("--no-check --check docker_images");
        desk.db("docker_containers setprop blog Colour blue").succeeded();
        let told = desk.told("--check docker_containers");
        insta::assert_snapshot!(told, @"warning: docker_containers record 'blog', property Colour: not known, kept without effect");

        let wiki = "Interlinked none TCPPort 80,99999 PortMapping custom PortMappingPorts 80:80";
        desk.quiet(&format!("--no-check docker_containers set wiki {ENABLED} {wiki}"));
        desk.quiet("--no-check configuration set docker service Subnet 8.8.8.0/24");
        let ran = desk.db("--check docker_containers").ended_with(1);
        insta::assert_snapshot!(ran.stderr, @"
        warning: docker_containers record 'blog', property Colour: not known, kept without effect
        error: docker_containers record 'wiki', property TCPPort
          because: '99999' is no port and no range; right would be ports from 1 to 65535 and ranges of them, as 80,443,5000-5010
          hint: db docker_containers setprop wiki TCPPort 80
        error: docker_containers record 'blog', property network 'bridge'
          because: the managed bridge cannot be used; see the record 'docker' of configuration
        error: docker_containers record 'wiki', property PortMappingPorts '80/tcp'
          because: port 80/tcp of the host belongs to record 'blog' already
          hint: db docker_containers setprop wiki PortMapping custom PortMappingPorts FREEPORT:80
        error: docker_containers record 'wiki', property Interlinked 'none'
          because: there is no record 'none' in docker_containers
          hint: db docker_containers set none service status enabled Image IMAGE
        error: docker_containers record 'wiki', property network 'bridge'
          because: the managed bridge cannot be used; see the record 'docker' of configuration
        ");
        assert_eq!(ran.stdout, "");
        desk.db("--check configuration").ended_with(1).complains_of(&["Subnet", "8.8.8.0/24"]);
        desk.db("--check accounts").succeeded().complains_of(&["no schema"]);
        // The last of the two counts, and without a verb it is a usage error as ever.
        desk.db("--check --no-check docker_containers").ended_with(255).complains_of(&["usage"]);
        desk.db("--check ../x").ended_with(1).complains_of(&["cannot be the name"]);
        desk.db("--check docker_containers setprop wiki TCPPort x").ended_with(1);
    });
}

#[test]
fn config_checks_the_configuration() {
    let root = tempfile::tempdir().unwrap();
    let config = |args: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_wharf"));
        command.arg("config").args(args).env("WHARF_ROOT", root.path());
        run(command.env_remove("DBPATH").env_remove("WHARF_STORE"), 20)
    };
    config(&["--check"]).succeeded();
    config(&["--no-check", "set", "docker", "service", "Bridge", "a b"]).succeeded();
    config(&["--check"]).ended_with(1).complains_of(&["record 'docker', property Bridge"]);
    config(&["--check", "setprop", "docker", "Bridge", "a:b"]).ended_with(1);
    config(&["--check", "setprop", "docker", "Bridge", "apps0"]).succeeded();
    config(&["--check"]).succeeded();
}

#[test]
fn a_line_that_is_no_record_is_a_fault() {
    let desk = Desk { root: tempfile::tempdir().unwrap(), flat: true };
    let file = desk.root.path().join("docker_containers");
    std::fs::write(file, "blog=service|status|disabled\nwiki\n").unwrap();
    desk.db("--check docker_containers").ended_with(1).complains_of(&["line 'wiki'", "no '='"]);
}

#[test]
fn a_misspelt_property_is_kept_and_the_nearest_name_told() {
    on_each_store(|desk| {
        let told = desk.told("docker_containers set wiki service tcpport 80 Acess private");
        insta::assert_snapshot!(told, @"
        warning: docker_containers record 'wiki', property Acess: not known, kept without effect; did you mean access?
        warning: docker_containers record 'wiki', property tcpport: not known, kept without effect; did you mean TCPPort?
        ");
        assert_eq!(desk.db("docker_containers getprop wiki Acess").succeeded().stdout, "private\n");
    });
}
