// SPDX-License-Identifier: GPL-2.0-or-later

//! Targets that somebody asks for: all are rendered from one reading of the records before any is
//! written.
//!
//! A target that fails keeps its last good file and stops no other; the caller says it failed. The engine
//! is not asked: what the records come to is resolved by what the kernel tells alone.

mod error;
mod owing;
mod secret;
mod twice;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::Error;
use error::with_holder;
use owing::Ledger;
use secret::Secrets;
use twice::Twice;

use crate::db::schema::Schema;
use crate::db::{self, Audit, DbName, Location, Records};
use crate::desired::{self, Overrides, Resolution, Snapshot};
use crate::event::Event;
use crate::host;
use crate::host::lock::PassLock;
use crate::host::memory::Memory;
use crate::host::network;
use crate::host::target::{self, Access, Checks, Edited, NewTarget};
use crate::reconcile::services::FILES_LOCK;
use crate::settings::{Profile, Root};
use crate::state::Facts;
use crate::template::declare::{Declared, OnEdit};
use crate::template::order::{self, Prepared};
use crate::template::view::{Holder, Sources, View, Words, hidden};
use crate::template::{Order, Roots};

/// What expansions work with.
#[derive(Debug)]
pub struct Expansion {
    /// Where the product lives.
    pub root: Root,
    /// What differs by distribution.
    pub profile: Profile,
    /// Where the records are.
    pub store: Location,
    /// What is written down with changes; here there are none.
    pub audit: Audit,
    /// What properties may hold.
    pub schema: Schema,
    /// Where templates are.
    pub roots: Roots,
    /// Where their metadata are, least important first.
    pub metadata: Vec<PathBuf>,
    /// What the kernel is to have said, in a test; `None`: it is asked.
    pub facts: Option<Facts>,
    /// For another expansion to end.
    pub lock_limit: Duration,
    /// For a program that checks a target.
    pub check_limit: Duration,
}

/// What is done with what was rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is written; `force`: over what somebody changed too, which is put aside.
    Write {
        /// Whatever the template says.
        force: bool,
        /// Owner and mode of a target that is there stay.
        keep_access: bool,
    },
    /// It is given back.
    Look,
    /// It is shown to the program that checks it, and given back.
    Check,
}

/// What became of one target.
#[derive(Debug)]
pub struct Expanded {
    /// The target.
    pub target: PathBuf,
    /// What was done, or why not.
    pub result: Result<Done, Error>,
    /// What the admin is told.
    pub notes: Vec<String>,
}

/// A target that was expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether the target is another now, or would be.
    pub changed: bool,
    /// Its new content; `None`: it is gone, or would be.
    pub content: Option<Vec<u8>>,
    /// Services to adjust, with what they are told, when it changed.
    pub adjust: BTreeMap<String, String>,
    /// Whether a program checks such a target and was not asked.
    pub unchecked: bool,
}

/// Expands `orders`, in their order.
pub async fn expand(
    cx: &Expansion,
    orders: &[Order],
    event: Option<&Event>,
    act: Act,
) -> Vec<Expanded> {
    // First: what is read while another one writes would be older than what that one wrote.
    let writer = match act {
        Act::Write { .. } => match Writer::new(cx, event).await {
            Ok(writer) => Some(writer),
            Err(error) => return refused(cx, orders, error),
        },
        Act::Look | Act::Check => None,
    };
    let prepare = |order: &Order| order.prepare(&cx.roots, &cx.metadata, &cx.root);
    let prepared: Vec<_> = orders.iter().map(prepare).collect();
    let twice = Twice::of(orders, &prepared);
    let mut words = Words::default();
    prepared.iter().flatten().for_each(|prepared| prepared.ask(&mut words));
    // Everything is rendered before anything is written.
    let rendered = render(cx, &prepared, event, &words);
    let mut all = Vec::new();
    for ((order, prepared), content) in orders.iter().zip(prepared).zip(rendered) {
        let single = prepared.as_ref().map_or(Ok(()), |prepared| twice.check(prepared));
        let content = single.and(content);
        let place = || cx.root.at(&order.path);
        all.push(match (prepared, content) {
            (Err(error), _) => {
                Expanded { target: place(), result: Err(error.into()), notes: Vec::new() }
            }
            (Ok(prepared), Err(error)) => {
                Expanded { target: prepared.target, result: Err(error), notes: prepared.notes }
            }
            (Ok(prepared), Ok(content)) => one(cx, prepared, content, act, writer.as_ref()).await,
        });
    }
    all
}

/// The same as [`expand`] for the targets of an event: owner and mode are the template's.
pub async fn for_event(cx: &Expansion, event: &Event, targets: &[PathBuf]) -> Vec<Expanded> {
    let order = |target: &PathBuf| Order {
        path: target.to_string_lossy().into_owned(),
        ..Order::default()
    };
    let orders: Vec<_> = targets.iter().map(order).collect();
    expand(cx, &orders, Some(event), Act::Write { force: false, keep_access: false }).await
}

/// All of them with the one reason that keeps every one from being written.
fn refused(cx: &Expansion, orders: &[Order], error: Error) -> Vec<Expanded> {
    let error = Arc::new(error);
    let one = |order: &Order| Expanded {
        target: cx.root.at(&order.path),
        result: Err(Error::All(Arc::clone(&error))),
        notes: Vec::new(),
    };
    orders.iter().map(one).collect()
}

/// What a target is to hold.
struct Content {
    bytes: Vec<u8>,
    /// Whose value in it nobody but root should see.
    secret: Option<Holder>,
}

/// The contents of what could be prepared; `None` for a target that is to be gone.
fn render(
    cx: &Expansion,
    prepared: &[Result<Prepared, order::Error>],
    event: Option<&Event>,
    words: &Words,
) -> Vec<Result<Option<Content>, Error>> {
    let wants = |prepared: &&Prepared| !prepared.declared.delete;
    if prepared.iter().flatten().find(wants).is_none() {
        return prepared.iter().map(|_| Ok(None)).collect();
    }
    let databases = match read(cx, words) {
        Ok(databases) => databases,
        Err(error) => {
            let error = Arc::new(error);
            return prepared.iter().map(|_| Err(Error::All(Arc::clone(&error)))).collect();
        }
    };
    for name in hidden(&databases, words) {
        tracing::warn!(
            "record '{name}' of configuration is hidden in templates by the variable of that name; \
             configuration.{name} is the record"
        );
    }
    let resolution = if words.ask_for_desired() {
        match resolve(cx, &databases) {
            Ok(resolution) => Some(resolution),
            Err(error) => {
                let text = error.to_string();
                tracing::warn!("{text}; templates that ask for containers fail");
                None
            }
        }
    } else {
        None
    };
    let sources = Sources {
        databases,
        desired: resolution.as_ref().map(|resolution| &resolution.desired),
        event,
        home: (cx.root.at("").display().to_string(), profile_name(cx.profile)),
    };
    let mut shared = View::new(&sources, words).into_context();
    let mut secrets = Secrets::new(&sources, &cx.schema, words);
    let mut one = |prepared: &Result<Prepared, order::Error>| match prepared {
        Ok(prepared) if !prepared.declared.delete => {
            needs(&prepared.declared, &sources.databases)?;
            let bytes = prepared
                .render(&mut shared)
                .map_err(|error| with_holder(error, &sources.databases, &cx.schema))?;
            let secret = secrets.used(prepared, &bytes);
            Ok(Some(Content { bytes, secret }))
        }
        Ok(_) | Err(_) => Ok(None),
    };
    prepared.iter().map(&mut one).collect()
}

const fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Sme => "sme",
        Profile::OpenSuse => "opensuse",
        Profile::Debian => "debian",
        Profile::Generic => "generic",
    }
}

fn read(cx: &Expansion, words: &Words) -> Result<BTreeMap<DbName, Records>, Error> {
    let store = db::open(&cx.store, &cx.audit)?;
    let configuration = super::database(DbName::CONFIGURATION)?;
    if cx.profile == Profile::Sme && !store.exists(&configuration)? {
        return Err(Error::NoConfiguration);
    }
    if words.ask_for_databases() || words.ask_for_desired() {
        return Ok(store.databases()?);
    }
    let records = store.read(&configuration)?;
    Ok(BTreeMap::from([(configuration, records)]))
}

fn resolve(cx: &Expansion, databases: &BTreeMap<DbName, Records>) -> Result<Resolution, Error> {
    let one = |name: &str| {
        let found = databases.iter().find(|(found, _)| found.as_str() == name);
        found.map(|(_, records)| records.clone()).unwrap_or_default()
    };
    let snapshot = Snapshot {
        containers: one(DbName::CONTAINERS),
        images: one(DbName::IMAGES),
        configuration: one(DbName::CONFIGURATION),
        networks: one(DbName::NETWORKS),
    };
    let overrides = Overrides::new();
    let query = desired::query(&snapshot, &cx.schema, &cx.root, &overrides);
    let facts = match &cx.facts {
        Some(facts) => facts.clone(),
        None => network::facts_without_engine(&query, &cx.root)?,
    };
    Ok(desired::resolve(&snapshot, &cx.schema, &cx.root, &facts, &overrides))
}

/// What the template says it cannot do without.
fn needs(declared: &Declared, databases: &BTreeMap<DbName, Records>) -> Result<(), Error> {
    for place in &declared.needs {
        let mut parts = place.splitn(3, '/');
        let (database, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let property = parts.next();
        let records = databases.iter().find(|(name, _)| name.as_str() == database);
        let record = records.and_then(|(_, records)| records.get(key));
        let is_there = match (record, property) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(record), Some(property)) => record.get(property).is_some(),
        };
        if !is_there && !declared.defaults.contains_key(place) {
            let (place, remedy) = match (record, property) {
                (None, _) if records.is_none() => (
                    format!("database {database} (record '{key}')"),
                    format!("db {database} set {key} TYPE ..."),
                ),
                (Some(_), Some(property)) => (
                    format!("database {database}, record '{key}', property '{property}'"),
                    format!("db {database} setprop {key} {property} VALUE"),
                ),
                (None, _) | (Some(_), None) => (
                    format!("database {database}, record '{key}'"),
                    format!("db {database} set {key} TYPE ..."),
                ),
            };
            return Err(Error::Needs { place, remedy });
        }
    }
    Ok(())
}

/// The right to write targets, and what that needs.
struct Writer {
    memory: Memory,
    checks: Checks,
    lock: PassLock,
    ledger: Option<Ledger>,
}

impl Writer {
    async fn new(cx: &Expansion, event: Option<&Event>) -> Result<Self, Error> {
        let lock = PassLock::take(&cx.root.at(FILES_LOCK), cx.lock_limit).await?;
        let checks = checks(cx, "stage");
        // What a kill has left; nobody else is at work.
        target::clear(&checks);
        target::clear_left(&self::checks(cx, LOOKS));
        let memory = Memory::new(cx.root.at("/var/lib/wharf"));
        memory.clear_left();
        let ledger = event.map(|event| Ledger::of(cx, event));
        Ok(Self { memory, checks, lock, ledger })
    }

    /// `swap`, with what `declared` wants adjusted noted before it.
    async fn owing<T>(
        &self,
        path: &Path,
        declared: &Declared,
        wanted: Option<&[u8]>,
        swap: impl Future<Output = Result<T, host::Error>>,
    ) -> Result<T, Error> {
        match &self.ledger {
            Some(ledger) => ledger.owing(&self.lock, path, &declared.adjust, wanted, swap).await,
            None => Ok(swap.await?),
        }
    }
}

/// Where `--check` has its copies.
const LOOKS: &str = "checks";

fn checks(cx: &Expansion, name: &str) -> Checks {
    Checks { stage: cx.root.at("/run/wharf").join(name), limit: cx.check_limit }
}

async fn one(
    cx: &Expansion,
    prepared: Prepared,
    content: Option<Content>,
    act: Act,
    writer: Option<&Writer>,
) -> Expanded {
    let Prepared { target, declared, mut notes, .. } = prepared;
    let result = match (act, writer) {
        (Act::Write { force, keep_access }, Some(writer)) => {
            let how = How { force, keep_access, profile: cx.profile };
            put(&target, &declared, content, how, writer, &mut notes).await
        }
        (Act::Write { .. } | Act::Look, _) => {
            let unchecked = declared.check.is_some() && !declared.delete;
            let looked = look(&target, content.map(|it| it.bytes));
            looked.map(|done| Done { unchecked, ..done })
        }
        (Act::Check, _) => {
            if declared.check.is_none() && !declared.delete {
                notes.push(format!(
                    "no program checks {}: its template names none (check: PROGRAM {{file}})",
                    target.display()
                ));
            }
            let bytes = content.map(|it| it.bytes);
            match would_do(cx, &target, &declared, bytes.as_deref()).await {
                Ok(()) => look(&target, bytes),
                Err(error) => Err(error),
            }
        }
    };
    Expanded { target, result, notes }
}

/// Whether `content` could be written to `target`, and its reader takes it.
async fn would_do(
    cx: &Expansion,
    target: &Path,
    declared: &Declared,
    content: Option<&[u8]>,
) -> Result<(), Error> {
    let Some(content) = content else { return Ok(()) };
    target::has_place(target)?;
    if let Some(program) = &declared.check {
        let checks = checks(cx, LOOKS);
        target::clear_left(&checks);
        target::check(program, target, content, &checks).await?;
    }
    Ok(())
}

fn look(target: &Path, content: Option<Vec<u8>>) -> Result<Done, Error> {
    let changed = target::content(target)? != content;
    Ok(Done { changed, content, ..Done::default() })
}

#[derive(Clone, Copy)]
struct How {
    force: bool,
    keep_access: bool,
    profile: Profile,
}

async fn put(
    path: &Path,
    declared: &Declared,
    content: Option<Content>,
    how: How,
    writer: &Writer,
    notes: &mut Vec<String>,
) -> Result<Done, Error> {
    let edited = match declared.on_edit.unwrap_or_default() {
        OnEdit::Refuse if how.force => Edited::KeptAside,
        OnEdit::Refuse => Edited::Refused,
        OnEdit::Keep => Edited::KeptAside,
        OnEdit::Overwrite => Edited::Overwritten,
    };
    // e-smith's own tools write the same targets and tell nobody.
    let unknown_is_edited = how.profile != Profile::Sme;
    let is_ours = !writer.memory.written(path).is_empty();
    let kept = |aside: PathBuf| {
        let what = if is_ours { "had been changed by hand" } else { "was not made by Wharf" };
        format!("{} {what}; what it held is kept as {}", path.display(), aside.display())
    };
    let Some(content) = content else {
        let delete = async { target::delete(path, edited, unknown_is_edited, &writer.memory) };
        let (changed, aside) = writer.owing(path, declared, None, delete).await?;
        notes.extend(aside.map(kept));
        let adjust = declared.adjust.clone();
        return Ok(Done { changed, adjust, ..Done::default() });
    };
    let mut id = |name: &Option<String>, number: fn(&str) -> Option<u32>| {
        name.as_ref().map(|name| {
            number(name).unwrap_or_else(|| {
                notes.push(format!("nobody is called '{name}'; {} is root's", path.display()));
                0
            })
        })
    };
    let (uid, gid) = (id(&declared.uid, target::user), id(&declared.gid, target::group));
    // An event gives what the template does not say to root, whatever the target had.
    let or_root = |given: Option<u32>, else_: u32| given.or((!how.keep_access).then_some(else_));
    let root = nix::unistd::geteuid().is_root();
    let access = Access {
        uid: if root { or_root(uid, 0) } else { uid },
        gid: if root { or_root(gid, 0) } else { gid },
        mode: or_root(declared.perms, 0o644),
    };
    let access = match &content.secret {
        Some(holder) => secret::secluded(path, access, declared, holder, notes),
        None => access,
    };
    let new = NewTarget {
        path: path.to_owned(),
        content: content.bytes,
        access,
        check: declared.check.clone(),
        edited,
        unknown_is_edited,
    };
    let write = target::write(&new, &writer.memory, &writer.checks);
    let written = writer.owing(path, declared, Some(&new.content), write).await?;
    notes.extend(written.aside.map(kept));
    let adjust = if written.changed { declared.adjust.clone() } else { BTreeMap::new() };
    Ok(Done { changed: written.changed, content: Some(new.content), adjust, unchecked: false })
}

/// Services to adjust because of `all`, each with what it is told.
pub fn adjustments(all: &[Expanded]) -> BTreeSet<(String, String)> {
    let done = all.iter().filter_map(|expanded| expanded.result.as_ref().ok());
    let adjust = done.filter(|done| done.changed).flat_map(|done| done.adjust.iter());
    adjust.map(|(unit, verb)| (unit.clone(), verb.clone())).collect()
}
