// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line: one function a subcommand, and the only room that prints.
//!
//! e-smith's own tools are reached by the name of the program (`db`, `config`, `signal-event`) or as
//! subcommands; they keep e-smith's output and statuses. No engine, template or runtime is touched on
//! the way to `db`, which is a program of its own too (`src/bin/db.rs`).

mod author;
mod check;
mod command;
mod complete;
mod confined;
pub mod db;
mod desk;
mod doctor;
mod edit;
mod events;
mod expand;
mod explain;
mod export;
mod exposure;
pub mod hand;
mod history;
mod init;
mod log;
mod logs;
mod manual;
mod metrics;
mod owed;
mod pass;
mod progress;
mod records;
pub mod serve;
pub mod show;
mod signal;
mod store;
mod template;
mod watch;
mod why;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bstr::ByteSlice;
use clap::Parser;

use crate::db::{Change, DbName, Store};
use crate::desired;
use crate::host::{self, System, lock};
use crate::reconcile::hand::Verb;
use crate::reconcile::{self, Context, Mode, Report, Wish};
use crate::settings::Settings;

use command::{Cli, Command, Output};
use desk::Desk;
use log::log;
use progress::Display;
use show::line;

/// What the process says about itself when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Not done, or not all; the reason was printed.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The host differs from the records (`plan`, `status`, `exposure`), or has a fault (`doctor`).
    Differs = 3,
    /// Ended by Ctrl-C or SIGTERM before all was done.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        let is_lost = exit == Exit::Done && OUTPUT_IS_LOST.load(Ordering::Relaxed);
        Self::from(if is_lost { Exit::Failed } else { exit } as u8)
    }
}

/// Where everything is unless `WHARF_ROOT` says so: e-smith's tools know a root of their own.
fn given_root() -> OsString {
    std::env::var_os("ESMITH_ROOT").filter(|root| !root.is_empty()).unwrap_or_else(|| "/".into())
}

/// Runs `db`, or `config` when that is the name of the program, the first of `args`.
pub fn db_main(args: &[OsString]) -> ExitCode {
    let called = args.first().and_then(|name| Path::new(name).file_name());
    let tool = if called == Some("config".as_ref()) { db::Tool::Config } else { db::Tool::Db };
    let root = std::env::var_os("WHARF_ROOT").unwrap_or_else(given_root);
    run_db(tool, args.get(1..).unwrap_or_default(), Path::new(&root))
}

/// Runs the command line `args`, the program's name first.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let called = args.first().map(|name| Path::new(name).file_name().unwrap_or_default());
    let rest = || args.get(1..).unwrap_or_default().to_vec();
    let root = std::env::var_os("WHARF_ROOT").unwrap_or_else(given_root);
    match called.and_then(|name| name.to_str()) {
        Some("db" | "config") => return db_main(&args),
        Some("signal-event") => return signal::signal_event(&rest(), Path::new(&root)),
        Some("expand-template") => {
            return expand::expand_template(&rest(), Path::new(&root)).into();
        }
        Some("initialize-default-databases") => return init::initialize(Path::new(&root)).into(),
        Some("wharfd") => {
            let mut as_subcommand = vec!["wharf".into(), "daemon".into()];
            as_subcommand.extend(rest());
            return parsed(as_subcommand);
        }
        Some(_) | None => {}
    }
    // clap would refuse arguments of `db` that it reads as options of its own.
    match args.get(1).and_then(|name| name.to_str()) {
        Some("db") => run_db(db::Tool::Db, args.get(2..).unwrap_or_default(), Path::new(&root)),
        Some("config") => {
            run_db(db::Tool::Config, args.get(2..).unwrap_or_default(), Path::new(&root))
        }
        Some(_) | None => parsed(args),
    }
}

fn parsed(args: Vec<OsString>) -> ExitCode {
    let cli = match command::apply(&args).map_or_else(|| Cli::try_parse_from(args), Ok) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and is no fault; a closed pipe is none either.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            error.print().ok();
            return exit.into();
        }
    };
    let root = cli.root.unwrap_or_else(|| given_root().into());
    let root = root.as_path();
    match cli.command {
        Command::Plan(wanted) => {
            let wish = pass::wish(wanted.only, wanted.give_up);
            pass::look(root, wanted.output, &wish, show::plan)
        }
        Command::Status(wanted) => pass::status(root, &wanted),
        Command::Apply(wanted) => pass::apply(root, wanted),
        Command::Exposure(wanted) => exposure::exposure(root, &wanted),
        Command::Explain(wanted) => explain::explain(root, &wanted),
        Command::Why(wanted) => why::why(root, &wanted),
        Command::Doctor(output) => doctor::doctor(root, output),
        Command::Logs(wanted) => logs::logs(root, &wanted),
        Command::Metrics => metrics::metrics(root),
        Command::Start(named) => hand::by_hand(root, Verb::Start, &named.name),
        Command::Stop(named) => hand::by_hand(root, Verb::Stop, &named.name),
        Command::Restart(named) => hand::by_hand(root, Verb::Restart, &named.name),
        Command::Retry(named) => hand::by_hand(root, Verb::Retry, &named.name),
        Command::Schema { database, output } => schema(root, &database, output),
        Command::History { database, key, number, output } => {
            let key = key.as_ref().map(|key| key.as_encoded_bytes().as_bstr());
            let (database, json) = (database.as_deref(), output.json);
            history::history(root, &history::Wanted { database, key, most: number, json })
        }
        Command::Undo { number, database } => match history::number(&number) {
            Some(number) => history::undo(root, number, database.as_deref()),
            None => Exit::Usage,
        },
        Command::Store(command) => store::run(root, &command),
        Command::InitializeDefaultDatabases => init::initialize(root),
        Command::Completion { shell } => complete::script(shell),
        Command::Manual { page } => manual::manual(page),
        Command::Complete(rest) => complete::complete(root, &rest.arguments),
        Command::Export(wanted) => export::export(root, &wanted),
        Command::Import(wanted) => export::import(root, &wanted),
        Command::Diff(wanted) => export::diff(root, &wanted),
        Command::Teardown(wanted) => teardown(root, &pass::wish(Vec::new(), wanted)),
        Command::Holders { inodes } => confined::holders(&inodes.into_iter().collect()),
        Command::Monitors { below, ids } => confined::monitors(&below, &ids),
        Command::Daemon => serve::serve(root),
        Command::Db(rest) => return run_db(db::Tool::Db, &rest.arguments, root),
        Command::Config(rest) => return run_db(db::Tool::Config, &rest.arguments, root),
        Command::SignalEvent(rest) => return signal::signal_event(&rest.arguments, root),
        Command::EventOutput => signal::rest::log_rest(root),
        Command::Events(wanted) => events::events(root, &wanted),
        Command::Template(command) => template::run(root, &command),
        Command::ExpandTemplate(rest) => expand::expand_template(&rest.arguments, root),
    }
    .into()
}

/// A runtime of one thread: a pass waits much and computes little.
fn block_on<T>(work: impl Future<Output = T>) -> Option<T> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Some(runtime.block_on(work)),
        Err(error) => {
            complain(&error, None);
            None
        }
    }
}

/// A pass, and the exit status that `has_faults` gives its report.
fn apply_and_judge(
    root: &Path,
    output: Output,
    wish: &Wish,
    has_faults: impl Fn(&Report) -> bool,
) -> Exit {
    let stop = stop_by_signal();
    let display = Display::of(output);
    let Some(result) = make_pass(root, wish, &stop, display) else { return Exit::Failed };
    finish(result, output, (display, &stop), has_faults)
}

/// Set by Ctrl-C or SIGTERM, which ends a pass after the steps in hand; a second one ends at once, as
/// safely as a cut at any other moment.
fn stop_by_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: it looks at what an earlier one has set.
        let status = Exit::Stopped as i32;
        signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&stop)).ok();
        signal_hook::flag::register(signal, Arc::clone(&stop)).ok();
    }
    stop
}

/// A pass under its lock; `None`, with the reason printed, when there is nothing to make it with.
fn make_pass(
    root: &Path,
    wish: &Wish,
    stop: &AtomicBool,
    display: Display,
) -> Option<Result<Report, Failed>> {
    let (cx, settings) = Desk::open(root).and_then(Desk::context)?;
    log(tracing::level_filters::LevelFilter::WARN);
    let pass =
        async |cx: &Context<System>| Box::pin(reconcile::pass(cx, Mode::Apply, wish, stop)).await;
    block_on(under_lock(&cx, &settings, stop, display, pass))
}

/// Does `work` under the lock of passes, and shows how far it is.
async fn under_lock(
    cx: &Context<System>,
    settings: &Settings,
    stop: &AtomicBool,
    display: Display,
    work: impl AsyncFn(&Context<System>) -> Result<Report, reconcile::Error>,
) -> Result<Report, Failed> {
    let lock = settings.root.at("/run/wharf/pass.lock");
    let _lock = tokio::select! {
        biased;
        taken = lock::PassLock::take(&lock, settings.lock_timeout) => taken.map_err(Failed::Lock)?,
        () = progress::stopped(stop) => return Err(Failed::Stopped),
    };
    let progress = cx.host.engine().progress();
    progress::shown(progress, display, stop, work(cx)).await.map_err(Failed::Pass)
}

/// Why `apply` did nothing.
enum Failed {
    Lock(lock::Error),
    Pass(reconcile::Error),
    /// While it waited for the lock.
    Stopped,
}

fn finish(
    result: Result<Report, Failed>,
    output: Output,
    (display, stop): (Display, &AtomicBool),
    has_faults: impl Fn(&Report) -> bool,
) -> Exit {
    match result {
        Ok(report) => {
            let is_stopped = stop.load(Ordering::Relaxed) && report.has_left();
            if output.json {
                print_json(&report);
            } else if is_stopped {
                print(&show::stopped(&report, display.has_told()));
            } else {
                print(&show::applied(&report, display.has_told()));
            }
            complain_about(&report);
            match (is_stopped, has_faults(&report)) {
                (true, _) => Exit::Stopped,
                (false, true) => Exit::Failed,
                (false, false) => Exit::Done,
            }
        }
        Err(Failed::Stopped) => {
            complain_text("stopped while waiting for another pass; nothing was changed");
            Exit::Stopped
        }
        Err(Failed::Pass(error)) => {
            complain(&error, error.remedy().as_deref());
            Exit::Failed
        }
        Err(Failed::Lock(error)) => {
            complain(&error, Some("wait for it, or look at it: systemctl status wharfd"));
            Exit::Failed
        }
    }
}

fn teardown(root: &Path, wish: &Wish) -> Exit {
    let Some((cx, settings)) = Desk::open(root).and_then(Desk::context) else {
        return Exit::Failed;
    };
    log(tracing::level_filters::LevelFilter::WARN);
    let (stop, output) = (stop_by_signal(), Output { json: false });
    let display = Display::of(output);
    let teardown =
        async |cx: &Context<System>| Box::pin(reconcile::teardown(cx, wish, &stop)).await;
    let work = under_lock(&cx, &settings, &stop, display, teardown);
    let Some(result) = block_on(work) else { return Exit::Failed };
    finish(result, output, (display, &stop), Report::has_faults)
}

fn schema(root: &Path, database: &str, output: Output) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let text =
        if output.json { desk.schema.to_json(database) } else { desk.schema.manual(database) };
    match text {
        Ok(Some(text)) => {
            print(&text);
            Exit::Done
        }
        Ok(None) => {
            complain_text(&format!(
                "database '{database}' has no schema, its records are free-form; there is one for: docker_containers docker_images configuration"
            ));
            Exit::Failed
        }
        Err(error) => {
            complain(&error, None);
            Exit::Failed
        }
    }
}

/// `db` and `config`.
fn run_db(tool: db::Tool, args: &[OsString], root: &Path) -> ExitCode {
    let (name, line) = db::named(tool, args);
    if let Some(exit) = name.and_then(|name| export::of_db(root, name, line)) {
        return exit.into();
    }
    let Some(mut desk) = Desk::open(root) else { return Exit::Failed.into() };
    desk.audit.author.command = db::command_line(tool, args, &desk.schema);
    let location = desk.store_of(name);
    let mut store = match crate::db::open(&location, &desk.audit) {
        Ok(store) => store,
        Err(error) => {
            complain(&error, None);
            return Exit::Failed.into();
        }
    };
    if let Some(database) = check::asked_for(tool, args) {
        return check::all(&desk, store.as_ref(), &database).into();
    }
    let check = |store: &dyn Store, database: &DbName, changes: &[Change]| {
        check::changes(&desk, store, database, changes)
    };
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    ExitCode::from(db::run(tool, args, store.as_mut(), &check, &mut out, &mut err))
}

/// Everything that is wrong, each with its cause and what would mend it.
fn complain_about(report: &Report) {
    complain_text_raw(&show::faults(report));
}

/// `error` and every cause below it, one a line, and the hint last, to stderr.
fn complain(error: &dyn std::error::Error, hint: Option<&str>) {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        line(&mut text, &format!("  because: {error}"));
        cause = error.source();
    }
    if let Some(hint) = hint {
        line(&mut text, &format!("  hint: {hint}"));
    }
    complain_text_raw(&text);
}

fn complain_text(text: &str) {
    complain_text_raw(&format!("error: {text}\n"));
}

fn complain_text_raw(text: &str) {
    // Nobody is left to be told when stderr is gone.
    io::stderr().write_all(text.as_bytes()).ok();
}

fn print(text: &str) {
    print_bytes(text.as_bytes());
}

fn print_bytes(text: &[u8]) {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // A closed pipe is no fault: whoever read it has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain_text_raw(&format!("error: cannot write the answer\n  because: {error}\n"));
            OUTPUT_IS_LOST.store(true, Ordering::Relaxed);
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whether an answer did not reach whoever asked: then the command did not do its work.
static OUTPUT_IS_LOST: AtomicBool = AtomicBool::new(false);

fn print_json(value: &impl serde::Serialize) {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    print(&text);
}

/// Where an override is kept, for the commands by hand.
fn overrides(desk: &Desk) -> Result<desired::Overrides, host::Error> {
    host::overrides::read(&desk.overrides_file())
}
