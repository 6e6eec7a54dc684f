// SPDX-License-Identifier: GPL-2.0-or-later

//! Units and crontabs.

use super::*;

#[test]
fn quadlet() {
    let unit = |template: &str, value: &str| written(Format::Systemd, template, value);
    assert_eq!(
        unit("[Container]\nExec=:/bin/x @\nEnvironment=\"A=@\"\nLabel=a=@\n", "b $c%\"\n"),
        "[Container]\nExec=:/bin/x b\\x20$$c%%\\x22\\n\nEnvironment=\"A=b $$c%%\\x22\\n\"\n\
         Label=a=b\\x20$$c%%\\x22\\n\n"
    );
    assert_eq!(
        unit("[Container]\nLabel=a=@\n", "b\u{a0}\\"),
        "[Container]\nLabel=a=b\\u00a0\\x5c\n"
    );
    // The section of systemd's own in the same file is systemd's.
    assert_eq!(
        unit("[Container]\nImage=@\n[Service]\nEnvironment=A=@\n", "a%b"),
        "[Container]\nImage=a%%b\n[Service]\nEnvironment=A=a%%b\n"
    );
    assert_eq!(unit("[Service]\nEnvironment=A=@\n", "$b"), "[Service]\nEnvironment=A=$b\n");
    assert_eq!(
        unit("[Pod]\nVolume=@\nVolume=/a/@\nPublishPort=80\n", "b"),
        "[Pod]\nVolume=b\nVolume=/a/b\nPublishPort=80\n"
    );
    assert_eq!(unit("[Container]\nVolume=@\n", "/a:/b"), "[Container]\nVolume=/a:/b\n");
    for (line, value) in [
        ("Image=@", "a$b"),
        ("Image=@", "a b"),
        ("Volume=@:/data", "/a:/b"),
        ("Volume=/a:@", "/b,Z"),
        ("Mount=type=bind,source=@", "/a,ro"),
        ("Secret=@,type=env", "a,b"),
        ("Environment=@", "A=1\u{1}"),
        ("Exec=$@", "a"),
        ("HealthCmd=@", "a\nExec=b"),
    ] {
        let template = format!("[Container]\n{line}\n");
        assert!(one(Format::Systemd, &template, value).is_err(), "{line}: {value}");
    }
}

#[test]
fn systemd() {
    let unit = |template: &str, value: &str| written(Format::Systemd, template, value);
    assert_eq!(
        unit("ExecStart=/bin/x @\n", "a b%\"$c'\\"),
        "ExecStart=/bin/x a\\x20b%%\\x22$$c\\x27\\\\\n"
    );
    assert_eq!(unit("ExecStart=:/bin/x \"@\"\n", "a b$"), "ExecStart=:/bin/x \"a b$\"\n");
    assert_eq!(unit("ExecStart=-@ a\n", "/bin/x y"), "ExecStart=-/bin/x\\x20y a\n");
    assert_eq!(unit("ExecStart=/a ; @\n", "/b"), "ExecStart=/a ; /b\n");
    assert_eq!(unit("ExecStart=/a @\n", ""), "ExecStart=/a \"\"\n");
    assert_eq!(unit("Environment=X=@ \"Y=@\"\n", "a $b"), "Environment=X=a\\x20$b \"Y=a $b\"\n");
    assert_eq!(unit("Description=On @\n", "a \"b\" 5%"), "Description=On a \"b\" 5%%\n");
    assert_eq!(unit("CPUQuota=@\nMemoryMax=@%\n", "20"), "CPUQuota=20\nMemoryMax=20%\n");
    assert_eq!(unit("CPUQuota=@\n", "20%"), "CPUQuota=20%\n");
    assert_eq!(
        unit("ExecStart=/a \\\n# it's \"@\n @\n", ";"),
        "ExecStart=/a \\\n# it's \";\n \\x3b\n"
    );
    assert_eq!(unit("[X-@]\nX-@=1\n", "a"), "[X-a]\nX-a=1\n");
    for (template, value) in [
        ("Description=@\n", "a\n[Service]"),
        ("Description=@\n", "a\\"),
        ("Description=@\n", " a"),
        ("Description=a \\\n@\n", "#b"),
        ("User=@\n", "a b"),
        ("User=@\n", "a\"b"),
        ("ExecStart=@ a\n", "+/bin/x"),
        ("ExecStart=/@ a\n", "$x"),
        ("Environment=X=@\n", "a\rb"),
        ("Environment=X=@\n", "\u{fffe}"),
        ("[@]\n", "a]\nb"),
        ("# @\n", "a\rX=y"),
    ] {
        assert!(one(Format::Systemd, template, value).is_err(), "{template}: {value:?}");
    }
    never(
        Format::Systemd,
        &[
            "ExecStart=/a $@\n",
            "ExecStart=/a $B@\n",
            "ExecStart=/a $B/@\n",
            "ExecStart=/a ${B@}\n",
            "ExecStart=/a %@\n",
            "Description=%@\n",
            "ExecStart=/a \\@\n",
        ],
    );
    unfinished(Format::Systemd, &["ExecStart=/a \"\n[Install]\n", "Environment='"]);
}

#[test]
fn a_unit_gives_no_value_to_a_shell_as_commands() {
    never(
        Format::Systemd,
        &[
            "ExecStart=/bin/sh -c \"echo @\"\n",
            "ExecStart=/bin/sh -c @\n",
            "ExecStart=/bin/bash -lc 'x @'\n",
            "ExecStart=-bash -e \\\n -c @\n",
            "ExecStart=/usr/bin/env sh -c -e \"@\"\n",
            "ExecStart=/bin/true ; /bin/sh -c @\n",
            "ExecStartPre=/bin/su - a -c \"echo @\"\n",
            "[Container]\nExec=sh -c \"echo @\"\n",
            "[Container]\nPodmanArgs=--health-cmd=@\n",
            "[Container]\nPodmanArgs=--health-cmd \"a @\"\n",
        ],
    );
    for key in ["HealthCmd", "HealthStartupCmd", "ReloadCmd"] {
        for value in ["a|id", "`id`", "a&b", "<a", "(id)"] {
            let template = format!("[Container]\n{key}=curl @\n");
            assert!(one(Format::Systemd, &template, value).is_err(), "{key}: {value}");
        }
    }
    let unit = |template: &str, value: &str| written(Format::Systemd, template, value);
    assert_eq!(
        unit("ExecStart=/bin/sh -c 'echo \"$$1\"' x @ -c @\n", "a;b"),
        "ExecStart=/bin/sh -c 'echo \"$$1\"' x a\\x3bb -c a\\x3bb\n"
    );
    assert_eq!(
        unit("ExecStart=/bin/sh -c \"sleep @\"\n", "5"),
        "ExecStart=/bin/sh -c \"sleep 5\"\n"
    );
    assert_eq!(
        unit("ExecStart=/bin/sh -c x ; /a -c @\n", "b"),
        "ExecStart=/bin/sh -c x ; /a -c b\n"
    );
    assert_eq!(
        unit("[Container]\nHealthCmd=curl @\n", "http://a:80/"),
        "[Container]\nHealthCmd=curl http://a:80/\n"
    );
}

#[test]
fn cron() {
    let line = |template: &str, value: &str| written(Format::Cron, template, value);
    assert_eq!(line("@ @ * * * root a @ \"@\" # @\n", "5").matches('5').count(), 5);
    assert_eq!(line("5 4 * * * @ a\n", "www-data"), "5 4 * * * www-data a\n");
    assert_eq!(
        line("5 4 * * * root a @ \"@\"\n", "10% '$x\n".trim_end()),
        "5 4 * * * root a '10\\% '\"'\"'$x' \"10\\% '\\$x\"\n"
    );
    assert_eq!(line("A=@\nB=\"@\"\n", "a b"), "A=a b\nB=\"a b\"\n");
    for (template, value) in [
        ("@ 4 * * * root a\n", "5 4"),
        ("5 4 * * * @ a\n", "root rm"),
        ("5 4 * * * root a @\n", "a\nb"),
        ("5 4 * * * root a @\n", "a\\b"),
        ("A=@\n", "a\nb"),
        ("A=@\n", " a"),
        ("A=\"@\"\n", "a\"b"),
        ("# @\n", "a\nb"),
    ] {
        assert!(one(Format::Cron, template, value).is_err(), "{template}: {value:?}");
    }
    let long = "x".repeat(1000);
    assert!(one(Format::Cron, "5 4 * * * root a @\n", &long).is_err());
    never(Format::Cron, &["5 4 * * * root a @ | sh\n", "5 4 * * * root a @|sh%x\n"]);
    never(
        Format::Cron,
        &["5 4 * * * root a%@\n", "5 4 * * * root $(a @)\n", "5 4 * * * root a \\@\n"],
    );
    unfinished(Format::Cron, &["5 4 * * * root \"a\n", "5 4 * * * root 'a"]);
}

#[test]
fn tables_of_cron_without_a_user() {
    let user = |template: &str, value: &str| written(Format::Crontab, template, value);
    assert_eq!(user("@ @ * * @ a @ # @\n", "5"), "5 5 * * 5 a '5' # 5\n");
    assert_eq!(user("5 4 * * * @ a\n", "/bin/x y"), "5 4 * * * '/bin/x y' a\n");
    let mut weaver = Weaver::new(Format::Crontab);
    let daily = format!("@daily a {}\n", mark("b c"));
    assert_eq!(weaver.weave(&daily).unwrap(), "@daily a 'b c'\n");
    assert_eq!(user("5 4 * * * a @\nB=@\n", "10%"), "5 4 * * * a '10\\%'\nB=10%\n");
    let anacron = |template: &str, value: &str| written(Format::Anacrontab, template, value);
    assert_eq!(anacron("@ @ job.@ a @\n", "5"), "5 5 job.5 a '5'\n");
    assert_eq!(anacron("1 5 a @ \"@\"\nX=@\n", "10% b"), "1 5 a '10% b' \"10% b\"\nX=10% b\n");
    assert_eq!(anacron("1 5 a b % @\n", "$x"), "1 5 a b % '$x'\n");
    let long = "x".repeat(2000);
    assert!(one(Format::Anacrontab, "1 5 a b @\n", &long).is_ok());
    for format in [Format::Crontab, Format::Anacrontab] {
        for (template, value) in [
            ("@ 4 * * * a\n", "5 4"),
            ("5 @ x a\n", "5 4"),
            ("5 4 @ a\n", "a/b;c"),
            ("5 4 * * * a @\n", "a\nb"),
            ("A=@\n", "a\nb"),
        ] {
            assert!(one(format, template, value).is_err(), "{format:?} {template}: {value:?}");
        }
    }
    never(
        Format::Crontab,
        &["5 4 * * * sh -c @\n", "5 4 * * * eval @\n", "5 4 * * * a%@\n", "5 4 * * * $(a @)\n"],
    );
    never(Format::Anacrontab, &["1 5 a sh -c @\n", "1 5 a eval @\n", "1 5 a $(a @)\n"]);
}

#[test]
fn no_unit_gives_a_value_to_a_shell_that_it_names_otherwise() {
    for line in [
        "ExecStart=/bin/rbash -c @",
        "ExecStart=ksh93 -c @",
        "ExecStart=/usr/bin/fish -c @",
        "ExecStart=${SHELL} -c @",
        "ExecStart=$SHELL -c @",
        "ExecStart=/bin/@ -c @",
        "ExecStart=/usr/bin/ssh host @",
        "ExecStart=/usr/bin/env -S @",
        "ExecStart=/usr/bin/tmux new -d @",
    ] {
        let error = refused(Format::Systemd, &format!("[Service]\n{line}\n"), "sh");
        assert!(error.contains("would be run"), "{line}: {error}");
    }
    for text in [
        "Entrypoint=sh\nExec=-c @\n",
        "Entrypoint=[\"/bin/sh\", \"-c\"]\nExec=@\n",
        "Exec=-c @\nEntrypoint=/bin/bash\n",
        "PodmanArgs=--entrypoint sh\nExec=-c @\n",
        "Entrypoint=@\nExec=-c @\n",
    ] {
        let error = refused(Format::Systemd, &format!("[Container]\n{text}"), "sh");
        assert!(error.contains("would be run"), "{text}: {error}");
    }
    for text in ["Exec=-c @\n", "Entrypoint=/bin/app\nExec=-c @\n", "Entrypoint=sh\nExec=/a @\n"] {
        let template = format!("[Container]\n{text}");
        assert_eq!(written(Format::Systemd, &template, "x"), template.replace('@', "x"));
    }
}

#[test]
fn no_script_gives_a_value_to_a_shell_that_it_names_otherwise() {
    never(
        Format::Shell,
        &[
            "rbash -c @\n",
            "ksh93 -c @\n",
            "mksh -c @\n",
            "fish -c @\n",
            "yash -c @\n",
            "/bin/tcsh -c @\n",
            "csh -c @\n",
            "$0 -c @\n",
            "sudo $SHELL -c @\n",
            "echo @ | rbash\n",
            "echo @ | $SHELL\n",
            "ssh host @\n",
            "ssh -p 22 root@host \"ls @\"\n",
            "echo @ | ssh host\n",
            "watch -n1 @\n",
            "tmux new -d @\n",
            "parallel @\n",
            "PROMPT_COMMAND+=(@)\n",
            "PROMPT_COMMAND=(a @)\n",
            "declare -a PROMPT_COMMAND=(@)\n",
            "echo @ | mysql\n",
            "mapfile -t x < <(echo @) -C f\n",
            "curl -K - <<< @\n",
        ],
    );
    for text in ["ssh -p 22 @\n", "ssh @ ls\n", "$EDITOR @\n", "echo @ | sudo tee /etc/x\n"] {
        assert_eq!(written(Format::Shell, text, "x"), text.replace('@', "'x'"));
    }
}
