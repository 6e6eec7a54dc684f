// SPDX-License-Identifier: GPL-2.0-or-later

//! `io.github.wharfd.Manager1` on the system bus: translates, decides nothing.
//!
//! What changes containers goes to the owner task, which answers after its pass. What is only read is
//! asked of our own command line in a process of its own: it waits for no pass, no pass waits for it,
//! its memory is gone with it, and the answer is what `--json` prints. Records are read and changed by
//! [`Desk`], so that no value stands on a command line. Who may do what: [`polkit`].

#![expect(
    clippy::disallowed_types,
    reason = "the macro of zbus makes tables of properties of its own"
)]

mod ask;
mod bus;
mod desk;
mod polkit;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, interface};

use super::request::{Refusal, Request, Summary};
use crate::db::Author;
use crate::db::value::{self, ContainerName};
use crate::host::progress::Progress;
use crate::reconcile::hand::Verb;
use crate::settings::Root;

pub use bus::{passes, serve};
pub use desk::{Desk, Edit, Error, Shown};
use polkit::{Action, Caller};
use turns::Turns;

/// Our name on the bus, and that of the interface.
pub const NAME: &str = "io.github.wharfd.Manager1";
/// Our one object.
pub const PATH: &str = "/io/github/wharfd/Manager1";

/// What the object works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Takes what changes containers.
    pub requests: mpsc::Sender<Request>,
    /// The records.
    pub desk: Arc<dyn Desk>,
    /// How far a pass is.
    pub progress: Arc<Progress>,
    /// Where the product lives.
    pub root: Root,
}

#[derive(Debug)]
struct Manager {
    parts: Parts,
    /// Shared with who emits signals: an answer that takes long must not hold up the others.
    last: Arc<Mutex<Summary>>,
    reads: ask::Reads,
    /// Calls about records, which wait for no question.
    records: Turns,
    /// Calls that wait for a pass.
    passes: Turns,
}

/// Calls about records at a time: each is a thread, and those that change something wait for each other.
const AT_DESK: usize = 4;

/// Calls that wait for a pass at a time: they are one pass.
const FOR_A_PASS: usize = 128;

impl Manager {
    fn new(parts: Parts, last: Arc<Mutex<Summary>>) -> Self {
        let (records, passes) = (Turns::of(AT_DESK), Turns::of(FOR_A_PASS));
        Self { parts, last, reads: ask::Reads::default(), records, passes }
    }

    fn last(&self) -> Summary {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn pass(
        &self,
        hand: Option<(Verb, &str)>,
        only: BTreeSet<ContainerName>,
    ) -> Result<String, Error> {
        let _turn = self.passes.turn().await?;
        let (reply, answer) = oneshot::channel();
        let hand = hand.map(|(verb, name)| (verb, name.to_owned()));
        let ends = || Error::Failed("wharfd ends; nothing was done".to_owned());
        self.parts.requests.send(Request { hand, only, reply }).await.map_err(|_| ends())?;
        answer.await.map_err(|_| ends())?.map_err(|refusal| match refusal {
            Refusal::NoRecord(text) => Error::NoRecord(text),
            Refusal::Failed(text) => Error::Failed(text),
        })
    }

    async fn by_hand(
        &self,
        (connection, header): (&Connection, &Header<'_>),
        verb: Verb,
        name: &str,
    ) -> Result<String, Error> {
        polkit::allowed(connection, header, Action::Control).await?;
        self.pass(Some((verb, name)), BTreeSet::new()).await
    }

    async fn read(
        &self,
        (connection, header): (&Connection, &Header<'_>),
        arguments: &[&str],
    ) -> Result<String, Error> {
        polkit::allowed(connection, header, Action::Read).await?;
        self.reads.json(&self.parts.root, arguments).await
    }

    /// Uses the desk where it may block.
    async fn at_desk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Desk) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.records.turn().await?;
        let desk = Arc::clone(&self.parts.desk);
        let done = tokio::task::spawn_blocking(move || work(desk.as_ref())).await;
        done.map_err(|error| Error::Failed(error.to_string()))?
    }

    async fn change(
        &self,
        (connection, header): (&Connection, &Header<'_>),
        database: String,
        key: String,
        edit: Edit,
    ) -> Result<Vec<String>, Error> {
        let Caller { sender, uid } = polkit::allowed(connection, header, Action::Records).await?;
        let method = header.member().map(ToString::to_string).unwrap_or_default();
        let author = Author {
            uid,
            sender: Some(sender),
            command: format!("{NAME}.{method} {database} {key}").into(),
            ..Author::default()
        };
        self.at_desk(move |desk| desk.change(author, &database, &key, edit)).await
    }
}

/// Keeps containers as their records say.
#[interface(name = "io.github.wharfd.Manager1")]
impl Manager {
    /// What a pass would change, why, and what it costs: `wharf plan --json`, of these records only
    /// when any are named.
    #[zbus(out_args("report"))]
    async fn plan(
        &self,
        names: Vec<&str>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.read((connection, &header), &[&["plan", "--json", "--"], &names[..]].concat()).await
    }

    /// Each record and its container: `wharf status --json`.
    #[zbus(out_args("report"))]
    async fn status(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.read((connection, &header), &["status", "--json"]).await
    }

    /// What of this host can be reached, by whom and why: `wharf exposure --json`.
    #[zbus(out_args("exposure"))]
    async fn exposure(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.read((connection, &header), &["exposure", "--json"]).await
    }

    /// Why a source can or cannot reach a port: `wharf explain NAME PORT --from SOURCE --json`; an
    /// empty port or source counts as not given.
    #[zbus(out_args("explanation"))]
    async fn explain(
        &self,
        name: &str,
        port: &str,
        source: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let from = format!("--from={source}");
        let from = (!source.is_empty()).then_some(from.as_str());
        let port = (!port.is_empty()).then_some(port);
        let words = ["explain", "--json"].into_iter().chain(from);
        let words: Vec<&str> = words.chain(["--", name]).chain(port).collect();
        self.read((connection, &header), &words).await
    }

    /// The properties that a database may hold: `wharf schema DATABASE --json`.
    #[zbus(out_args("schema"))]
    async fn schema(
        &self,
        database: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.read((connection, &header), &["schema", "--json", "--", database]).await
    }

    /// The newest changes of the records, secrets masked: `wharf history --json --number MOST`.
    #[zbus(out_args("changes"))]
    async fn history(
        &self,
        most: u32,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let most = most.to_string();
        self.read((connection, &header), &["history", "--json", "--number", &most]).await
    }

    /// The newest events that were signalled: `wharf events --json --number MOST`.
    #[zbus(out_args("events"))]
    async fn events(
        &self,
        most: u32,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let most = most.to_string();
        self.read((connection, &header), &["events", "--json", "--number", &most]).await
    }

    /// The newest lines that a container has written, each an object: `wharf logs NAME --json --lines MOST`.
    #[zbus(out_args("lines"))]
    async fn logs(
        &self,
        name: &str,
        most: u32,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        polkit::allowed(connection, &header, Action::Read).await?;
        self.reads.log(&self.parts.root, name, most).await
    }

    /// Makes a pass, and answers with its report as `wharf apply --json` prints it.
    #[zbus(out_args("report"))]
    async fn apply(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        polkit::allowed(connection, &header, Action::Apply).await?;
        self.pass(None, BTreeSet::new()).await
    }

    /// Makes a pass over these records and what they need, and answers with its report as
    /// `wharf apply --json NAME...` prints it.
    #[zbus(out_args("report"))]
    async fn apply_records(
        &self,
        names: Vec<&str>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        polkit::allowed(connection, &header, Action::Apply).await?;
        let only: Result<BTreeSet<_>, _> = names.into_iter().map(value::container_name).collect();
        let only = only.map_err(|bad| Error::BadArgument(bad.to_string()))?;
        if only.is_empty() {
            return Err(Error::BadArgument("no record is named; Apply is for all".to_owned()));
        }
        self.pass(None, only).await
    }

    /// How far the pass is that is under way: its steps that have ended, those that are planned so far, and
    /// which are being done, each with its record and a word for programs.
    #[zbus(out_args("progress"))]
    async fn progress(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        polkit::allowed(connection, &header, Action::Read).await?;
        let seen = self.parts.progress.seen();
        serde_json::to_string(&seen).map_err(|error| Error::Failed(error.to_string()))
    }

    /// Starts a container until the next boot, and first what it links to.
    #[zbus(out_args("report"))]
    async fn start(
        &self,
        name: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.by_hand((connection, &header), Verb::Start, name).await
    }

    /// Stops a container until the next boot.
    #[zbus(out_args("report"))]
    async fn stop(
        &self,
        name: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.by_hand((connection, &header), Verb::Stop, name).await
    }

    /// Restarts a container; one that was stopped by hand runs again.
    #[zbus(out_args("report"))]
    async fn restart(
        &self,
        name: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.by_hand((connection, &header), Verb::Restart, name).await
    }

    /// Forgets what went wrong with a container, and tries again.
    #[zbus(out_args("report"))]
    async fn retry(
        &self,
        name: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.by_hand((connection, &header), Verb::Retry, name).await
    }

    /// Leaves a container as it is whatever its record says, or no longer: its property `Hold`.
    #[zbus(out_args("warnings"))]
    async fn hold(
        &self,
        name: String,
        is_held: bool,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        let value = if is_held { "yes" } else { "no" };
        let edit = Edit::SetProperties([("Hold".to_owned(), value.to_owned())].into());
        self.change((connection, &header), "docker_containers".to_owned(), name, edit).await
    }

    /// The keys of a database: `db DATABASE keys`.
    #[zbus(out_args("keys"))]
    async fn keys(
        &self,
        database: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        polkit::allowed(connection, &header, Action::Read).await?;
        self.at_desk(move |desk| desk.keys(&database)).await
    }

    /// A record: its type, its properties, and the names of those that are secret and not told.
    #[zbus(out_args("type", "properties", "secrets"))]
    async fn get_record(
        &self,
        database: String,
        key: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(String, BTreeMap<String, String>, Vec<String>), Error> {
        polkit::allowed(connection, &header, Action::Read).await?;
        let shown = self.at_desk(move |desk| desk.record(&database, &key)).await?;
        Ok((shown.kind, shown.properties, shown.secrets))
    }

    /// Makes a record exactly this: `db DATABASE set KEY TYPE PROPERTY VALUE...`.
    #[zbus(out_args("warnings"))]
    async fn set_record(
        &self,
        database: String,
        key: String,
        r#type: String,
        properties: BTreeMap<String, String>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        let edit = Edit::Set(r#type, properties);
        self.change((connection, &header), database, key, edit).await
    }

    /// Sets properties and keeps the others: `db DATABASE setprop KEY PROPERTY VALUE...`.
    #[zbus(out_args("warnings"))]
    async fn set_properties(
        &self,
        database: String,
        key: String,
        properties: BTreeMap<String, String>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        self.change((connection, &header), database, key, Edit::SetProperties(properties)).await
    }

    /// Takes properties out: `db DATABASE delprop KEY PROPERTY...`.
    #[zbus(out_args("warnings"))]
    async fn delete_properties(
        &self,
        database: String,
        key: String,
        names: Vec<String>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        self.change((connection, &header), database, key, Edit::DeleteProperties(names)).await
    }

    /// Takes a record out: `db DATABASE delete KEY`.
    #[zbus(out_args("warnings"))]
    async fn delete_record(
        &self,
        database: String,
        key: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        self.change((connection, &header), database, key, Edit::Delete).await
    }

    /// Version of wharfd.
    #[expect(clippy::unused_self, reason = "a property is asked of the object")]
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// When the last pass ended (RFC 3339); empty before the first.
    #[zbus(property)]
    fn last_pass(&self) -> String {
        self.last().at.map(|at| at.to_string()).unwrap_or_default()
    }

    /// Whether all was as the records say after it.
    #[zbus(property)]
    fn as_desired(&self) -> bool {
        self.last().as_desired
    }

    /// Containers that have a record.
    #[zbus(property)]
    fn containers(&self) -> u32 {
        number(self.last().containers)
    }

    /// Those that need a person, or wait for their time.
    #[zbus(property)]
    fn troubled(&self) -> u32 {
        number(self.last().troubled)
    }

    /// Records that do not count because they are wrong.
    #[zbus(property)]
    fn rejected(&self) -> u32 {
        number(self.last().rejected)
    }

    /// A pass begins.
    #[zbus(signal)]
    async fn pass_begun(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;

    /// How far the pass is, at most four times a second: steps that have ended, steps that are planned so far,
    /// and steps that are being done. `Progress` has their names.
    #[zbus(signal)]
    async fn pass_progress(
        emitter: &SignalEmitter<'_>,
        ended: u32,
        planned: u32,
        under_way: u32,
    ) -> zbus::Result<()>;

    /// A pass has ended: whether all is as desired, and how many steps were done, failed and are left.
    #[zbus(signal)]
    async fn pass_ended(
        emitter: &SignalEmitter<'_>,
        as_desired: bool,
        done: u32,
        failed: u32,
        remaining: u32,
    ) -> zbus::Result<()>;
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
