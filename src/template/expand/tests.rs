// SPDX-License-Identifier: GPL-2.0-or-later

use std::fmt::Write as _;

use super::*;

fn fragment(origin: &str, text: &str) -> Fragment {
    let dialect = if origin.starts_with("e/") { Dialect::Esmith } else { Dialect::Tera };
    Fragment {
        origin: origin.to_owned(),
        content: text.as_bytes().to_vec(),
        dialect,
        is_built_in: false,
    }
}

fn all(fragments: &[Fragment], values: Value, format: Format) -> Result<String, Error> {
    let bytes = expand(fragments, &Context::from_value(values).unwrap(), format)?;
    Ok(String::from_utf8(bytes).unwrap())
}

fn one(text: &str, value: &str, format: Format) -> Result<String, Error> {
    all(&[fragment("t/10", text)], serde_json::json!({ "value": value }), format)
}

#[test]
fn a_newline_in_a_value_fails_the_expansion() {
    for format in [Format::Nftables, Format::Apache, Format::Sysconfig] {
        let error = one("{{ value }}", "a\nb", format).unwrap_err();
        assert!(error.to_string().starts_with("fragment t/10, line 1 of its"), "{error}");
    }
}

#[test]
fn what_is_missing_is_told_in_the_words_of_the_records() {
    let values = serde_json::json!({ "httpd": { "type": "service" }, "configuration": {} });
    let told = |text: &str| {
        let fragments = [fragment("t/10", "fine\n{{ httpd.type }}\n"), fragment("t/20", text)];
        all(&fragments, values.clone(), Format::Plain).unwrap_err().to_string()
    };
    assert_eq!(
        told("a\n\n{{ httpd.TCPPort }}"),
        "fragment t/20, line 3: database configuration, record 'httpd' has no property 'TCPPort'"
    );
    assert_eq!(
        told("{{ nothing }}"),
        "fragment t/20, line 1: there is no variable 'nothing': database configuration has no record 'nothing'"
    );
    assert_eq!(
        told("{{ databases.lost.k }}"),
        "fragment t/20, line 1: there is no database 'lost'"
    );
    assert_eq!(
        told("{{ configuration.x.y }}"),
        "fragment t/20, line 1: there is no variable 'configuration.x.y': database configuration has no record 'x'"
    );
}

#[test]
fn a_tag_that_is_wrong_is_told_with_its_line() {
    let fragments = [fragment("t/10", "{% set a = 1 %}"), fragment("t/20", "x\ny\n{% if %}")];
    let error = all(&fragments, serde_json::json!({}), Format::Plain).unwrap_err().to_string();
    assert!(error.starts_with("fragment t/20, line 3: it is no template"), "{error}");
    let split = [fragment("t/10", "{% if true %}a"), fragment("t/20", "b{% endif %}")];
    let error = all(&split, serde_json::json!({}), Format::Plain).unwrap_err().to_string();
    assert!(error.starts_with("fragment t/10"), "{error}");
}

#[test]
fn a_template_that_goes_too_deep_is_an_error_and_no_end_of_the_process() {
    let m = |name: &str, calls: &str| {
        format!("{{% macro {name}() %}}\n{{{{ self::{calls}() }}}}{{% endmacro %}}")
    };
    let round = [m("a", "b"), m("b", "a"), "{{ self::a() }}".to_owned()].concat();
    let deep = |open: &str, inner: &str, close: &str, n: usize| {
        format!("{}{inner}{}", open.repeat(n), close.repeat(n))
    };
    let (million, many) = (1 << 20, 100_000);
    for (text, words) in [
        (m("a", "a") + "{{ self::a() }}", "line 2: macro 'a' calls itself"),
        (round, "calls itself"),
        (deep("{% if true %}\n", "", "{% endif %}", 10_000), "line 101: blocks"),
        (deep("{{ (", "1", ") }}", 1).replace('(', &"(".repeat(many)), "brackets"),
        (format!("{{{{ {} }}}}", deep("a[", "1", "]", many)), "brackets"),
        (format!("{{{{ {} }}}}", deep("not ", "a", "", many)), "operators"),
        (format!("{{{{ {} }}}}", deep("a.", "a", "", million / 2)), "too long"),
        (format!("{{{{ a{} }}}}", deep(" | upper", "", "", million / 8)), "operators"),
        (format!("{{{{ 1{} }}}}", " + 1".repeat(many)), "operators"),
        (format!("{{{{ {} }}}}", deep("f(x=", "1", ")", many)), "calls"),
    ] {
        let error = one(&text, "", Format::Plain).unwrap_err().to_string();
        assert!(error.starts_with("fragment t/10, line") && error.contains(words), "{error}");
    }
}

#[test]
fn the_deepest_template_that_is_taken_fits_the_stack() {
    let brackets = format!("{}1{}", "(".repeat(32), ")".repeat(32));
    let sum = format!("{{% if {brackets}{} > 0 %}}", " + 1".repeat(248));
    let deep = |inner: &str| {
        let blocks = "{% if 1 %}".repeat(98);
        format!("{blocks}{sum}{inner}{{% endif %}}{}", "{% endif %}".repeat(98))
    };
    let mut text = String::new();
    for number in 0..20 {
        let inner = format!("{{{{ self::m{}() }}}}", number + 1);
        let inner = if number == 19 { "end" } else { &inner };
        write!(text, "{{% macro m{number}() %}}{}{{% endmacro %}}", deep(inner)).unwrap();
    }
    text += &deep("{{ self::m0() }}");
    assert_eq!(one(&text, "", Format::Plain).unwrap(), "end");
    let calls = format!("{{{{ {}1{} }}}}", "range(end=".repeat(5), ")".repeat(5));
    let error = one(&calls, "", Format::Plain).unwrap_err().to_string();
    assert!(error.contains("whole number"), "{error}");
}

#[test]
fn lines_are_counted_with_the_front_matter() {
    let front = "{#---\non-edit: keep\n---#}\n";
    for body in ["a\n{% if %}", "a\n{{ nothing }}"] {
        let error = one(&format!("{front}{body}"), "", Format::Plain).unwrap_err().to_string();
        assert!(error.starts_with("fragment t/10, line 5: "), "{error}");
    }
    let fragments = [fragment("e/10", &format!("{front}a\n{{ $x }}"))];
    let error = all(&fragments, serde_json::json!({}), Format::Plain).unwrap_err();
    assert_eq!(error.to_string(), "fragment e/10, line 5: Perl, which is not run");
}

#[test]
fn a_variable_that_one_fragment_sets_is_there_in_the_next() {
    let fragments = [
        fragment("t/10", "a{% set x = 5 %}\n"),
        fragment("t/20", "plain\n"),
        fragment("t/30", "{{ x }}\n"),
    ];
    let text = all(&fragments, serde_json::json!({}), Format::Plain).unwrap();
    assert_eq!(text, "a\nplain\n5\n");
}

#[test]
fn bytes_that_are_no_text_pass_where_nothing_is_to_be_done() {
    let mut latin = fragment("t/10", "");
    latin.content = b"# caf\xe9\n".to_vec();
    let context = Context::new();
    let fragments = [latin.clone(), fragment("t/20", "{{ 1 + 1 }}")];
    let bytes = expand(&fragments, &context, Format::Plain).unwrap();
    assert_eq!(bytes, b"# caf\xe9\n2");
    latin.content.extend(b"{{ 1 }}");
    let error = expand(&[latin], &context, Format::Plain).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

#[test]
fn perl_is_refused_and_an_escaped_brace_is_a_brace() {
    let of = |text: &str| all(&[fragment("e/10", text)], serde_json::json!({}), Format::Plain);
    assert_eq!(of("a \\{ b \\}\n").unwrap(), "a { b }\n");
    assert_eq!(of("\\{{{ 1 }}\\}\n").unwrap(), "{1}\n");
    let error = of("ok\n{ $OUT = 1; }\n").unwrap_err().to_string();
    assert_eq!(error, "fragment e/10, line 2: Perl, which is not run");
    assert_eq!(one("server { x }", "", Format::Plain).unwrap(), "server { x }");
}

#[test]
fn a_default_and_a_macro_are_texts_like_others() {
    let values = || serde_json::json!({ "svc": { "type": "service" }, "a": "x", "empty": "" });
    let of = |text: &str, format| all(&[fragment("t/10", text)], values(), format).unwrap();
    for (text, expected) in [
        ("m={{ svc.Port | default(value=\"80\") }}", "m=80"),
        ("m={{ gone | default(value=\"-\") }}", "m=-"),
        ("{{ svc.Port | default(value=\"80\") | int }}", "80"),
        ("{% if svc.Port | default(value=\"80\") == \"80\" %}y{% else %}n{% endif %}", "y"),
        ("{% if svc.Port | default(value=\"\") %}y{% else %}n{% endif %}", "n"),
        ("{% set p = svc.Port | default(value=80) %}{{ p }}", "80"),
        ("{% set p = svc.Port | default(value=\"\") %}<{{ p }}>", "<>"),
        (
            "{% macro m(v) %}{{ v }}{% endmacro %}{% if self::m(v=a) == \"x\" %}y{% else %}n{% endif %}",
            "y",
        ),
        (
            "{% macro m(v) %}{{ v }}{% endmacro %}{% if self::m(v=empty) %}y{% else %}n{% endif %}",
            "n",
        ),
        ("{% macro m(v) %}{{ v }}{% endmacro %}{{ self::m(v=a) | upper }}", "X"),
        ("{{ [a] | json_encode }}", "[\"x\"]"),
    ] {
        assert_eq!(of(text, Format::Plain), expected, "{text}");
    }
    // One value each, whatever it went through.
    let text = "A={{ gone | default(value=\"a b\") }}\n{% set x = gone | default(value=\"$(id)\") %}B={{ x }}\n\
                {% macro m(v) %}{{ v }};{% endmacro %}C={{ self::m(v=a) | upper }}\n";
    assert_eq!(of(text, Format::Shell), "A='a b'\nB='$(id)'\nC='X;'\n");
}

#[test]
fn a_filter_around_a_value_that_cuts_it_is_told_to_stand_behind_it() {
    for name in ["truncate(length=1)", "reverse", "truncate(length=2)"] {
        let text = format!("ok\n{{% filter {name} %}}{{{{ value }}}}{{% endfilter %}}");
        let error = one(&text, "abc", Format::Plain).unwrap_err().to_string();
        assert!(error.contains("{% filter %} around it"), "{error}");
    }
    let error = one("{{ value }}", "a\u{fdd0}b", Format::Plain).unwrap_err().to_string();
    assert!(error.contains("U+FDD0"), "{error}");
}

/// It is not looked at again when it is rendered.
#[test]
fn each_fragment_that_is_built_in_is_a_template_by_itself() {
    let mut places = vec![&crate::template::fragment::EMBEDDED];
    let mut tried = 0;
    while let Some(place) = places.pop() {
        places.extend(place.dirs());
        for file in place.files() {
            let path = file.path().display();
            let fragment = fragment("t/10", file.contents_utf8().unwrap());
            if let Piece::Tera { text, .. } = piece(&fragment).unwrap() {
                stands_alone(&text).unwrap_or_else(|error| panic!("{path}: {error:?}"));
                tried += 1;
            }
        }
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn what_is_rendered_where_it_is_asked_for_needs_little_of_the_stack() {
    let deep = "{% for a in [1] %}{% for b in [a] %}{% if b + 1 + 1 + 1 + 1 == 5 %}\
                {% set c = 1 + (2 * (3 + 1)) %}{{ value | truncate(length=1 + 0 * 1 + 0, end='') }}\
                {% endif %}{% endfor %}{% endfor %}";
    let mut macros = Macros::default();
    limits::measure(deep, 0, &mut macros).unwrap();
    assert!(macros.are_shallow());
    let work = move || one(&format!("{{{{ value }}}} {deep}"), "v", Format::Plain);
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), "v v");
    for deeper in [
        "{% if a %}{% if a %}{% if a %}{% if a %}",
        "{{ (((1))) }}",
        "{{ a(b=c(d=1)) }}",
        "{{ 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 }}",
        "{% macro a() %}{{ self::b() }}{% endmacro %}",
    ] {
        let mut macros = Macros::default();
        limits::measure(deeper, 0, &mut macros).unwrap();
        assert!(!macros.are_shallow(), "{deeper}");
    }
}
