// SPDX-License-Identifier: GPL-2.0-or-later

//! Fragments in e-smith's own directories, as far as they hold no Perl.
//!
//! `Text::Template` copies what is outside of `{ }` and runs what is inside; `\{` and `\}` are braces
//! (`esmith.md` §4). Before a brace two backslashes are one. A Tera tag begins with two signs, so Perl shows as a brace by itself. Printing it as
//! text would put program code into a configuration file.

use std::borrow::Cow;

/// A fragment as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// Text, to be copied.
    Plain(Cow<'a, str>),
    /// Text with tags.
    Tera(Cow<'a, str>),
}

/// Tags of Tera with their ends.
const TAGS: [(&str, &str); 3] = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];

/// Reads `text`, or gives the place, in bytes, of the first brace that is Perl's.
pub(super) fn read(text: &str) -> Result<Read<'_>, usize> {
    if !text.contains(['{', '}']) {
        return Ok(Read::Plain(text.into()));
    }
    let mut plain = String::with_capacity(text.len());
    let mut tagged = String::with_capacity(text.len());
    let mut has_tags = false;
    let mut at = 0;
    while let Some(next) = text[at..].find(['\\', '{', '}']) {
        let from = at + next;
        plain.push_str(&text[at..from]);
        tagged.push_str(&text[at..from]);
        let rest = &text[from..];
        if let Some((brace, tag)) = [("\\{", "{{ '{' | safe }}"), ("\\}", "{{ '}' | safe }}")]
            .iter()
            .find(|(escaped, _)| rest.starts_with(escaped))
            .map(|(escaped, tag)| (&escaped[1..], *tag))
        {
            plain.push_str(brace);
            tagged.push_str(tag);
            at = from + 2;
        } else if rest.starts_with("\\\\") && rest.trim_start_matches('\\').starts_with(['{', '}'])
        {
            // Of backslashes before a brace two are one.
            plain.push('\\');
            tagged.push('\\');
            at = from + 2;
        } else if rest.starts_with('\\') {
            plain.push('\\');
            tagged.push('\\');
            at = from + 1;
        } else {
            let tag = TAGS.iter().find(|(open, _)| rest.starts_with(open));
            let length = tag.and_then(|(open, close)| length_of(rest, open, close));
            let length = length.ok_or(from)?;
            has_tags = true;
            tagged.push_str(&rest[..length]);
            at = from + length;
        }
    }
    plain.push_str(&text[at..]);
    tagged.push_str(&text[at..]);
    Ok(if has_tags { Read::Tera(tagged.into()) } else { Read::Plain(plain.into()) })
}

/// Bytes of the tag that `text` begins with; of a raw block, up to its end.
fn length_of(text: &str, open: &str, close: &str) -> Option<usize> {
    let length = text[open.len()..].find(close)? + open.len() + close.len();
    let inner = text[open.len()..length - close.len()].trim_matches(['-', ' ']);
    if open == "{%" && inner == "raw" {
        let end = text.find("endraw")?;
        return Some(end + text[end..].find(close)? + close.len());
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_block_may_hold_braces() {
        let text = "{% raw %} a { b } {% endraw %}";
        assert_eq!(read(text), Ok(Read::Tera(text.into())));
        assert_eq!(read("x { y"), Err(2));
        assert_eq!(read("x } y"), Err(2));
        assert_eq!(read("a\\b\\\\c"), Ok(Read::Plain("a\\b\\\\c".into())));
        assert_eq!(read(r"a\\\{b"), Ok(Read::Plain(r"a\{b".into())));
        assert_eq!(read(r"a\\\\\}"), Ok(Read::Plain(r"a\\}".into())));
        assert_eq!(read(r"a\\{b"), Err(3));
        assert_eq!(read(r"\\{{ b }}"), Ok(Read::Tera(r"\{{ b }}".into())));
    }
}
