// SPDX-License-Identifier: GPL-2.0-or-later

use super::*;

mod system;
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
    for end in [" | sh", "|sh", " | sh # x"] {
        let mut weaver = Weaver::new(Format::Shell);
        weaver.weave(&format!("echo {}{end}", mark("a"))).unwrap();
        assert!(weaver.finish().is_err(), "{end}");
    }
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
