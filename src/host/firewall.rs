// SPDX-License-Identifier: GPL-2.0-or-later

//! The guard, the table `inet wharf` or chains of iptables ([`iptables`]): loaded in one transaction, read
//! back, compared with what the kernel said right after our own load.
//!
//! It is never compared with the text that was loaded: `nft` prints sets merged and sorted in its
//! own way, and differently by version. And as long as nobody has changed any rule (the kernel counts the
//! changes), it is not read at all.

mod beside;
mod chains;
mod delta;
mod dump;
mod echo;
pub mod firewalld;
mod flows;
mod iptables;
mod judged;
mod netlink;
mod noted;
mod sets;

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::db::value::Protocol;
use crate::host::memory::{LoadedGuard, Memory};
use crate::host::{Error, command};
use crate::settings::Root;
use crate::state::container::hex;
use crate::state::exposure::HostPort;
use crate::state::socket::Standing;
use crate::state::{Bridge, Guard, ObservedGuard, PacketFilter};
use crate::template::GUARD_IPTABLES;

pub use beside::{Expected, Missed, Read};
pub use netlink::{Change, Watch};

use noted::{Found, Noted};

/// Name of the table, of family `inet`.
pub const TABLE: &str = "wharf";

/// What `nft` says when there is no such table.
const NO_TABLE: &str = "No such file or directory";

/// What `nft` says when a table that is to be created is there.
const IS_THERE: &str = "File exists";

/// How a text begins that takes the place of the table, whether there is one or not.
const REPLACE: &str = "table inet wharf\ndelete table inet wharf\n";

/// The guard table, and what is remembered of it.
#[derive(Clone, Debug)]
pub struct Firewall {
    memory: Memory,
    /// The generation at which the table was last seen as we loaded it; gone with the boot.
    noted: Noted,
    beside: beside::Beside,
}

impl Firewall {
    /// The table of this network namespace, remembered below `root`.
    pub fn new(memory: Memory, root: &Root) -> Self {
        Self { memory, noted: Noted::new(root), beside: beside::Beside::new(root) }
    }

    /// The same, with the memory that is below `root`.
    pub fn below(root: &Root) -> Self {
        Self::new(Memory::new(root.at("/var/lib/wharf")), root)
    }

    /// The guard for `filter` in the kernel; when `note`, what was seen is noted for the next look.
    ///
    /// # Errors
    ///
    /// A program of the filter is missing or not allowed to look.
    pub async fn observe(&self, filter: PacketFilter, note: bool) -> Result<ObservedGuard, Error> {
        let loaded = self.memory.guard();
        // What was loaded into the other filter is still there.
        if loaded.as_ref().is_some_and(|loaded| loaded.filter != filter) {
            return Ok(ObservedGuard::Altered);
        }
        match filter {
            PacketFilter::Nftables => self.observe_table(loaded, note).await,
            PacketFilter::Iptables => Ok(match (iptables::list().await?, loaded) {
                (None, _) => ObservedGuard::Absent,
                (Some(text), Some(loaded)) if loaded.echo == hash(text.as_bytes()) => {
                    ObservedGuard::Loaded(loaded.source)
                }
                (Some(_), _) => ObservedGuard::Altered,
            }),
        }
    }

    async fn observe_table(
        &self,
        loaded: Option<LoadedGuard>,
        note: bool,
    ) -> Result<ObservedGuard, Error> {
        if let Some(loaded) = &loaded
            && self.is_untouched(&loaded.source)
        {
            return Ok(ObservedGuard::Loaded(loaded.source.clone()));
        }
        let found = Found::now();
        if let Some(loaded) = &loaded
            && self.noted.is_as_it_was(&found, &loaded.source)
        {
            if note {
                self.noted.note(&found, &loaded.source)?;
            }
            return Ok(ObservedGuard::Loaded(loaded.source.clone()));
        }
        let Some(text) = list().await? else { return Ok(ObservedGuard::Absent) };
        match loaded {
            Some(loaded) if loaded.echo == hash(&text) => {
                if note {
                    self.noted.note_read(&found, &loaded.source)?;
                }
                Ok(ObservedGuard::Loaded(loaded.source))
            }
            Some(_) | None => Ok(ObservedGuard::Altered),
        }
    }

    /// Whether no rule of this machine was changed since the engine's rules for `bridge` were seen.
    pub fn is_beside_untouched(&self, bridge: &Bridge) -> bool {
        self.beside.is_untouched(bridge)
    }

    /// Whether there may be a guard; none costs no process.
    pub fn may_be_there(&self) -> bool {
        let is_gone = || !self.is_iptables() && netlink::is_absent(TABLE).is_ok_and(|gone| gone);
        self.memory.guard().is_some() && !is_gone()
    }

    /// The rules of the engine that are `expected` for `bridge` and not there, by what was [`Read`], or is read now;
    /// when `note`, what was seen is noted for the next look, unless something is missed.
    ///
    /// # Errors
    ///
    /// It cannot be noted.
    pub async fn missed_rules(
        &self,
        bridge: &Bridge,
        read: Option<Read>,
        expected: &Expected<'_>,
        note: bool,
    ) -> Result<Missed, Error> {
        let read = match read {
            Some(read) => read,
            None => Read::about(bridge).await,
        };
        self.beside.missed(bridge, read, expected, note)
    }

    /// Whether no rule of this machine was changed since the table was seen as loaded from `source`.
    pub fn is_untouched(&self, source: &str) -> bool {
        self.noted.is_untouched(source)
    }

    /// Whether the table is known to be as we loaded it last.
    pub fn is_as_loaded(&self) -> bool {
        self.memory.guard().is_some_and(|loaded| self.is_untouched(&loaded.source))
    }

    /// What the chains of iptables are, as a word, when they were loaded and are not as they were then.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub async fn drift(&self) -> Result<Option<String>, Error> {
        let text = iptables::list().await?.unwrap_or_default();
        let now = hash(text.as_bytes());
        // Asked after the look: a load that ends meanwhile is remembered last.
        let loaded = self.memory.guard().filter(|loaded| loaded.filter == PacketFilter::Iptables);
        Ok(loaded.filter(|loaded| loaded.echo != now).map(|_| now))
    }

    /// Whether what was loaded last went into chains of iptables, of whose changes nobody tells.
    pub fn is_iptables(&self) -> bool {
        self.memory.guard().is_some_and(|loaded| loaded.filter == PacketFilter::Iptables)
    }

    /// Loads `file`, whose content has the hash `source`, and remembers how the kernel says it back.
    ///
    /// When the kernel holds what was loaded before and only elements of sets differ, only these are sent.
    ///
    /// # Errors
    ///
    /// It is refused, and the kernel holds what it held; or it does not read back.
    pub async fn load(&self, path: &Path, source: &str) -> Result<(), Error> {
        let before = self.memory.guard().map(|loaded| loaded.filter);
        let filter = filter_of(path);
        match filter {
            PacketFilter::Nftables => self.load_table(path, source).await?,
            PacketFilter::Iptables => self.load_chains(path, source).await?,
        }
        // Not before the new one holds.
        match before.filter(|before| *before != filter) {
            Some(PacketFilter::Nftables) => remove_table().await,
            Some(PacketFilter::Iptables) => iptables::remove().await,
            None => Ok(()),
        }
    }

    async fn load_chains(&self, path: &Path, source: &str) -> Result<(), Error> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        iptables::load(&text).await?;
        let filter = PacketFilter::Iptables;
        let echo = iptables::list().await?.ok_or(Error::GuardNotLoaded(filter))?;
        let loaded = LoadedGuard {
            source: source.to_owned(),
            echo: hash(echo.as_bytes()),
            rules: String::new(),
            filter,
        };
        self.memory.remember_guard(&loaded, text.as_bytes(), None)
    }

    async fn load_table(&self, path: &Path, source: &str) -> Result<(), Error> {
        let failed = |source| Error::Command { doing: "loading the guard".to_owned(), source };
        let text = fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        let marks = judged::Marks::of(&text);
        let whole = || async { command::run("nft", &["-f", &path.to_string_lossy()], b"").await };
        // Where there is no table nobody marks a flow meanwhile.
        let is_absent = netlink::is_absent(TABLE).is_ok_and(|absent| absent);
        let sent = if is_absent && marks.is_some() {
            tokio::join!(whole(), unmark()).0
        } else if let Some(mut change) = self.change(&text).await {
            change += marks.as_ref().map_or("", |marks| &marks.without);
            command::run("nft", &["-f", "-"], change.as_bytes()).await
        } else {
            whole().await
        };
        if let Err(error) = sent {
            // Somebody may have changed the table meanwhile: the whole text depends on nothing.
            tracing::debug!(%error, "the guard is loaded as a whole");
            whole().await.map_err(failed)?;
        }
        if !is_absent && marks.is_some() {
            unmark().await;
        }
        // Told of the first guard without marks, not again with each change of it.
        let is_known = self.memory.guard().is_some() && !self.memory.has_guard_marks();
        // Not in the same transaction: the kernel takes the new rules a moment before it takes their sets.
        let marks = match marks {
            Some(marks) => mark(marks.with, is_known).await,
            None => None,
        };
        let (found, echo) = echo::read().await?;
        let echo = echo.ok_or(Error::GuardNotLoaded(PacketFilter::Nftables))?;
        read_back(&text, &String::from_utf8_lossy(&echo))?;
        self.memory.remember_guard(
            &LoadedGuard {
                source: source.to_owned(),
                rules: rules(&String::from_utf8_lossy(&echo)),
                echo: hash(&echo),
                filter: PacketFilter::Nftables,
            },
            text.as_bytes(),
            marks.as_deref(),
        )?;
        if self.noted.note_read(&found, source)? { Ok(()) } else { self.noted.forget() }
    }

    /// Loads what was loaded last when the table is gone, and says whether that was so.
    ///
    /// A first aid, until a pass has looked: a table that is there stays, and what is brought back marks no flow,
    /// so that it does not look like a guard in order.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn bring_back(&self) -> Result<bool, Error> {
        let is_table = |loaded: &LoadedGuard| loaded.filter == PacketFilter::Nftables;
        let text = self.memory.guard().filter(is_table).and_then(|_| self.memory.guard_text());
        // In one transaction, so that it cannot take the place of a table that a pass has just loaded.
        let Some(text) = text.filter(|text| text.contains(REPLACE)) else { return Ok(false) };
        let text = text.replacen(REPLACE, "create table inet wharf\n", 1);
        match command::run("nft", &["-f", "-"], text.as_bytes()).await {
            Ok(_) => Ok(true),
            Err(command::Error::Failed { stderr, .. }) if stderr.contains(IS_THERE) => Ok(false),
            Err(source) => {
                Err(Error::Command { doing: "loading the guard again".to_owned(), source })
            }
        }
    }

    /// What the table keeps closed, now that it cannot be loaded; nothing when its rules are not ours.
    ///
    /// # Errors
    ///
    /// `nft` is missing or not allowed to look.
    pub async fn in_force(&self, guard: &ObservedGuard) -> Result<Guard, Error> {
        let text = match guard {
            ObservedGuard::Absent => None,
            ObservedGuard::Loaded(_) => return Ok(self.kept().unwrap_or_default()),
            // Of a chain that somebody has changed nobody knows what it still keeps; as it was loaded, it
            // waits for the other filter.
            ObservedGuard::Altered if self.is_iptables() => {
                let is_whole = self.drift().await?.is_none();
                return Ok(self.kept().filter(|_| is_whole).unwrap_or_default());
            }
            ObservedGuard::Altered => {
                let text = list().await?.map(|text| String::from_utf8_lossy(&text).into_owned());
                let loaded = self.memory.guard().map(|loaded| loaded.rules);
                text.filter(|text| loaded.as_ref() == Some(&rules(text)))
            }
        };
        Ok(sets::guard(&text.unwrap_or_default()))
    }

    /// What of the guard counts for packets now.
    pub fn standing(&self, guard: &ObservedGuard) -> Standing {
        match guard {
            ObservedGuard::Absent => Standing::Absent,
            ObservedGuard::Altered => Standing::Altered,
            // Without its text nobody can say what is in it.
            ObservedGuard::Loaded(_) => {
                self.kept().map_or(Standing::Altered, |guard| Standing::Loaded(Box::new(guard)))
            }
        }
    }

    /// What the text that was loaded last keeps.
    fn kept(&self) -> Option<Guard> {
        let text = self.memory.guard_text()?;
        Some(if self.is_iptables() { chains::guard(&text) } else { sets::guard(&text) })
    }

    /// What is to be sent so that the kernel holds `text`; `None` for all of it.
    async fn change(&self, text: &str) -> Option<String> {
        let loaded = self.memory.guard_text()?;
        let known = match self.observe(PacketFilter::Nftables, false).await {
            Ok(ObservedGuard::Loaded(known)) => known,
            Ok(ObservedGuard::Absent | ObservedGuard::Altered) | Err(_) => return None,
        };
        let is_it = known == hash(loaded.as_bytes());
        is_it.then(|| delta::between(&loaded, text)).flatten().filter(|change| !change.is_empty())
    }

    /// Removes the guard.
    ///
    /// # Errors
    ///
    /// It is there and cannot be removed.
    pub async fn remove(&self) -> Result<(), Error> {
        let is_iptables = self.is_iptables() || !command::exists("nft");
        if !is_iptables {
            // First: a daemon that sees the table go brings back what is remembered.
            self.memory.forget_guard()?;
        }
        if command::exists("nft") {
            remove_table().await?;
        }
        if is_iptables {
            iptables::remove().await?;
        }
        self.memory.forget_guard()?;
        self.noted.forget()
    }
}

/// The filter that is asked for, else the one that this host has programs for.
pub fn filter(wish: Option<PacketFilter>) -> PacketFilter {
    wish.unwrap_or_else(|| {
        if !command::exists("nft") && command::exists("iptables-restore") {
            PacketFilter::Iptables
        } else {
            PacketFilter::Nftables
        }
    })
}

/// The filter that takes the file `path`.
fn filter_of(path: &Path) -> PacketFilter {
    if path.ends_with(GUARD_IPTABLES.trim_start_matches('/')) {
        PacketFilter::Iptables
    } else {
        PacketFilter::Nftables
    }
}

async fn remove_table() -> Result<(), Error> {
    if list().await?.is_some() {
        command::run("nft", &["delete", "table", "inet", TABLE], b"").await.map_err(|source| {
            Error::Command { doing: "removing the guard table".into(), source }
        })?;
    }
    Ok(())
}

async fn unmark() {
    if let Ok(Err(error)) = tokio::task::spawn_blocking(flows::unmark).await {
        tracing::debug!(%error, "flows keep the marks of before");
    }
}

/// Lets flows be marked from now on, by the transaction `marks`; `None` where the kernel or `nft` cannot, and each
/// packet is judged.
async fn mark(marks: String, is_known: bool) -> Option<String> {
    match command::run("nft", &["-f", "-"], marks.as_bytes()).await {
        Ok(_) => Some(marks),
        Err(error) if is_known => {
            tracing::debug!(%error, "flows are judged packet by packet");
            None
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "the guard holds, but judges each packet of a flow, which costs throughput: the kernel takes \
                 no rules about labels of conntrack (it needs CONFIG_NF_CONNTRACK_LABELS)"
            );
            None
        }
    }
}

/// The table as the kernel has it, or `None`.
async fn list() -> Result<Option<Vec<u8>>, Error> {
    // That there is none costs no process. What else the kernel says, `nft` says in words.
    if netlink::is_absent(TABLE).is_ok_and(|absent| absent) {
        return Ok(None);
    }
    match command::run("nft", &["list", "table", "inet", TABLE], b"").await {
        Ok(text) => Ok(Some(text)),
        Err(command::Error::Failed { stderr, .. }) if stderr.contains(NO_TABLE) => Ok(None),
        Err(source) => Err(Error::Command { doing: "reading the guard table".to_owned(), source }),
    }
}

/// A hash of the rules of a text that the kernel gave.
fn rules(text: &str) -> String {
    let joined = text.replace(",\n", ", ");
    hash(delta::Text::parse(&joined).rules().join("\n").as_bytes())
}

/// `tcp . 80`
fn port(element: &str) -> Option<HostPort> {
    let (protocol, port) = element.split_once(" . ")?;
    Some(HostPort { protocol: Protocol::parse(protocol)?, port: port.parse().ok()? })
}

fn hash(text: &[u8]) -> String {
    hex(&Sha256::digest(text))
}

/// Sets whose elements the kernel gives back one by one: who may reach which port depends on them.
const EXACT: &[&str] = &[
    "localhost",
    "members",
    "private",
    "public",
    "private_tcp",
    "private_udp",
    "public_tcp",
    "public_udp",
    "restricted",
    "listed",
    "closed",
    "ours",
    "confined",
];

/// Compares the ports of `text` with those that the kernel says it has.
fn read_back(text: &str, echo: &str) -> Result<(), Error> {
    let joined = echo.replace(",\n", ", ");
    let (wanted, found) = (delta::Text::parse(text), delta::Text::parse(&joined));
    for set in EXACT {
        if !wanted.elements(set).eq(found.elements(set)) {
            return Err(Error::GuardNotLoaded(PacketFilter::Nftables));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_read_back_is_an_error() {
        let text = "table inet wharf {\n\tset private {\n\t\ttype x\n\t\telements = { tcp . 80, tcp . 443 }\n\t}\n}\n";
        let echo = |elements: &str| {
            format!(
                "table inet wharf {{\n\tset private {{\n\t\ttype x\n\t\telements = {{ {elements} }}\n\t}}\n}}\n"
            )
        };
        read_back(text, &echo("tcp . 443,\n\t\t\t     tcp . 80")).unwrap();
        for wrong in ["tcp . 80", "tcp . 443, tcp . 80, tcp . 81", "udp . 80, tcp . 443"] {
            assert!(read_back(text, &echo(wrong)).is_err(), "{wrong}");
        }
        assert!(read_back(text, "").is_err());
    }
}
