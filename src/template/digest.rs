// SPDX-License-Identifier: GPL-2.0-or-later

//! What a template's result follows from, as a hash for each variable that it can ask for.
//!
//! A pass in which only a limit or a status has changed renders no guard again, because the guard asks for
//! nothing that says so.

use bstr::ByteSlice;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::state::container::hex;
use crate::state::{Container, Desired};

/// By which a template reaches all variables.
const ALL: &str = "__tera_context";

/// A hash of what each variable of [`super::View::of`] is made from.
#[derive(Clone, Debug)]
pub struct Digests {
    /// Variables that come from the same part, and the hash of it.
    parts: [(&'static [&'static str], String); 5],
}

impl Digests {
    /// Those of `desired`, without making the view, which takes ten times as long; `None` when that cannot be
    /// told.
    pub fn of(desired: &Desired) -> Option<Self> {
        // Without `..`, so that a new field is thought of here.
        let Desired {
            containers,
            guard,
            routes,
            engine,
            names,
            bridge: _,
            held: _,
            images: _,
            only_told: _,
        } = desired;
        let containers: Vec<_> = containers
            .iter()
            .map(|(name, container)| {
                let Container {
                    spec: _,
                    hash,
                    wanted,
                    exposure,
                    links,
                    priority: _,
                    readiness: _,
                    pace: _,
                    is_checked_by_us: _,
                    directories: _,
                } = container;
                let access = exposure.as_ref().map(|exposure| exposure.access);
                (name, hash.as_str(), wanted.as_str(), access, links)
            })
            .collect();
        Some(Self {
            parts: [
                (&["containers"], hash(&containers)?),
                (&["guard", "links", "local_networks"], hash(guard)?),
                (&["routes"], hash(routes)?),
                (&["engine", "engine_options"], hash(engine)?),
                (&["names"], hash(names)?),
            ],
        })
    }

    /// Those of the variables that templates with these `texts` can ask for, as one text.
    pub fn reached<'a>(&self, texts: impl Iterator<Item = &'a [u8]>) -> String {
        let mut reached = [false; 5];
        for word in texts.flat_map(words) {
            for (is_reached, (variables, _)) in reached.iter_mut().zip(&self.parts) {
                *is_reached |= word == ALL.as_bytes()
                    || variables.iter().any(|variable| word == variable.as_bytes());
            }
        }
        let parts = self.parts.iter().zip(reached).filter(|(_, is_reached)| *is_reached);
        let named = parts.map(|((variables, hash), _)| format!("{} {hash}", variables.join(" ")));
        named.collect::<Vec<_>>().join("\n")
    }
}

fn hash(part: &impl Serialize) -> Option<String> {
    Some(hex(&Sha256::digest(serde_json::to_vec(part).ok()?)))
}

/// The words of `text` that can be variables. A line that begins with `#` and has no brace is a comment of the
/// file, unless it is within a tag, where it can be in a string.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_in_tag = false;
    let lines = text.split(|byte| *byte == b'\n').filter(move |line| {
        let has_brace = line.iter().any(|byte| matches!(byte, b'{' | b'}'));
        let is_comment = !is_in_tag && !has_brace && line.trim_ascii_start().starts_with(b"#");
        let ends_with = [b"{{", b"{%", b"{#", b"}}", b"%}", b"#}"].map(|mark| line.rfind(mark));
        let [opens, closes] = [&ends_with[..3], &ends_with[3..]].map(|at| at.iter().max().copied());
        is_in_tag = if opens == closes { is_in_tag } else { opens > closes };
        !is_comment
    });
    lines.flat_map(|line| line.split(|b| !b.is_ascii_alphanumeric() && *b != b'_'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::db::Records;
    use crate::db::schema::Schema;
    use crate::desired::{Overrides, Snapshot, resolve};
    use crate::settings::Root;
    use crate::state::Facts;
    use crate::template::view::RESOLVED;
    use crate::template::{Roots, View};

    fn desired(host: &str, container: &str) -> Desired {
        let snapshot = Snapshot {
            configuration: Records::parse(format!("docker=service{host}\n").as_bytes()),
            containers: Records::parse(
                format!("db=service|Address|10.0.3.9|Image|db|TCPPort|3306|status|enabled\nwiki=service{container}\n")
                    .as_bytes(),
            ),
            ..Snapshot::default()
        };
        let (schema, root) = (Schema::new(None), Root::new("/"));
        resolve(&snapshot, &schema, &root, &Facts::default(), &Overrides::new()).desired
    }

    /// What a template that asks for everything follows from.
    fn all(desired: &Desired) -> String {
        Digests::of(desired).unwrap().reached([b"{{ __tera_context }}".as_slice()].into_iter())
    }

    #[test]
    fn what_changes_the_view_changes_its_digest() {
        let wiki = "|Address|10.0.3.2|Image|wiki|TCPPort|80|status|enabled";
        let before = desired("", wiki);
        assert_eq!(all(&before), all(&desired("", wiki)));
        let text = |more: &str| format!("{wiki}{more}");
        let others = [
            desired("", &text("|access|public")),
            desired("", &text("|access|public|AllowHosts|192.0.2.1")),
            desired("", &text("|Interlinked|db:mysql")),
            desired("", &text("|WebAlias|wiki")),
            desired("", &text("|HostAccess|25")),
            desired("", &text("|Egress|lan")),
            desired("", &wiki.replace("enabled", "disabled")),
            desired("", &wiki.replace("Image|wiki", "Image|other")),
            desired("", &wiki.replace("10.0.3.2", "10.0.3.3")),
            desired("|Links|open", wiki),
            desired("|LocalNetworks|192.0.2.0/24", wiki),
            desired("|EngineOptions|daemon.json|StorageDriver|overlay2", wiki),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(all(other), all(&before), "{number}");
        }
    }

    #[test]
    fn each_variable_that_is_another_is_reached_by_its_name_alone() {
        let wiki = "|Address|10.0.3.2|Image|wiki|TCPPort|80|WebAlias|wiki|status|enabled";
        let (before, own) = (desired("", wiki), View::of(&desired("", wiki)).into_context());
        let text = |more: &str| format!("{wiki}{more}");
        let others = [
            desired("", &text("|MaxMemory|64")),
            desired("", &text("|access|public")),
            desired("", &text("|Interlinked|db:mysql")),
            desired("", &wiki.replace("WebAlias|wiki", "WebAlias|other")),
            desired("", &wiki.replace("enabled", "disabled")),
            desired("|LocalNetworks|192.0.2.0/24", wiki),
            desired("|NameService|dnsmasq", &text("|access|localhost")),
            desired("|EngineOptions|daemon.json|StorageDriver|overlay2", wiki),
        ];
        let mut differing = BTreeSet::new();
        for other in &others {
            let view = View::of(other).into_context();
            for name in RESOLVED {
                let template = format!("# about what is named\n{{{{ {name} }}}}\n");
                let reached = |desired: &Desired| {
                    Digests::of(desired).unwrap().reached([template.as_bytes()].into_iter())
                };
                if view.get(name) != own.get(name) {
                    differing.insert(name);
                    assert_ne!(reached(other), reached(&before), "{name}");
                }
            }
        }
        assert_eq!(differing, BTreeSet::from(RESOLVED), "each of them is another one some time");
    }

    #[test]
    fn the_guard_is_not_rendered_again_for_a_limit_or_a_status() {
        let guard = Roots::default().collect("etc/wharf/guard.nft").unwrap().fragments;
        let reached = |desired: &Desired| {
            let texts = guard.iter().map(|fragment| fragment.content.as_slice());
            Digests::of(desired).unwrap().reached(texts)
        };
        let wiki = "|Address|10.0.3.2|Image|wiki|TCPPort|80|status|enabled";
        let before = reached(&desired("", wiki));
        assert_eq!(before, reached(&desired("", &format!("{wiki}|MaxMemory|64"))));
        assert_ne!(before, reached(&desired("", &format!("{wiki}|access|public"))));
    }

    #[test]
    fn a_comment_of_the_file_asks_for_nothing_and_a_tag_in_it_does() {
        let found = |text: &'static str| -> Vec<_> {
            words(text.as_bytes()).filter(|word| *word == b"guard").collect()
        };
        assert!(found("# the guard\n  #guard\nguarded guard_ 1guard").is_empty());
        assert_eq!(found("# {{ guard.subnet }}\n").len(), 1);
        assert_eq!(found("{{ x |\n guard }}\n").len(), 1);
        assert_eq!(found("a # guard").len(), 1);
        assert_eq!(found("{% set head = \"\n# \" ~ guard.subnet\n%}{{ head }}\n# guard").len(), 1);
    }
}
