// SPDX-License-Identifier: GPL-2.0-or-later

//! The template language: Tera, with every value escaped for the format of the target.
//!
//! A value that the format cannot hold at all (a newline in an Apache directive) fails the expansion
//! instead of being written in some other form; `| safe` is Tera's explicit way round the escaping.

use std::error::Error as _;

use serde_json::Value;
use tera::{Context, Tera};

use crate::template::fragment::Fragment;

/// A fragment that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no template, or asks for what is not there.
    #[error("fragment {fragment}: {why}")]
    Fragment {
        /// Its path.
        fragment: String,
        /// What the language says, with the line.
        why: String,
    },
    /// A value has bytes that the target's format cannot hold.
    #[error("fragment {fragment}: a value cannot be written into a {format:?} file")]
    Value {
        /// Its path.
        fragment: String,
        /// The format.
        format: Format,
    },
}

/// What a target is, and so how values are escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Rules for `nft -f`.
    Nftables,
    /// Directives of Apache; values stand in double quotes or are single words.
    Apache,
    /// JSON; values come through `json_encode`.
    Json,
    /// `KEY="value"`, read by a shell, by systemd and by `YaST`.
    Sysconfig,
}

/// Stands in the output for what a format cannot hold; no text may contain it (Unicode: not a
/// character), so it cannot come from a template.
const IMPOSSIBLE: char = '\u{ffff}';

impl Format {
    fn escape(self) -> fn(&str) -> String {
        match self {
            Self::Nftables => {
                |text| escape(text, |c| matches!(c, '"' | '\\' | ';' | '{' | '}' | '#'), &[])
            }
            Self::Apache => |text| escape(text, |c| matches!(c, '<' | '>'), &['"', '\\']),
            Self::Json => |text| escape(text, |c| matches!(c, '"' | '\\'), &[]),
            Self::Sysconfig => |text| escape(text, |_| false, &['"', '\\', '$', '`']),
        }
    }
}

/// `text` with a backslash before each of `quoted`; control characters and what `never` names cannot
/// be written.
fn escape(text: &str, never: fn(char) -> bool, quoted: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || never(c) {
            escaped.push(IMPOSSIBLE);
        } else {
            if quoted.contains(&c) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
    }
    escaped
}

/// The outputs of `fragments`, joined with nothing between.
///
/// # Errors
///
/// A fragment is wrong; the first one is told.
pub fn expand(fragments: &[Fragment], view: &Value, format: Format) -> Result<String, Error> {
    let wrong = |fragment: &Fragment, error: &tera::Error| Error::Fragment {
        fragment: fragment.origin.clone(),
        why: chain(error),
    };
    let mut output = String::new();
    for fragment in fragments {
        let mut tera = Tera::default();
        tera.set_escape_fn(format.escape());
        tera.autoescape_on(vec![""]);
        tera.add_raw_template(&fragment.origin, &fragment.text)
            .map_err(|error| wrong(fragment, &error))?;
        let context = Context::from_value(view.clone()).map_err(|error| wrong(fragment, &error))?;
        let text =
            tera.render(&fragment.origin, &context).map_err(|error| wrong(fragment, &error))?;
        if text.contains(IMPOSSIBLE) {
            return Err(Error::Value { fragment: fragment.origin.clone(), format });
        }
        output.push_str(&text);
    }
    Ok(output)
}

/// What Tera says, with its causes: the line is in the innermost.
fn chain(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, value: &str, format: Format) -> Result<String, Error> {
        let fragment = Fragment { origin: "t/10".to_owned(), text: text.to_owned() };
        expand(&[fragment], &serde_json::json!({ "value": value }), format)
    }

    #[test]
    fn a_shell_takes_no_command_from_a_value() {
        let line = one("X=\"{{ value }}\"", "a\"b`c`$(d)\\", Format::Sysconfig).unwrap();
        assert_eq!(line, r#"X="a\"b\`c\`\$(d)\\""#);
    }

    #[test]
    fn a_newline_in_a_value_fails_the_expansion() {
        for format in [Format::Nftables, Format::Apache, Format::Sysconfig, Format::Json] {
            let error = one("{{ value }}", "a\nb", format).unwrap_err();
            assert!(error.to_string().starts_with("fragment t/10: a value"), "{error}");
        }
    }

    #[test]
    fn no_value_ends_a_block_of_apache_or_nftables() {
        assert!(one("{{ value }}", "</Location>", Format::Apache).is_err());
        assert!(one("{{ value }}", "1 } drop", Format::Nftables).is_err());
    }

    #[test]
    fn a_missing_variable_is_named_with_its_fragment() {
        let error = one("{{ nothing }}", "", Format::Apache).unwrap_err().to_string();
        assert!(error.contains("t/10") && error.contains("nothing"), "{error}");
    }
}
