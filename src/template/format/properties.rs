// SPDX-License-Identifier: GPL-2.0-or-later

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{one, written};
use super::*;

/// What some format gives a meaning to.
const SPECIAL: &str = "\"'`$\\{}()[]<>#;:,%=&|*?!~@-+./ \t\nnrxt019aZ\r\u{1b}\u{7f}\u{85}\u{2028}\
                       \u{feff}\u{ffff}é😀";

/// Texts that have more of it than chance would give them.
fn odd_text() -> impl Strategy<Value = String> {
    let special = prop::sample::select(SPECIAL.chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![9 => special, 1 => any::<char>()], 0..24)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    // Each case is cheap: many of them, and more where the environment says so.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    /// Whatever the value, what is behind it stands where it stood: a second value is written as it
    /// is when the first one is a harmless word.
    #[test]
    fn a_value_moves_nothing_but_itself(value in odd_text(), after in odd_text()) {
        let templates = [
            (Format::Shell, "x=@ y=\"@\" z='@' # @\nw"),
            (Format::Sysconfig, "X=\"@\"\nY=@\n# @\nZ"),
            (Format::Systemd, "[S]\nExecStart=/x @ \"@\"\nEnvironment=\"A=@\"\n# @\nX"),
            (Format::Apache, "A \"@\" @\n# @\nB"),
            (Format::Nginx, "a \"@\" @;\n# @\nb"),
            (Format::Dnsmasq, "a=b,\"@\"\n# @\nc=@\nd"),
            (Format::Nftables, "log prefix \"@\"\n# @\nadd"),
            (Format::Json, "{\"a\": @, \"b@\": 1"),
            (Format::Yaml, "a: @\nb: \"@\" # @\nc: '@'\nd: [@, {@: @}]\ne"),
            (Format::Cron, "5 4 * * * root a @ \"@\" # @\nA"),
            (Format::Crontab, "5 4 * * * a @ \"@\" # @\nA"),
            (Format::Anacrontab, "5 4 x a @ \"@\" # @\nA"),
        ];
        for (format, template) in templates {
            let weave = |value: &str| {
                let mut weaver = Weaver::new(format);
                weaver.weave(&template.replace('@', &mark(value))).map(|text| (text, weaver))
            };
            let Ok((text, mut weaver)) = weave(&value) else { continue };
            let (_, mut plain) = weave("a").unwrap();
            let literal: Vec<_> = template.split('@').filter(|text| text.len() > 1).collect();
            for part in literal {
                prop_assert!(text.contains(part), "{format:?}: {text:?} lost {part:?}");
            }
            let tail = format!("=\"{}", mark(&after));
            prop_assert_eq!(weaver.weave(&tail), plain.weave(&tail), "{:?}: {:?}", format, text);
        }
    }

    /// The two formats for which a reader is at hand give the value back.
    #[test]
    fn json_and_yaml_give_back_any_value(value in odd_text()) {
        prop_assume!(!value.contains(['\0', '\u{fdd0}', '\u{fdd1}', '\u{fdd2}']));
        let expected = BTreeMap::from([
            ("a".to_owned(), value.clone()), ("b".to_owned(), format!("x{value}y")),
        ]);
        let json = written(Format::Json, "{\"a\": @, \"b\": \"x@y\"}", &value);
        let found: BTreeMap<String, String> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&found, &expected, "{}", json);
        let yaml = written(Format::Yaml, "a: @\nb: \"x@y\"\n", &value);
        let found: BTreeMap<String, String> = serde_saphyr::from_str(&yaml).unwrap();
        prop_assert_eq!(&found, &expected, "{}", yaml);
        if let Ok(yaml) = one(Format::Yaml, "b: 'x@y'\na: |-\n  .@\n", &value) {
            let found: BTreeMap<String, String> = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(&found["b"], &expected["b"], "{}", yaml);
            prop_assert_eq!(&found["a"], &format!(".{value}"), "{}", yaml);
        }
        if let Ok(yaml) = one(Format::Yaml, "a: [x-@, \"@\"]\n", &value) {
            let found: BTreeMap<String, Vec<String>> = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(&found["a"], &vec![format!("x-{value}"), value.clone()], "{}", yaml);
        }
    }

    /// A YAML text of random pieces has with any value the shape that it has with a harmless one.
    #[test]
    fn yaml_of_random_pieces_keeps_its_shape(
        pieces in prop::collection::vec(yaml_piece(), 1..14), value in odd_text(),
    ) {
        const HARMLESS: &str = "qzq";
        let template = pieces.concat();
        let with = |value: &str| {
            let mut weaver = Weaver::new(Format::Yaml);
            weaver.weave(&template.replace('@', &mark(value))).ok()
        };
        let (Some(plain), Some(odd)) = (with(HARMLESS), with(&value)) else { return Ok(()) };
        let Ok(expected) = serde_saphyr::from_str::<serde_json::Value>(&plain) else { return Ok(()) };
        let found = match serde_saphyr::from_str::<serde_json::Value>(&odd) {
            Ok(found) => found,
            // The value is what another key of the template is.
            Err(error) if error.to_string().contains("duplicate") => return Ok(()),
            Err(error) => panic!("{template:?} with {value:?} is no YAML ({error}): {odd}"),
        };
        prop_assert_eq!(found, substituted(expected, HARMLESS, &value), "{:?}: {}", template, odd);
    }
}

/// Lines and parts of lines of YAML.
fn yaml_piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a: ", "b: ", "@: ", "- ", "  ", "  ", "\n", "\n", "\n", "@", "@", "@", "\"", "'", "x",
        "x-", " ", "#", " # ", "|\n", "|-\n    ", ">-\n  ", "[", "]", "{", "}", ", ", ": ",
        "http://", "\n  ", "\n    ", "? ", "!!str ", "a: b\n", "- c\n",
    ])
}

/// `value` with each text in it changed from `old` to `new`.
fn substituted(value: serde_json::Value, old: &str, new: &str) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(text.replace(old, new)),
        Value::Array(list) => list.into_iter().map(|value| substituted(value, old, new)).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key.replace(old, new), substituted(value, old, new)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}
