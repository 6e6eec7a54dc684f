// SPDX-License-Identifier: GPL-2.0-or-later

use std::fmt::Write as _;

use super::super::output::mark_within;
use super::*;

fn rendered(template: &str) -> Result<usize, String> {
    let mut tera = Tera::default();
    tera.add_raw_template("t", template).unwrap();
    mark_within(&mut tera, ALL / 10).map_err(|error| error.to_string())?;
    let view = serde_json::json!({ "s": "x".repeat(1000), "list": vec!["a"; 1000] });
    let text = tera.render("t", &tera::Context::from_value(view).unwrap());
    text.map(|text| text.len()).map_err(|error| {
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said.push_str(&error.to_string());
            cause = error.source();
        }
        said
    })
}

/// `N` rounds within `N` rounds.
fn nested(n: u32, inner: &str) -> String {
    format!(
        "{{% for a in range(end={n}) %}}{{% for b in range(end={n}) %}}{inner}{{% endfor %}}{{% endfor %}}"
    )
}

#[test]
fn loops_in_loops_end() {
    assert_eq!(rendered(&nested(100, "x")).unwrap(), 10_000);
    for inner in ["", "{% set x = 1 %}", "x", "{% if a == b %}y{% endif %}"] {
        let error = rendered(&nested(3_000, inner)).unwrap_err();
        assert!(error.contains("too much"), "{inner}: {error}");
    }
    let calls = "{{ self::m() }}".repeat(10);
    let mut text = "{% macro m9() %}x{% endmacro %}".to_owned();
    for n in 0..9 {
        let calls = calls.replace("m()", &format!("m{}()", n + 1));
        write!(text, "{{% macro m{n}() %}}{calls}{{% endmacro %}}").unwrap();
    }
    assert!(rendered(&(text + "{{ self::m0() }}")).unwrap_err().contains("too much"));
}

#[test]
fn a_search_counts() {
    let each = |inner: &str| {
        format!(
            "{{% set s = range(end=99999) %}}{{% for i in range(end=99999) %}}{inner}{{% endfor %}}"
        )
    };
    for inner in [
        "{% if i in s %}{% endif %}",
        "{% if not i in s %}{% endif %}",
        "{% set a = i in s %}",
        "{% for l in [s] %}{% if i in l %}{% endif %}{% endfor %}",
        "{% if s is containing(i) %}{% endif %}",
        "{% if s is defined %}{% endif %}",
    ] {
        let error = rendered(&each(inner)).unwrap_err();
        assert!(error.contains("too much"), "{inner}: {error}");
    }
    let error = rendered("{% set databases = [1] %}{{ 1 in databases }}").unwrap_err();
    assert!(error.contains("'databases'"), "{error}");
    let few = "{% for i in range(end=1000) %}{% if 'a' in list and s is defined %}x{% endif %}{% endfor %}";
    assert_eq!(rendered(few).unwrap(), 1000);
    let test = "{% if s is defined and nothing is not defined and not s is iterable %}x{% endif %}";
    assert_eq!(rendered(test).unwrap(), 1);
}

#[test]
fn texts_do_not_grow_without_end() {
    let loops = |n: u32, inner: &str| {
        format!(
            "{{% set t = s %}}{{% for a in range(end={n}) %}}{inner}{{% endfor %}}{{{{ t | length }}}}"
        )
    };
    for (inner, words) in [
        ("{% set_global t = t ~ t %}", "longer than 1 MiB"),
        ("{% set_global t = [t, t] | join %}", "longer than 1 MiB"),
        ("{% set_global t = t | replace(from='x', to='xx') %}", "longer than 1 MiB"),
        (
            "{% set_global l = [s] %}{% set_global l = l | concat(with=l) %}{{ l | json_encode }}{{ t }}",
            "",
        ),
        ("{{ t | replace(from='x', to=t) | replace(from='x', to=t) }}", "longer than 16 MiB"),
        (
            "{{ list | join(sep=t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t) }}",
            "longer than 16 MiB",
        ),
        (
            "{% filter replace(from='x', to=t) %}{% filter replace(from='x', to=t) %}{{ t }}{% endfilter %}{% endfilter %}",
            "longer than 16 MiB",
        ),
        (
            "{% filter indent(prefix=t, first=true) %}{% filter replace(from='x', to='\n') %}{{ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t }}{% endfilter %}{% endfilter %}",
            "longer than 16 MiB",
        ),
    ] {
        let found = rendered(&loops(20, inner));
        if words.is_empty() {
            assert!(found.is_ok(), "{inner}: {found:?}");
        } else {
            assert!(found.as_ref().is_err_and(|error| error.contains(words)), "{inner}: {found:?}");
        }
    }
    for text in ["{{ t }}", "{{ t | safe }}", "{{ t | upper }}"] {
        let text = loops(100_000, &text.repeat(10));
        assert!(rendered(&text).unwrap_err().contains("too much"), "{text}");
    }
    let text = "{% set l = list | concat(with=list) %}{% for a in range(end=20) %}\
                {% set_global l = l | concat(with=l) %}{% endfor %}";
    assert!(rendered(text).unwrap_err().contains("too much"));
}

#[test]
fn what_a_file_needs_is_not_too_much() {
    let text =
        "{% for a in list %}{% for b in range(end=30) %}{{ a }} {{ b }}\n{% endfor %}{% endfor %}";
    assert!(rendered(text).unwrap() > 150_000);
    let text = "{% set_global t = '' %}{% for a in list %}{% set_global t = t ~ a ~ '\n' %}{% endfor %}{{ t }}";
    assert!(rendered(text).unwrap() >= 2_000);
    assert_eq!(
        rendered("{% set t = s %}{% for c in t %}{{ c }}{% endfor %}")
            .map_err(drop)
            .map(|n| n / 1000),
        Ok(7)
    );
}
