// SPDX-License-Identifier: GPL-2.0-or-later

//! Desired state → [`RenderedFile`]s, by e-smith's rules with Tera as the language.
//!
//! A target's template is a directory of fragments (or one file) at the target's path below each
//! place: what is built into the program, then `/usr/share/wharf/templates`, then
//! `/etc/wharf/templates-custom` (on SME Server e-smith's two instead); a fragment of a later place
//! replaces the one of the same name ([`fragment`]). What a template says about itself is read by
//! [`declare`]. All fragments of a target see one [`View`] ([`expand`]), and each value is written for
//! its place in the target's format ([`format`]). Everything is rendered before anything is written, and
//! one bad fragment fails its whole target.
//!
//! Two ways lead here: a pass renders its own targets ([`targets`], [`render`]); `expand-template` and
//! events render what they are asked for ([`order`]).
//!
//! To add a target of a pass: a function here that makes its [`Target`], its fragments in `templates/`,
//! a `FileKind`.

mod budget;
pub mod declare;
pub mod digest;
pub mod expand;
pub mod format;
pub mod fragment;
mod limits;
pub mod order;
pub mod output;
mod overlay;
mod perl;
pub mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tera::Context;

use crate::settings::{Profile, Root};
use crate::state::container::hex;
use crate::state::file::{Adjust, FileKind, Verb};
use crate::state::network::{OptionsPlace, PacketFilter};
use crate::state::{Desired, RenderedFile};

pub use digest::Digests;
pub use format::Format;
pub use fragment::{Error as FragmentError, Roots};
pub use order::{Order, Prepared};
pub use view::View;

/// Why a target could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its fragments could not be read.
    #[error("template of {}", target.display())]
    Fragments {
        /// The target.
        target: PathBuf,
        /// What is wrong.
        source: FragmentError,
    },
    /// A fragment is wrong.
    #[error("template of {}", target.display())]
    Expand {
        /// The target.
        target: PathBuf,
        /// What is wrong.
        source: expand::Error,
    },
}

/// A file that templates make.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is for.
    kind: FileKind,
    /// Path of its template below the roots.
    template: &'static str,
    /// Path of the file.
    path: PathBuf,
    format: Format,
    mode: u32,
    check: Option<Vec<String>>,
    adjust: Option<Adjust>,
}

impl Target {
    /// Where the file goes.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The file, when it has this content.
    pub fn file(&self, content: Vec<u8>) -> RenderedFile {
        RenderedFile {
            kind: self.kind,
            target: self.path.clone(),
            content,
            mode: self.mode,
            check: self.check.clone(),
            adjust: self.adjust.clone(),
        }
    }
}

/// Path of the guard file for nftables.
pub const GUARD: &str = "/etc/wharf/guard.nft";

/// Path of the guard file for iptables.
pub const GUARD_IPTABLES: &str = "/etc/wharf/guard.iptables";

/// Path of the names for dnsmasq: both Debian's and openSUSE's read all of this directory.
pub const NAMES: &str = "/etc/dnsmasq.d/wharf.conf";

/// Path of the public ports for SME Server's packet filter.
pub const MASQ_PORTS: &str = "/etc/wharf/masq.ports";

/// Path of the public ports for `SuSEfirewall2`.
pub const SUSE_PORTS: &str = "/etc/sysconfig/SuSEfirewall2.d/services/wharf";

/// Path of the passes that SME Server's cron makes while no daemon does.
pub const CRON: &str = "/etc/cron.d/wharf";

/// Who on this host reads files of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// The web server, for aliases.
    pub web_server: bool,
    /// `SuSEfirewall2`, for ports.
    pub suse_firewall: bool,
    /// The packet filter that the guard is for.
    pub filter: PacketFilter,
}

/// The targets that `desired` calls for.
pub fn targets(desired: &Desired, readers: Readers, profile: Profile, root: &Root) -> Vec<Target> {
    let mut targets = vec![guard(readers.filter, root)];
    if readers.web_server {
        targets.push(Target {
            kind: FileKind::WebAlias,
            template: "etc/httpd/conf.d/wharf.conf",
            path: root.at(profile.web_alias_file()),
            format: Format::Apache,
            mode: 0o644,
            check: root.is_host().then(|| words(&["apachectl", "-t", "-c", "Include \"{file}\""])),
            adjust: Some(Adjust {
                unit: profile.web_server().to_owned(),
                verb: Verb::ReloadOrRestart,
            }),
        });
    }
    // Also when nobody asks for names any more: then it has none.
    targets.push(Target {
        kind: FileKind::Names,
        template: "etc/dnsmasq.d/wharf.conf",
        path: root.at(NAMES),
        format: Format::Dnsmasq,
        mode: 0o644,
        check: Some(words(&["dnsmasq", "--test", "-C", "{file}"])),
        adjust: Some(Adjust { unit: "dnsmasq".to_owned(), verb: Verb::Restart }),
    });
    let masq = (profile == Profile::Sme).then_some((MASQ_PORTS, Format::Plain));
    let suse = readers.suse_firewall.then_some((SUSE_PORTS, Format::Sysconfig));
    // Nobody is told: a restart of either would take the engine's rules with it.
    targets.extend(masq.into_iter().chain(suse).map(|(path, format)| Target {
        kind: FileKind::Ports,
        template: path.trim_start_matches('/'),
        path: root.at(path),
        format,
        mode: 0o644,
        check: None,
        adjust: None,
    }));
    targets.extend((profile == Profile::Sme).then(|| Target {
        kind: FileKind::Cron,
        template: CRON.trim_start_matches('/'),
        path: root.at(CRON),
        format: Format::Cron,
        // Cron takes no file that others can write.
        mode: 0o644,
        check: None,
        adjust: None,
    }));
    let options = match desired.engine.place {
        OptionsPlace::None => None,
        OptionsPlace::DaemonJson => Some(("etc/docker/daemon.json", Format::Json)),
        OptionsPlace::Sysconfig => Some(("etc/sysconfig/docker", Format::Sysconfig)),
    };
    targets.extend(options.map(|(template, format)| Target {
        kind: FileKind::EngineOptions,
        template,
        path: root.at(template),
        format,
        mode: 0o644,
        check: None,
        adjust: Some(Adjust { unit: "docker".to_owned(), verb: Verb::Restart }),
    }));
    targets
}

fn guard(filter: PacketFilter, root: &Root) -> Target {
    let (path, format, check) = match filter {
        PacketFilter::Nftables => (GUARD, Format::Nftables, &["nft", "-c", "-f", "{file}"][..]),
        // Nothing is in it but addresses, numbers and the name of an interface.
        PacketFilter::Iptables => (
            GUARD_IPTABLES,
            Format::Plain,
            &["iptables-restore", "--test", "--noflush", "{file}"][..],
        ),
    };
    Target {
        kind: FileKind::Guard,
        template: path.trim_start_matches('/'),
        path: root.at(path),
        format,
        mode: 0o600,
        check: Some(words(check)),
        adjust: None,
    }
}

/// Every path that some target may have, to be looked at before it is known which are called for.
pub fn all_paths(profile: Profile, root: &Root) -> BTreeSet<PathBuf> {
    let options = ["/etc/docker/daemon.json", "/etc/sysconfig/docker"];
    let ours =
        [GUARD, GUARD_IPTABLES, NAMES, profile.web_alias_file(), MASQ_PORTS, SUSE_PORTS, CRON];
    ours.into_iter().chain(options).map(|path| root.at(path)).collect()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// Renders `target` with what `view` holds.
///
/// # Errors
///
/// A fragment cannot be read, is no template, or asks for what is not there.
pub fn render(target: &Target, roots: &Roots, view: &Context) -> Result<RenderedFile, Error> {
    let material = material(target, roots)?;
    Ok(target.file(material.expand(view)?))
}

/// What `target` is made of.
///
/// # Errors
///
/// A fragment cannot be read.
pub fn material<'a>(target: &'a Target, roots: &Roots) -> Result<Material<'a>, Error> {
    let found = roots
        .collect(target.template)
        .map_err(|source| Error::Fragments { target: target.path.clone(), source })?;
    Ok(Material { target, fragments: found.fragments })
}

/// The fragments of a target.
#[derive(Debug)]
pub struct Material<'a> {
    target: &'a Target,
    fragments: Vec<fragment::Fragment>,
}

impl Material<'_> {
    /// SHA-256 of all that the content follows from beside the program: the fragments, their order and
    /// dialect, the format, and what they can ask for by its own hashes.
    pub fn source(&self, view: &Digests) -> String {
        let mut hash = Sha256::new();
        // With lengths, so that no two materials are the same text.
        let mut add = |bytes: &[u8]| {
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        let texts = self.fragments.iter().map(|fragment| fragment.content.as_slice());
        add(view.reached(texts).as_bytes());
        add(format!("{:?}", self.target.format).as_bytes());
        for fragment in &self.fragments {
            add(fragment.origin.as_bytes());
            add(format!("{:?}", fragment.dialect).as_bytes());
            add(&fragment.content);
        }
        hex(&hash.finalize())
    }

    /// The content.
    ///
    /// # Errors
    ///
    /// A fragment is no template, or asks for what is not there.
    pub fn expand(&self, view: &Context) -> Result<Vec<u8>, Error> {
        expand::expand(&self.fragments, view, self.target.format)
            .map_err(|source| Error::Expand { target: self.target.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Records;
    use crate::db::schema::Schema;
    use crate::desired::{Overrides, Snapshot, resolve};
    use crate::state::Facts;

    /// What the target that ends in `path` holds for these records.
    fn rendered(configuration: &str, containers: &str, path: &str) -> Option<String> {
        let snapshot = Snapshot {
            configuration: Records::parse(configuration.as_bytes()),
            containers: Records::parse(containers.as_bytes()),
            ..Snapshot::default()
        };
        let root = Root::new("/");
        let facts = Facts::of_lan("10.77.0.0/24");
        let resolution = resolve(&snapshot, &Schema::new(None), &root, &facts, &Overrides::new());
        let view = View::of(&resolution.desired).into_context();
        let readers = Readers { web_server: true, suse_firewall: true, ..Readers::default() };
        targets(&resolution.desired, readers, Profile::Sme, &root)
            .iter()
            .find(|target| target.path().ends_with(path))
            .map(|target| {
                let content = render(target, &Roots::default(), &view).unwrap().content;
                String::from_utf8(content).unwrap()
            })
    }

    #[test]
    fn engine_options_go_to_one_place_and_only_when_the_record_says_so() {
        let with_root = |place: &str, path: &str| {
            format!(
                "docker=service|EngineDataRoot|{path}|EngineOptions|{place}|LiveRestore|yes|StorageDriver|overlay2\n"
            )
        };
        let record = |place: &str| with_root(place, "/srv/a");
        let odd = with_root("daemon.json", "/srv/a \"b\" $c");
        let json = rendered(&odd, "", "docker/daemon.json").unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "data-root": "/srv/a \"b\" $c", "live-restore": true, "storage-driver": "overlay2"
            })
        );
        assert_eq!(rendered(&record("daemon.json"), "", "sysconfig/docker"), None);

        let sysconfig = rendered(&record("sysconfig"), "", "sysconfig/docker").unwrap();
        let line = sysconfig.lines().find(|line| line.starts_with("DOCKER_OPTS=")).unwrap();
        assert_eq!(
            line,
            r#"DOCKER_OPTS="--storage-driver=overlay2 --data-root=/srv/a --live-restore""#
        );
        let odd = with_root("sysconfig", "/srv --insecure-registry=evil");
        let sysconfig = rendered(&odd, "", "sysconfig/docker").unwrap();
        assert!(!sysconfig.contains("insecure"), "{sysconfig}");
        assert_eq!(rendered(&record("sysconfig"), "", "docker/daemon.json"), None);
        assert_eq!(
            rendered("docker=service|StorageDriver|overlay2\n", "", "docker/daemon.json"),
            None
        );
    }

    #[test]
    fn cron_makes_passes_on_sme_server_alone_and_only_for_containers() {
        let wiki = "wiki=service|Address|10.0.3.9|Image|web|TCPPort|80|status|enabled\n";
        let file = rendered("", wiki, "cron.d/wharf").unwrap();
        assert!(file.lines().any(|line| line.starts_with("*/5 * * * * root ")), "{file}");
        let file = rendered("", "", "cron.d/wharf").unwrap();
        assert!(file.lines().all(|line| line.starts_with('#')), "{file}");

        let facts = Facts::default();
        let (schema, root) = (Schema::new(None), Root::new("/"));
        let none = resolve(&Snapshot::default(), &schema, &root, &facts, &Overrides::new());
        for profile in [Profile::OpenSuse, Profile::Debian, Profile::Generic] {
            let targets = targets(&none.desired, Readers::default(), profile, &root);
            assert!(targets.iter().all(|target| !target.path().ends_with("cron.d/wharf")));
        }
    }

    #[test]
    fn an_alias_is_for_those_whom_access_names() {
        let record = |access: &str| {
            format!(
                "wiki=service|Address|10.0.3.9|Image|web|TCPPort|80|WebAlias|wiki|access|{access}|status|enabled\n"
            )
        };
        let file = |access: &str| rendered("", &record(access), "conf.d/wharf.conf").unwrap();
        assert!(file("private").contains("ProxyPass \"/wiki\" \"http://10.0.3.9:80\""));
        assert!(file("private").contains("Require ip 10.77.0.0/24"));
        assert!(
            !file("localhost").contains("Require ip")
                && file("localhost").contains("Require local")
        );
        assert!(file("public").contains("Require all granted"));
    }
}
