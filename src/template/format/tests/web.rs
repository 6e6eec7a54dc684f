// SPDX-License-Identifier: GPL-2.0-or-later

use super::*;

#[test]
fn apache() {
    let line = |template: &str, value: &str| written(Format::Apache, template, value);
    assert_eq!(line("A \"@\"\n", "a\"b\\</VirtualHost>'"), "A \"a\\\"b\\\\</VirtualHost>'\"\n");
    assert_eq!(line("A '@'\n", "a\"b'"), "A 'a\"b\\''\n");
    assert_eq!(line("A @ b\n", "a b"), "A \"a b\" b\n");
    assert_eq!(line("A @ b\n", ""), "A \"\" b\n");
    assert_eq!(line("<Location @>\n</Location>\n", "/a b"), "<Location \"/a b\">\n</Location>\n");
    assert_eq!(line("A \"${B}@\" ^/a@$\n", "x$"), "A \"${B}x$\" ^/ax$$\n");
    assert_eq!(line("# a \\\nit's \"@\nA @\n", "'"), "# a \\\nit's \"'\nA \"'\"\n");
    for (template, value) in [
        ("A @b\n", "a b"),
        ("A b@\n", "a b"),
        ("A @b@\n", ""),
        ("A \"@\"\n", "a${B}"),
        ("A \"$@\"\n", "{B}"),
        ("A \"@{B}\"\n", "$"),
        ("A \"@\"\n", "a\nb"),
        ("A \"@\"\n", "a\rb"),
        ("A @>\n", "<b"),
        ("# @\n", "a\\"),
    ] {
        let found = one(Format::Apache, template, value);
        let fine = template == "A @b@\n" || template == "A @>\n";
        assert_eq!(found.is_ok(), fine, "{template}: {value:?}: {found:?}");
    }
    never(Format::Apache, &["@ a\n", "<@ a>\n", "A \\@\n", "A \"\\@\"\n", "A \"${@}\"\n"]);
    unfinished(Format::Apache, &["A \"b\nC d\n", "A 'b"]);
}

#[test]
fn apache_arguments_that_are_read_again_take_little() {
    let takes = |template: &str, value: &str| one(Format::Apache, template, value).is_ok();
    for template in [
        "<If \"%{REQUEST_URI} == '@'\">\n",
        "<ElseIf \"@\">\n",
        "Require expr @\n",
        "Require not expr \"%{X} == '@'\"\n",
        "RewriteCond %{HTTP_HOST} @\n",
        "setenvifexpr \"'@' == 'a'\" x\n",
        "Header set A b \"expr=%{X} == '@'\"\n",
        "SSLRequire \\\n  @\n",
    ] {
        assert!(takes(template, "10.0.0.1/8"), "{template}");
        for value in ["' || true || '", "%{X}", "a b", "a)", "$1", "(", "a|b"] {
            assert!(!takes(template, value), "{template}: {value}");
        }
    }
    for (template, value) in [
        ("ErrorLog @\n", "|/bin/evil"),
        ("CustomLog \"@\" combined\n", "|/bin/evil"),
        ("SSLPassPhraseDialog @\n", "exec:/bin/evil"),
        ("RewriteMap x \"pr@\"\n", "g:/bin/evil"),
        ("Header set A b @\n", "expr=true"),
        ("Header set A @\n", "%{X}e"),
        ("ErrorDocument 404 @\n", "%{X}"),
        ("Require user @\n", "%{X}"),
        ("RewriteRule ^/a$ @\n", "/$1"),
    ] {
        assert!(!takes(template, value), "{template}: {value}");
        assert!(takes(template, "plain"), "{template}");
        assert!(takes(&format!("Define A b\n{template}Define V @\n"), "plain"));
    }
    assert!(takes("Require user @\nRedirect /a @\nDefine V @\n", "a b"));
    assert!(takes("Define V @\n", "expr 50% a|b"));
}

#[test]
fn nginx_values_are_no_modifiers() {
    let line = |template: &str, value: &str| written(Format::Nginx, template, value);
    assert_eq!(line("location @ {}\n", "/a b"), "location \"/a b\" {}\n");
    assert_eq!(line("location ~ ^/@$ {}\n", "a.b"), "location ~ ^/a\\.b$ {}\n");
    assert_eq!(line("if ($a ~* \"@\") {}\n", "a.b"), "if ($a ~* \"a\\.b\") {}\n");
    assert_eq!(line("a ~ b; server_name @ @;\n", "a.b"), "a ~ b; server_name a.b a.b;\n");
    for (template, value) in [
        ("location @ {}\n", "~ ."),
        ("location \"@\" {}\n", "=/a"),
        ("location @ {}\n", "^~/a"),
        ("location @ {}\n", "@a"),
        ("location ~ @ {}\n", "a|b"),
        ("location ~* \"a@\" {}\n", ".*"),
        ("server_name @;\n", "~."),
        ("server_name ~^@$;\n", "a+"),
        ("rewrite @ /a;\n", "a|b"),
        ("try_files /a @;\n", "=200"),
        ("map $a $b { \"@\" c; }\n", "include"),
        ("map $a $b { a b; '@' c; }\n", "~a"),
    ] {
        assert!(one(Format::Nginx, template, value).is_err(), "{template}: {value}");
    }
}

#[test]
fn nginx() {
    let line = |template: &str, value: &str| written(Format::Nginx, template, value);
    assert_eq!(line("a \"@\";\n", "a\"b\\;}'"), "a \"a\\\"b\\\\;}'\";\n");
    assert_eq!(line("a '@';\n", "a\"b'"), "a 'a\"b\\'';\n");
    assert_eq!(line("a @ b @;\n", "x y"), "a \"x y\" b \"x y\";\n");
    assert_eq!(line("a { b @; } # @\n\"@\" c;", "x"), "a { b x; } # x\n\"x\" c;");
    assert_eq!(line("a $b/@ {}\n", "x"), "a $b/x {}\n");
    for (template, value) in [
        ("a @;\n", "x$y"),
        ("a @;\n", "x\ny"),
        ("a @b;\n", "x;y"),
        ("a \"@\";\n", "x\ry"),
        ("# @\n", "x\ny"),
    ] {
        assert!(one(Format::Nginx, template, value).is_err(), "{template}: {value:?}");
    }
    assert!(one(Format::Nginx, "a \"@\";\n", &"x".repeat(4001)).is_err());
    never(
        Format::Nginx,
        &[
            "@ a;\n",
            "a; @ b;\n",
            "a { @ b; }\n",
            "a \"b\"@;\n",
            "a $@;\n",
            "a $b@;\n",
            "a ${@};\n",
            "a \\@;\n",
        ],
    );
    unfinished(Format::Nginx, &["a \"b;\n", "a 'b"]);
}
