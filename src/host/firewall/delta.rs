// SPDX-License-Identifier: GPL-2.0-or-later

//! What differs between two texts of the guard, as a transaction of set elements. Pure.
//!
//! The rules of the guard are the same for every host; what records change is in named sets. So the
//! usual change is a few elements, and costs as much with a thousand ports as with one.
//! A text is `nft(8)`'s: within `set NAME {` and its `}`, the elements stand in one line
//! `elements = { A, B }`. Whatever is written in another way (an admin's fragment may) counts as a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A text of the guard taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// All but the elements.
    rules: Vec<&'a str>,
    /// The sets in their order.
    sets: BTreeMap<&'a str, Set<'a>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Set<'a> {
    elements: BTreeSet<&'a str>,
    /// The kernel joins neighbours, so a single element cannot be taken out again.
    merges: bool,
}

impl<'a> Text<'a> {
    /// Takes `text` apart.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut parsed = Self::default();
        let mut inside: Option<&str> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            let set = inside.and_then(|name| parsed.sets.get_mut(name));
            match (set, elements(trimmed)) {
                (Some(set), Some(elements)) if set.elements.is_empty() => {
                    set.elements = elements;
                    continue;
                }
                (Some(set), _) if trimmed == "auto-merge" => set.merges = true,
                (Some(_), _) if trimmed == "}" => inside = None,
                (Some(_), _) => {}
                (None, _) => {
                    inside = opened(trimmed);
                    if let Some(name) = inside {
                        parsed.sets.entry(name).or_default();
                    }
                }
            }
            parsed.rules.push(line);
        }
        parsed
    }

    /// All lines but those of elements.
    pub(super) fn rules(&self) -> &[&'a str] {
        &self.rules
    }

    /// The elements of set `name`; none when there is no such set.
    pub(super) fn elements(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.sets.get(name).into_iter().flat_map(|set| set.elements.iter().copied())
    }
}

/// The name of the set that `line` opens.
fn opened(line: &str) -> Option<&str> {
    let name = line.strip_prefix("set ")?.strip_suffix('{')?.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some(name)
}

/// The elements that `line` lists.
fn elements(line: &str) -> Option<BTreeSet<&str>> {
    let list = line.strip_prefix("elements = {")?.strip_suffix('}')?;
    let is_plain = !list.contains(['{', '}', '"', '#']);
    is_plain.then(|| list.split(',').map(str::trim).filter(|one| !one.is_empty()).collect())
}

/// The lines for `nft -f` that make what `old` has loaded into what `new` would load; `None` when more than
/// elements of sets differs.
///
/// Elements are taken out before others are put in: one may move from set to set, or be part of another
/// one's range.
pub(super) fn between(old: &str, new: &str) -> Option<String> {
    let (old, new) = (Text::parse(old), Text::parse(new));
    if old.rules != new.rules || old.sets.len() != new.sets.len() {
        return None;
    }
    let (mut out, mut into) = (String::new(), String::new());
    for (name, set) in &new.sets {
        let before = old.sets.get(name)?;
        if before.elements == set.elements {
            continue;
        }
        if set.merges {
            // Writing to a String cannot fail.
            writeln!(out, "flush set {TABLE} {name}").ok();
            change(&mut into, "add", name, set.elements.iter().copied());
        } else {
            change(&mut out, "delete", name, before.elements.difference(&set.elements).copied());
            change(&mut into, "add", name, set.elements.difference(&before.elements).copied());
        }
    }
    Some(out + &into)
}

/// Family and name.
const TABLE: &str = "inet wharf";

fn change<'a>(text: &mut String, verb: &str, set: &str, elements: impl Iterator<Item = &'a str>) {
    let elements: Vec<&str> = elements.collect();
    if !elements.is_empty() {
        // Writing to a String cannot fail.
        writeln!(text, "{verb} element {TABLE} {set} {{ {} }}", elements.join(", ")).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(ports: &str, local: &str) -> String {
        format!(
            "# head\ntable inet wharf {{\n\tset ports {{\n\t\ttype inet_proto . inet_service\n{ports}\t}}\n\
             \tset local4 {{\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tauto-merge\n{local}\t}}\n\
             \tchain a {{\n\t\tiifname {{ \"a\", \"b\" }} return\n\t}}\n}}\n"
        )
    }

    fn list(elements: &str) -> String {
        format!("\t\telements = {{ {elements} }}\n")
    }

    #[test]
    fn only_elements_that_differ_are_sent() {
        let old = guard(&list("tcp . 80, tcp . 443"), "");
        let new = guard(&list("tcp . 443, udp . 53"), "");
        assert_eq!(
            between(&old, &new).unwrap(),
            "delete element inet wharf ports { tcp . 80 }\nadd element inet wharf ports { udp . 53 }\n"
        );
        assert_eq!(between(&old, &old).unwrap(), "");
        let none = guard("", "");
        assert_eq!(
            between(&none, &old).unwrap(),
            "add element inet wharf ports { tcp . 443, tcp . 80 }\n"
        );
        assert_eq!(
            between(&old, &none).unwrap(),
            "delete element inet wharf ports { tcp . 443, tcp . 80 }\n"
        );
    }

    #[test]
    fn a_set_whose_elements_the_kernel_joins_is_filled_anew() {
        let old = guard("", &list("10.0.0.0/24"));
        let new = guard("", &list("10.0.0.0/24, 10.0.1.0/24"));
        assert_eq!(
            between(&old, &new).unwrap(),
            "flush set inet wharf local4\nadd element inet wharf local4 { 10.0.0.0/24, 10.0.1.0/24 }\n"
        );
        assert_eq!(between(&new, &guard("", "")).unwrap(), "flush set inet wharf local4\n");
    }

    #[test]
    fn everything_else_that_differs_needs_the_whole_text() {
        let old = guard(&list("tcp . 80"), "");
        for new in [
            old.replace("return", "drop"),
            old.replace("# head", "# Head"),
            old.replace("set ports", "set other"),
            old.replace("tcp . 80 }", "tcp . 80,\n\t\t\ttcp . 81 }"),
            format!("{old}add rule inet wharf a drop\n"),
        ] {
            assert_eq!(between(&old, &new), None, "{new}");
        }
    }

    #[test]
    fn elements_of_a_set_are_found() {
        let text = guard(&list("tcp . 80, tcp . 443"), "");
        let text = Text::parse(&text);
        assert_eq!(text.elements("ports").collect::<Vec<_>>(), ["tcp . 443", "tcp . 80"]);
        assert_eq!(text.elements("nowhere").count(), 0);
    }
}
