// SPDX-License-Identifier: GPL-2.0-or-later

use super::*;

mod web;

/// `template` with each `@` replaced by `value`, as the format writes it.
pub(super) fn one(format: Format, template: &str, value: &str) -> Result<String, Impossible> {
    let mut weaver = Weaver::new(format);
    let text = weaver.weave(&template.replace('@', &mark(value)))?;
    if let Err(open) = weaver.finish() {
        panic!("{open}: {text}");
    }
    Ok(text)
}

pub(super) fn written(format: Format, template: &str, value: &str) -> String {
    one(format, template, value).unwrap()
}

/// Why `value` is refused.
fn refused(format: Format, template: &str, value: &str) -> String {
    match one(format, template, value) {
        Ok(text) => panic!("{format:?} took it: {text}"),
        Err(impossible) => impossible.to_string(),
    }
}

/// Templates in which any value is refused.
fn never(format: Format, templates: &[&str]) {
    for template in templates {
        assert!(one(format, template, "a").is_err(), "{format:?}: {template}");
    }
}

fn unfinished(format: Format, texts: &[&str]) {
    for text in texts {
        let mut weaver = Weaver::new(format);
        weaver.weave(text).unwrap();
        assert!(weaver.finish().is_err(), "{format:?}: {text}");
    }
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
    assert_eq!(Format::from_name("perl"), None);
}

#[test]
fn a_part_of_a_word_can_be_a_value_in_every_format() {
    for format in Format::ALL {
        let template = match format {
            Format::Plain | Format::Shell | Format::Hosts => "http:@:@\n",
            Format::Sysconfig => "URL=http://@:@/\n",
            Format::Systemd => "[Service]\nExecStart=/bin/x http://@:@/\nPIDFile=http://@:@/\n",
            Format::Apache => "ProxyPass /a http://@:@/\n",
            Format::Nginx => "proxy_pass http://@:@/;\n",
            Format::Dnsmasq => "address=http://@:@/\n",
            Format::Nftables => "ip daddr . tcp dport http://@:@/\n",
            Format::Json => "\"http://@:@/\"",
            Format::Yaml => "url: http://@:@/\n",
            Format::Cron => "5 4 * * * root curl http://@:@/\n",
            Format::Crontab => "5 4 * * * curl http://@:@/\n",
            Format::Anacrontab => "7 5 cron.weekly curl http://@:@/\n",
        };
        let text = written(format, template, "80");
        let bare = text.replace('\'', "");
        assert_eq!(bare, template.replace('@', "80"), "{format:?}");
    }
}

#[test]
fn no_format_takes_nul_or_a_forged_mark() {
    for format in Format::ALL {
        let template = if format == Format::Json { "\"@\"" } else { "# @\n" };
        assert!(one(format, template, "a").is_ok(), "{format:?}");
        for value in ["a\0b", "a\u{fdd0}b", "a\u{fdd1}b", "a\u{fdd1}; evil\u{fdd0}b", "\u{fdd2}"] {
            assert!(one(format, template, value).is_err(), "{format:?}: {value:?}");
        }
        let mut weaver = Weaver::new(format);
        assert!(weaver.weave("\u{fdd1}").is_err());
        assert!(weaver.weave("\u{fdd0}a").is_err());
    }
}

#[test]
fn a_refusal_names_value_place_and_line() {
    let error = one(Format::Apache, "A b\nC \"@\"\n", "a\nb").unwrap_err();
    assert_eq!(error.line, 2);
    assert_eq!(error.value, "a\nb");
    assert_eq!(error.to_string(), r"'a\nb' cannot stand in an Apache argument: it has a newline");
    let long = refused(Format::Hosts, "@", &"ä ".repeat(100));
    assert!(long.chars().count() < 140 && long.contains("...'"), "{long}");
}

#[test]
fn a_position_goes_on_over_fragments() {
    let mut weaver = Weaver::new(Format::Shell);
    assert_eq!(weaver.weave("X=\"").unwrap(), "X=\"");
    assert_eq!(weaver.weave(&mark("$a")).unwrap(), "\\$a");
    weaver.weave("\"\n# ").unwrap();
    assert!(weaver.weave(&mark("a\nb")).is_err());

    let mut weaver = Weaver::new(Format::Sysconfig);
    weaver.weave(&format!("X={}", mark("a b"))).unwrap();
    let error = weaver.weave("c\n").unwrap_err();
    assert_eq!(error.value, "a b");
}

#[test]
fn shell() {
    let shell = |template: &str, value: &str| written(Format::Shell, template, value);
    assert_eq!(shell("echo @\n", "a'b$(c)"), "echo 'a'\"'\"'b$(c)'\n");
    assert_eq!(shell("echo \"@\"", "a\"b`c`$(d)\\"), r#"echo "a\"b\`c\`\$(d)\\""#);
    assert_eq!(shell("echo '@'", "a'b"), "echo 'a'\"'\"'b'");
    assert_eq!(shell("x=$(date) y=`id` # @\nz=@\n", "a"), "x=$(date) y=`id` # a\nz='a'\n");
    assert_eq!(shell("x=$HOME@\n", "a"), "x=$HOME'a'\n");
    assert_eq!(
        shell("cat <<EOF\n$(it's\nEOF\necho @\n", "a"),
        "cat <<EOF\n$(it's\nEOF\necho 'a'\n"
    );
    assert_eq!(
        shell("cat <<-'E F'\n\"\n\tEF\n\t\"\n\tE F\n", ""),
        "cat <<-'E F'\n\"\n\tEF\n\t\"\n\tE F\n"
    );
    assert_eq!(
        shell("x=${y:-z}; \"${x%%.*}\" \"$(a \"b\" 'c')\" @\n", "a").matches('\'').count(),
        4
    );
    assert_eq!(shell("echo a#@\n", "\n"), "echo a#'\n'\n");
    assert_eq!(shell("x[@]=$((1 + @))\n", "5"), "x[5]=$((1 + 5))\n");
    assert!(refused(Format::Shell, "x[@]=1\n", "y").contains("no whole number"));
    assert!(refused(Format::Shell, "# @\n", "a\nb").contains("a comment: it has a newline"));
    never(
        Format::Shell,
        &[
            "echo $(a @)\n",
            "echo \"$(a '@')\"\n",
            "echo `a @`\n",
            "echo $((1 + @))\n",
            "echo ${x:-@}\n",
            "cat <<@\na\n",
            "cat <<E\n@\nE\n",
            "x=\\@\n",
            "x=$@\n",
            "x=\"$@\"\n",
            "x=\"$HOME@\"\n",
            "x=\"a\\@\"\n",
            "@=b\n",
            "a@=b\n",
            "x=$'a' @\n",
            "\"$(case x in x) @ ;; esac)\"\n",
            "((x = 1 << 2)) @\n",
            "x=$[1 + @]\n",
            "declare -@ x=9\n",
            "eval @\n",
        ],
    );
    unfinished(Format::Shell, &["\"", "'", "`", "$(", "${x", "cat <<E\nF\n", "\"$(\"\")"]);
}

#[test]
fn sysconfig() {
    let line = |template: &str, value: &str| written(Format::Sysconfig, template, value);
    assert_eq!(line("X=\"@\"\n", "a\"b`c`$(d)\\"), "X=\"a\\\"b\\`c\\`\\$(d)\\\\\"\n");
    assert_eq!(line("X=@\n", "a b"), "X=\"a b\"\n");
    assert_eq!(line("X=@:@\n", "a"), "X=a:a\n");
    assert_eq!(line("X='@'", "a\"$b"), "X='a\"$b'");
    assert_eq!(line("X_@=1\n# @\n", "a"), "X_a=1\n# a\n");
    assert_eq!(line("export X=\"$Y\"\nZ=@", "-a"), "export X=\"$Y\"\nZ=\"-a\"");
    for value in ["a\nb", "a\rb", "\u{1b}", "\u{7f}", "\u{ffff}"] {
        assert!(one(Format::Sysconfig, "X=\"@\"\n", value).is_err(), "{value:?}");
        assert!(one(Format::Sysconfig, "X='@'\n", value).is_err(), "{value:?}");
        assert!(one(Format::Sysconfig, "X=@\n", value).is_err(), "{value:?}");
    }
    assert!(one(Format::Sysconfig, "X='@'\n", "a'b").is_err());
    assert!(one(Format::Sysconfig, "X=a@\n", "a b").is_err());
    assert!(one(Format::Sysconfig, "X=@:@\n", "a b").is_err());
    assert!(one(Format::Sysconfig, "# @\n", "a\\").is_err());
    assert!(one(Format::Sysconfig, "@=1\n", "a b").is_err());
    never(
        Format::Sysconfig,
        &[
            "X=\"$(a @)\"\n",
            "X=\"${a:-@}\"\n",
            "X=\"$a@\"\n",
            "X=\"`@`\"\n",
            "X=\"\\@\"\n",
            "X=\"a\"@\n",
            "X=@ b\n",
            "X=@ # b\n",
            "X=a\"@\"\n",
            "if [ -e /x ]; then\nX=@\nfi\n",
            ". /etc/x\nX=@\n",
        ],
    );
    unfinished(Format::Sysconfig, &["X=\"a\n", "X='"]);
}

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
fn dnsmasq() {
    let line = |template: &str, value: &str| written(Format::Dnsmasq, template, value);
    assert_eq!(line("a=@\n", "x,y"), "a=\"x,y\"\n");
    assert_eq!(line("a=b@c,\"@\"\n", "x \"#\\"), "a=b\"x \\\"#\\\\\"c,\"x \\\"#\\\\\"\n");
    assert_eq!(line("# @\na=@\n", "x"), "# x\na=x\n");
    assert_eq!(line("server=/@/1.2.3.4#53\n", "x.de"), "server=/x.de/1.2.3.4#53\n");
    for (template, value) in [
        ("a=@\n", "x\ny"),
        ("a=\"@\"\n", "x\ty"),
        ("a=@@\n", "x,y"),
        ("a=@\"b\"\n", "x,y"),
        ("server=/@/1.2.3.4\n", "x/y"),
        ("server=/\"@\"/1.2.3.4\n", "x/y"),
        ("server=@\n", "/x.de/1.2.3.4"),
        ("server=@\n", "1.2.3.4#54"),
        ("server=@\n", "1.2.3.4@eth0"),
        ("server=/x.de/@\n", "y/1.2.3.4"),
        ("address=/@/1.2.3.4\n", "#"),
        ("address=/@/1.2.3.4\n", "*"),
        ("local=/@/\n", ""),
        ("local=/\"@\"/\n", ""),
        ("# @\n", "x\ny"),
    ] {
        assert!(one(Format::Dnsmasq, template, value).is_err(), "{template}: {value:?}");
    }
    assert_eq!(line("rev-server=@,1.2.3.4\n", "10.0.0.0/8"), "rev-server=10.0.0.0/8,1.2.3.4\n");
    for template in ["# @\n", "a=@\n", "a=\"@\"\n", "a=@ b\n"] {
        assert!(one(Format::Dnsmasq, template, &"x".repeat(990)).is_ok());
        assert!(one(Format::Dnsmasq, template, &"x".repeat(1000)).is_err());
    }
    never(Format::Dnsmasq, &["@=a\n", "@\n", "a=\"\\@\"\n"]);
    unfinished(Format::Dnsmasq, &["a=\"b\n", "a=\""]);
}

#[test]
fn nftables() {
    let rule = |template: &str, value: &str| written(Format::Nftables, template, value);
    assert_eq!(
        rule("iifname \"@\" ip saddr @ # @\n", "a-b.c"),
        "iifname \"a-b.c\" ip saddr a-b.c # a-b.c\n"
    );
    assert_eq!(rule("log prefix \"@\"\n", "a;}{b # c"), "log prefix \"a;}{b # c\"\n");
    for (template, value) in [
        ("iifname \"@\"\n", "a\"b"),
        ("iifname \"@\"\n", "a*"),
        ("iifname \"@\"\n", "a\nb"),
        ("ip saddr @\n", "a b"),
        ("ip saddr @\n", "a;b"),
        ("ip saddr { @ }\n", "a, b"),
        ("ip saddr @\n", ""),
        ("# @\n", "a\nb"),
    ] {
        assert!(one(Format::Nftables, template, value).is_err(), "{template}: {value:?}");
    }
    unfinished(Format::Nftables, &["log prefix \"a\n"]);
}

#[test]
fn json() {
    let text = |template: &str, value: &str| written(Format::Json, template, value);
    assert_eq!(text("{@: @, \"a@\": [@ ]}", "true"), r#"{"true": "true", "atrue": ["true" ]}"#);
    assert_eq!(text("\"\\u00e4@\"", "\"\\\n\u{1b}\u{2028}"), r#""\u00e4\"\\\n\u001b\u2028""#);
    never(Format::Json, &["1@", "@1", "@@", "@ @", "@\"\"", "\"\\@\"", "\"\\u00@e4\"", "@{}"]);
    unfinished(Format::Json, &["\"a", "\"\\\""]);
}

#[test]
fn yaml() {
    let text = |template: &str, value: &str| written(Format::Yaml, template, value);
    assert_eq!(
        text("a: @\n@: b\n- @\n[@, @]\n{@: @}\n", "1"),
        "a: \"1\"\n\"1\": b\n- \"1\"\n[\"1\", \"1\"]\n{\"1\": \"1\"}\n"
    );
    assert_eq!(text("a: \"x@\" # @\nb: 'y@'\n", "it's"), "a: \"xit's\" # it's\nb: 'yit''s'\n");
    assert_eq!(text("a: http://@:@/\n", "h"), "a: http://h:h/\n");
    assert_eq!(text("a: it's @\n", "b"), "a: it's b\n");
    assert_eq!(
        text("a: |\n  \"x @\n\n   @\nb: @\n", "'y: #"),
        "a: |\n  \"x 'y: #\n\n   'y: #\nb: \"'y: #\"\n"
    );
    assert_eq!(text("- a: |-\n    @\n  b: @\n", "x"), "- a: |-\n    x\n  b: \"x\"\n");
    assert_eq!(text("- - >\n   @\n  - @\n", "x"), "- - >\n   x\n  - \"x\"\n");
    assert_eq!(text("a:\n  @\nb:\n- @\n", "x"), "a:\n  \"x\"\nb:\n- \"x\"\n");
    assert_eq!(
        text("a: @\n", "\n\u{1}\u{85}\u{feff}\"\\"),
        "a: \"\\n\\x01\\x85\\ufeff\\\"\\\\\"\n"
    );
    for (template, value) in [
        ("a: 'b@'\n", "x\ny"),
        ("a: b-@\n", "x: y"),
        ("a: b-@\n", "x #"),
        ("a: b-@\n", "x:"),
        ("a: |\n  @\n", "x\ny"),
        ("a: |\n  @\n", " x"),
        ("# @\n", "x\u{85}y: z"),
    ] {
        assert!(one(Format::Yaml, template, value).is_err(), "{template}: {value:?}");
    }
    never(
        Format::Yaml,
        &[
            "a: 1@\n",
            "a: 0x@\n",
            "a: n@\n",
            "a: fals@\n",
            "a: @:@\n",
            "a: @ b\n",
            "a: @ @\n",
            "a: @.@\n",
            "a: &@ b\n",
            "a: !@ b\n",
            "a: |@\n  b\n",
            "a: \"\\@\"\n",
            "a: b\n  @\n",
            "a: 'b'@\n",
            "a: -@\n",
        ],
    );
    unfinished(Format::Yaml, &["a: \"b\n", "a: 'b", "a: [b\n"]);
}

#[test]
fn hosts() {
    assert_eq!(
        written(Format::Hosts, "@ @.de # @\n", "fe80::1%eth0"),
        "fe80::1%eth0 fe80::1%eth0.de # fe80::1%eth0\n"
    );
    for value in ["a b", "a\nb", "", "#", "a/b", "ä"] {
        assert!(one(Format::Hosts, "1.2.3.4 @\n", value).is_err(), "{value:?}");
    }
    assert!(one(Format::Hosts, "# @\n", "a\nb").is_err());
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
