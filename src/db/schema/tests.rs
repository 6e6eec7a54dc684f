// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables agree with the parsers, with the design and with themselves; what a check says.

use super::*;
use bstr::{BStr, ByteSlice};

/// Every property of DESIGN section 4 and what was added to it.
const CONTAINER: &str = "status TCPPort UDPPort PortMapping PortMappingPorts access AllowHosts DenyHosts \
    network MountPath DataMount DataMountPath DataMountWrite Interlinked InterLinkPriority MaxMemory \
    SubDomain SubDomainName WebAlias Image Command Env_* Secret_* User WebPort MaxCpu MaxPids Health \
    HealthInterval HealthTimeout HealthRetries HealthStartPeriod StartAt StopAt StartOn StopOn StopGrace \
    Update UpdateWindow Capabilities ReadOnly Devices Tmpfs LogMaxSize HostAccess Egress Hold Address";
const IMAGE: &str = "Source Path Reference Digest Command Env_* TCPPort UDPPort User WebPort DataMountPath \
    Health";
const HOST: &str = "status Engine Endpoint TlsCertPath Bridge Subnet DataRoot LocalNetworks NameService EngineOptions Firewall Links \
    StorageDriver EngineDataRoot LiveRestore Profile WebServer DriftContainers DriftFiles DriftNetworks \
    DriftSysctls DriftUnits NotifyMail NotifyCommand";

fn check(database: &str, key: &str, properties: &[(&str, &str)]) -> Checked {
    check_type(database, key, "service", properties)
}

fn check_type(database: &str, key: &str, kind: &str, properties: &[(&str, &str)]) -> Checked {
    Schema::new(None).check_record(
        database,
        BStr::new(key),
        BStr::new(kind),
        properties.iter().map(|(name, value)| (BStr::new(*name), BStr::new(*value))),
    )
}

#[test]
fn the_tables_of_the_program_are_those_of_the_files() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("db-schema");
    let (built_in, written) = (Schema::new(None), Schema::new(Some(files)));
    for database in built_in.databases() {
        assert!(written.fault(database).is_none(), "{:?}", written.fault(database));
        assert!(built_in.of(database).is_some(), "{:?}", built_in.fault(database));
        assert_eq!(built_in.of(database), written.of(database));
    }
}

#[test]
fn every_table_is_read_and_has_the_properties_of_the_design() {
    let schema = Schema::new(None);
    for (database, expected) in
        [("docker_containers", CONTAINER), ("docker_images", IMAGE), ("configuration", HOST)]
    {
        assert!(schema.fault(database).is_none(), "{:?}", schema.fault(database));
        let table = schema.of(database).unwrap();
        assert_eq!(table.database, database);
        let mut names: Vec<&str> =
            table.types[0].properties.iter().map(|property| property.name.as_str()).collect();
        let mut expected: Vec<&str> = expected.split_whitespace().collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

#[test]
fn every_default_and_example_passes_its_own_kind() {
    let schema = Schema::new(None);
    let mut wrong = Vec::new();
    for database in schema.databases() {
        let table = schema.of(database).unwrap();
        for property in table.types.iter().flat_map(|one| &one.properties) {
            let mut texts = vec![property.example.as_str()];
            texts.extend(property.pending_values.iter().map(String::as_str));
            if let Missing::Default(default) = &property.missing {
                texts.push(default);
            }
            for text in texts {
                if let Err(bad) = property.kind.check(text) {
                    wrong.push(format!("{database} {} '{text}': {bad}", property.name));
                }
            }
            if !property.doc.ends_with('.') || property.doc.len() < 20 {
                wrong.push(format!("{database} {}: doc '{}'", property.name, property.doc));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_this_version_does_not_do_is_marked() {
    let schema = Schema::new(None);
    let pending = |database: &str| -> Vec<String> {
        let properties = &schema.of(database).unwrap().types[0].properties;
        properties.iter().filter(|one| one.pending.is_some()).map(|one| one.name.clone()).collect()
    };
    assert_eq!(pending("docker_containers"), ["SubDomain", "Secret_*", "Update", "UpdateWindow"]);
    assert_eq!(pending("docker_images"), ["Source", "Reference", "Digest"]);
    assert_eq!(pending("configuration"), ["Engine"]);
}

#[test]
fn a_fault_names_its_place_the_value_and_the_remedy() {
    let checked = check("docker_containers", "wiki", &[("Image", "a"), ("TCPPort", "80,99999")]);
    assert_eq!(checked.faults[0].value.as_deref(), Some("80,99999"));
    assert!(!checked.faults[0].is_about_several());
    let line = "docker_containers record 'wiki', property TCPPort: '99999' is no port";
    assert!(checked.faults[0].line().starts_with(line));
    insta::assert_snapshot!(checked, @r"
    error: docker_containers record 'wiki', property TCPPort
      because: '99999' is no port and no range; right would be ports from 1 to 65535 and ranges of them, as 80,443,5000-5010
      hint: db docker_containers setprop wiki TCPPort 80
    ");
}

#[test]
fn every_fault_of_a_record_is_found() {
    let properties = [
        ("status", "on"),
        ("HealthInterval", "0"),
        ("Env_1ST", "x"),
        ("StopAt", "0 19 * * *"),
        ("PortMapping", "custom"),
        ("SubDomain", "enabled"),
        ("DataMount", "host"),
        ("Interlinked", "db,w i:x"),
    ];
    insta::assert_snapshot!(check("docker_containers", "wiki", &properties), @"
    error: docker_containers record 'wiki', property status
      because: 'on' is none of the words allowed here; right would be enabled, disabled
      hint: db docker_containers setprop wiki status enabled
    error: docker_containers record 'wiki', property HealthInterval
      because: '0' is too short; right would be 1 second or more, as 10
      hint: db docker_containers setprop wiki HealthInterval 30
    error: docker_containers record 'wiki', property Env_1ST
      because: '1ST' is no name of an environment variable; right would be letters, digits, '_', '.' and '-', no digit first, as Env_TZ
      hint: db docker_containers delprop wiki Env_1ST
    error: docker_containers record 'wiki', property Interlinked
      because: 'w i' has the character ' '; right would be two letters, digits, '_', '.' or '-' or more, a letter or digit first, as wiki
      hint: db docker_containers setprop wiki Interlinked 'mariadb:db,redis'
    error: docker_containers record 'wiki', property PortMapping
      because: 'custom' needs PortMappingPorts, which is missing; right would be both, as PortMappingPorts '8080:80'
      hint: db docker_containers setprop wiki PortMapping custom PortMappingPorts 8080:80
    error: docker_containers record 'wiki', property SubDomain
      because: 'enabled' needs SubDomainName, which is missing; right would be both, as SubDomainName 'wiki'
      hint: db docker_containers setprop wiki SubDomain enabled SubDomainName wiki
    error: docker_containers record 'wiki', property StopAt
      because: '0 19 * * *' needs StartAt, which is missing; right would be both, as StartAt '30 7 * * mon-fri'
      hint: db docker_containers setprop wiki StopAt '0 19 * * *' StartAt '30 7 * * mon-fri'
    error: docker_containers record 'wiki', property DataMount
      because: 'host' needs DataMountPath, which is missing; right would be both, as DataMountPath '/var/lib/mysql'
      hint: db docker_containers setprop wiki DataMount host DataMountPath /var/lib/mysql
    warning: docker_containers record 'wiki', property SubDomain: The name is checked and kept, but the web server is not told of it yet; WebAlias works.
    ");
}

#[test]
fn a_link_to_itself_is_a_fault() {
    let properties = [("Interlinked", "db,wiki:self")];
    insta::assert_snapshot!(check("docker_containers", "wiki", &properties), @r"
    error: docker_containers record 'wiki', property Interlinked
      because: the container is linked to itself; right would be names of others
      hint: db docker_containers delprop wiki Interlinked
    ");
}

#[test]
fn a_key_that_is_no_name_and_a_wrong_type_are_faults_of_the_record() {
    insta::assert_snapshot!(check_type("docker_containers", "my wiki", "servce", &[]), @r"
    error: docker_containers record 'my wiki'
      because: 'my wiki' has the character ' '; right would be two letters, digits, '_', '.' or '-' or more, a letter or digit first, as wiki
    error: docker_containers record 'my wiki'
      because: the record has the type 'servce'; right would be service
      hint: db docker_containers settype 'my wiki' service
    ");
    let key = BStr::new(b"caf\xe9");
    let checked =
        Schema::new(None).check_record("docker_containers", key, BStr::new("service"), []);
    assert_eq!(checked.faults[0].wrong.wrong, "the key is not UTF-8");
}

/// A property of `docker_containers` as bytes, checked in the record of `key`.
fn check_bytes(key: &[u8], name: &[u8], value: &[u8]) -> Checked {
    let pair = (name.as_bstr(), value.as_bstr());
    Schema::new(None).check_record("docker_containers", key.as_bstr(), "service".into(), [pair])
}

#[test]
fn no_command_is_offered_for_what_no_command_can_name() {
    let remedy = |checked: Checked| checked.faults.last().unwrap().remedy.clone();
    assert!(remedy(check_bytes(b"wiki", b"TCPPort", b"x")).is_some());
    assert_eq!(remedy(check_bytes(b"caf\xe9", b"TCPPort", b"x")), None);
    assert_eq!(remedy(check_bytes(b"wiki", b"Env_\xe9", b"x")), None);
    assert_eq!(remedy(check_bytes(b"wiki", b"Env_\xe9", b"x\0")), None);
}

#[test]
fn a_name_cannot_begin_a_line_of_its_own() {
    let checked = check_bytes(b"wiki", b"Env_A\nerror: x\x1b[2J", b"x");
    assert_eq!(
        checked.faults[0].line(),
        r"docker_containers record 'wiki', property Env_A\nerror: x\u{1b}[2J: 'A\nerror: x\u{1b}[2J' is no name of an environment variable; right would be letters, digits, '_', '.' and '-', no digit first, as Env_TZ"
    );
    let checked = check_type("docker_containers", "wiki", "a\nb", &[]);
    assert_eq!(checked.to_string().lines().count(), 3, "{checked}");
}

#[test]
fn a_name_of_any_length_is_judged_at_once() {
    let name = "TCPPort".repeat(1_000_000);
    let checked = check("docker_containers", "wiki", &[(&name, "80")]);
    assert!(checked.warnings[0].about.ends_with("kept without effect"), "a name is near");
    let zeros = "0".repeat(100_000);
    let checked = check("docker_containers", "wiki", &[("HealthInterval", &zeros)]);
    assert!(checked.to_string().len() < 1000);
}

#[test]
fn a_value_that_may_be_a_password_is_never_shown() {
    let properties = [
        ("Env_A", "hunter2\0"),
        ("Secret_B", "hunter2\0"),
        ("Command", "mysql -phunter2 '"),
        ("secret_c", "hunter2"),
        ("Health", "cmd:  "),
    ];
    let checked = check("docker_containers", "wiki", &properties);
    let text = format!("{checked}\n{checked:?}\n{}", serde_json::to_string(&checked).unwrap());
    assert_eq!(checked.faults.len(), 4);
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(checked.faults[0].value.as_deref(), Some("***"));
}

#[test]
fn an_unknown_property_is_kept_with_a_warning_and_the_nearest_name() {
    let properties = [
        ("tcpport", "80"),
        ("Acess", "private"),
        ("ENV_TZ", "UTC"),
        ("Colour", "blue"),
        ("StartAt", "0 7 * * *"),
        ("status", "enabled"),
    ];
    let checked = check("docker_containers", "wiki", &properties);
    assert!(checked.faults.is_empty());
    insta::assert_snapshot!(checked, @r"
    warning: docker_containers record 'wiki', property tcpport: not known, kept without effect; did you mean TCPPort?
    warning: docker_containers record 'wiki', property Acess: not known, kept without effect; did you mean access?
    warning: docker_containers record 'wiki', property ENV_TZ: not known, kept without effect; did you mean Env_TZ?
    warning: docker_containers record 'wiki', property Colour: not known, kept without effect
    warning: docker_containers record 'wiki', property StartAt: without effect unless StopAt says when it stops again
    warning: docker_containers record 'wiki', property status: nothing to run: it is enabled and has no Image
    ");
}

#[test]
fn an_empty_value_counts_as_missing() {
    let properties = [
        ("Image", "mariadb:11"),
        ("TCPPort", ""),
        ("AllowHosts", ""),
        ("Env_EMPTY", ""),
        ("DataMount", ""),
    ];
    assert_eq!(check("docker_containers", "wiki", &properties), Checked::default());
    let custom =
        check("docker_containers", "wiki", &[("PortMapping", "custom"), ("PortMappingPorts", "")]);
    assert_eq!(custom.faults.len(), 1);
    assert!(custom.faults[0].is_about_several());
}

#[test]
fn a_data_mount_is_left_to_desired_when_the_image_may_know_its_path() {
    let checked = check("docker_containers", "wiki", &[("Image", "a"), ("DataMount", "host")]);
    assert!(checked.faults.is_empty());
    assert_eq!(checked.warnings[0].kind, WarningKind::Incomplete);
}

#[test]
fn what_has_no_effect_is_told() {
    let properties = [("DataMountPath", "/data"), ("AllowHosts", "1.1.1.1"), ("status", "enabled")];
    insta::assert_snapshot!(check("docker_containers", "wiki", &properties), @r"
    warning: docker_containers record 'wiki', property DataMountPath: without effect unless DataMount is container or host: data is lost with the container
    warning: docker_containers record 'wiki', property status: nothing to run: it is enabled and has no Image
    warning: docker_containers record 'wiki', property AllowHosts: without effect unless access is public
    ");
    let public = [("access", "public"), ("AllowHosts", "1.1.1.1")];
    assert_eq!(check("docker_containers", "wiki", &public), Checked::default());
}

#[test]
fn an_image_from_a_file_needs_its_path() {
    assert_eq!(check("docker_images", "wiki", &[("Source", "rootfs")]).faults.len(), 1);
    let kiwi = check("docker_images", "wiki", &[("Source", "kiwi")]);
    assert!(kiwi.faults.is_empty());
    assert_eq!(kiwi.warnings[0].kind, WarningKind::Pending);
    assert!(check("docker_images", "wiki", &[("Source", "registry")]).warnings.is_empty());
}

#[test]
fn only_the_record_docker_of_the_configuration_is_checked() {
    assert_eq!(check("configuration", "docker", &[("Subnet", "8.8.8.0/24")]).faults.len(), 1);
    assert_eq!(check("configuration", "httpd", &[("Subnet", "8.8.8.0/24")]), Checked::default());
    assert_eq!(check_type("configuration", "DomainName", "example.com", &[]), Checked::default());
}

#[test]
fn everything_passes_in_a_database_without_a_table() {
    assert_eq!(check("accounts", "a b", &[("TCPPort", "x")]), Checked::default());
}

#[test]
fn a_database_given_as_a_path_is_known_by_its_last_part() {
    let database = "/home/e-smith/db/docker_containers";
    assert_eq!(check(database, "wiki", &[("TCPPort", "x")]).faults.len(), 1);
}

#[test]
fn a_table_of_the_directory_takes_the_place_of_the_built_in_one() {
    let directory = tempfile::tempdir().unwrap();
    let table = "database: docker_images\ndoc: x\ntypes:\n  - type: picture\n    doc: x\n    properties: []\n";
    fs_write(&directory.path().join("docker_images.yaml"), table);
    let schema = Schema::new(Some(directory.path().to_owned()));
    assert_eq!(schema.of("docker_images").unwrap().types[0].kind, "picture");
    assert_eq!(schema.of("docker_containers").unwrap().types[0].kind, "service");
}

#[test]
fn a_broken_table_of_the_directory_is_told_and_the_built_in_one_used() {
    let directory = tempfile::tempdir().unwrap();
    let table = "database: docker_images\ndoc: x\ntypes:\n  - type: service\n    doc: x\n    properties:\n      \
        - {name: Path, kind: paht, default: /x, doc: x, example: /x}\n";
    fs_write(&directory.path().join("docker_images.yaml"), table);
    let schema = Schema::new(Some(directory.path().to_owned()));
    let checked = schema.check_record("docker_images", BStr::new("wiki"), BStr::new("service"), []);
    let text = checked.to_string().replace(&directory.path().display().to_string(), "DIR");
    insta::assert_snapshot!(text, @"warning: docker_images record 'wiki': DIR/docker_images.yaml is no table of properties (property Path: there is no such kind at line 7, column 9); the built-in table is used");
}

#[test]
fn the_manual_is_100_columns_wide_and_names_every_property() {
    let schema = Schema::new(None);
    for database in schema.databases() {
        let manual = schema.manual(database).unwrap().unwrap();
        let widest = manual.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{widest}");
        for property in &schema.of(database).unwrap().types[0].properties {
            assert!(manual.lines().any(|line| line.starts_with(&property.name)), "{manual}");
        }
    }
    assert!(schema.manual("accounts").unwrap().is_none());
    insta::assert_snapshot!(schema.manual("docker_images").unwrap().unwrap(), @"
    docker_images: One record for each image that needs more than its name; the key is what containers
    say in Image.

    Type service: How an image is had, and defaults for the containers that use it.

    property       values              unit  default         meaning
    -------------  ------------------  ----  --------------  -------------------------------------------
    Source         registry / archive        registry        Where the image comes from: a registry; an
                   / rootfs / kiwi /                         archive as the engine saves it; a tar file
                   yum                                       of a root file system; a KIWI description;
                                                             or packages installed with yum. [pending]
                                                             kiwi and yum are kept, but no image is
                                                             built from them yet.
    Path           /PATH                     (none; needed   The file of the archive or of the root file
                                             for archive     system, on this host.
                                             and rootfs)
    Reference      NAME[:TAG]                (the key)       The name by which the registry knows the
                   [@sha256:...]                             image, when it differs from the key.
                                                             [pending] It is checked and kept, but
                                                             images are pulled under the key only.
    Digest         sha256:...                (whatever is    The one content that is accepted under this
                                             found under     name. [pending] It is checked and kept, but
                                             the name)       not compared yet; Image may say
                                                             NAME@sha256:... itself.
    Command        command line              (the image's    Default of Command for the containers that
                                             own command)    use the image.
    Env_*          text                      (the image's    Default of an environment variable for the
                                             environment)    containers that use the image; the name of
                                                             the variable follows Env_.
    TCPPort        n, n-m, ...               (none)          Default of TCPPort for the containers that
                                                             use the image.
    UDPPort        n, n-m, ...               (none)          Default of UDPPort for the containers that
                                                             use the image.
    User           USER[:GROUP]              (the image's    Default of User for the containers that use
                                             user)           the image.
    WebPort        n                         (as for the     Default of WebPort for the containers that
                                             container)      use the image.
    DataMountPath  /PATH                     (none)          Where the image's application keeps its
                                                             data: the default of DataMountPath for the
                                                             containers that use the image.
    Health         cmd:COMMAND or            (the image's    Default of Health for the containers that
                   http:n[/PATH] or          own check)      use the image.
                   tcp:n

    A default in (...) is not a value but says what counts when the property is missing.
    ");
}

#[test]
fn the_table_for_programs_has_the_same_rows() {
    let schema = Schema::new(None);
    let json = schema.to_json("docker_containers").unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let properties = json["types"][0]["properties"].as_array().unwrap();
    assert_eq!(properties.len(), CONTAINER.split_whitespace().count());
    insta::assert_snapshot!(serde_json::to_string_pretty(&properties[0]).unwrap(), @r#"
    {
      "choices": [
        "enabled",
        "disabled"
      ],
      "default": "disabled",
      "doc": "Whether the container is wanted running. A disabled one is stopped and keeps its data.",
      "example": "enabled",
      "form": "enabled / disabled",
      "kind": "choice",
      "name": "status",
      "pending": null,
      "pending_values": [],
      "secret": false,
      "unit": null
    }
    "#);
}

/// `std::fs::write`, which production code must not use.
fn fs_write(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_secret_is_told_by_its_name() {
    let of = |name: &str| sounds_secret(BStr::new(name));
    for name in [
        "PSK",
        "Psk",
        "WpaPsk",
        "PresharedKey",
        "preshared",
        "Token",
        "ApiToken",
        "APIKey",
        "PrivateKey",
        "privkey_file",
        "Passphrase",
        "Password",
        "RootPw",
        "ClientSecret",
        "Bearer",
        "Otp",
        "DbCreds",
        "Community",
        "Cookie",
        "auth",
        "ENV_X",
    ] {
        assert!(of(name), "{name}");
    }
    for name in ["Port", "Author", "status", "Keyboard", "Compass_", "Path", "SmtpAuthPort"] {
        assert_eq!(of(name), name == "Compass_", "{name}");
    }
}
