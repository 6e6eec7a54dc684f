// SPDX-License-Identifier: GPL-2.0-or-later

//! What every command works with: settings, schema, store, and the engine when it is needed.

use std::path::{Path, PathBuf};

use crate::cli::{author, complain};
use crate::db::schema::Schema;
use crate::db::{Audit, Location, Records};
use crate::desired;
use crate::host::engine::{Endpoint, Engine, endpoint};
use crate::host::{self, System};
use crate::reconcile::survey::Machine;
use crate::reconcile::{Context, Kept};
use crate::settings::{self, Root, Settings, StoreSetting};
use crate::template::Roots;

/// Everything that a command works with.
pub(super) struct Desk {
    pub(super) settings: Settings,
    pub(super) schema: Schema,
    pub(super) store: Location,
    pub(super) audit: Audit,
}

impl Desk {
    /// Prints why there is none.
    pub(super) fn open(root: &Path) -> Option<Self> {
        let root = match std::path::absolute(root) {
            Ok(root) => Root::new(root),
            Err(error) => {
                complain(&error, None);
                return None;
            }
        };
        let settings = match settings::load(root, &|name| std::env::var_os(name)) {
            Ok(settings) => settings,
            Err(error) => {
                complain(&error, Some(&format!("edit {}", settings::SYSCONFIG)));
                return None;
            }
        };
        let store = match &settings.store {
            StoreSetting::Sqlite(file) => Location::Sqlite(file.clone()),
            StoreSetting::Esmith(directory) => Location::Esmith(directory.clone()),
            StoreSetting::Dbpath(directory) => Location::EsmithBelow(directory.clone()),
        };
        let schema = Schema::new(Some(settings.root.at("/usr/share/wharf/db-schema")));
        let audit = Audit { author: author::author(), limit: settings.history_limit };
        Some(Self { settings, schema, store, audit })
    }

    /// The store in which `database` is: an absolute name is a flat file of its own, as for e-smith.
    pub(super) fn store_of(&self, database: Option<&str>) -> Location {
        match (&self.store, database) {
            (Location::Sqlite(_), Some(name)) if name.starts_with('/') => {
                let above = Path::new(name).parent().unwrap_or(Path::new("/"));
                Location::Esmith(above.to_owned())
            }
            (Location::Sqlite(_) | Location::Esmith(_) | Location::EsmithBelow(_), _) => {
                self.store.clone()
            }
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.settings.root.at(path)
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.path("/run/wharf/pass.lock")
    }

    pub(super) fn overrides_file(&self) -> PathBuf {
        self.path("/run/wharf/overrides.json")
    }

    /// `DOCKER_HOST`, else the record, else Docker's own socket.
    pub(super) fn engine(&self) -> Result<Engine, crate::host::engine::Error> {
        self.engine_by(&self.look().0)
    }

    /// The host's own records, and what was read with them.
    fn look(&self) -> (Records, Kept) {
        let store = crate::db::open(&self.store, &self.audit);
        store.and_then(|store| Kept::read(store.as_ref())).unwrap_or_default()
    }

    fn engine_by(&self, configuration: &Records) -> Result<Engine, crate::host::engine::Error> {
        let all = desired::Snapshot { configuration: configuration.clone(), ..Default::default() };
        let (host, _) = desired::network::host_record(&all, &self.schema, &self.settings.root);
        let text = self
            .settings
            .engine
            .clone()
            .or(host.endpoint)
            .unwrap_or_else(|| endpoint::DEFAULT.to_owned());
        let certificates = self.settings.engine_certificates.clone().or(host.certificates);
        let endpoint = Endpoint::parse(&text, certificates.as_deref())?;
        let engine = Engine::new(&endpoint, self.settings.engine_timeout)?;
        Ok(engine.with_silence(self.settings.pull_timeout))
    }

    /// The context of a pass; prints why there is none.
    pub(super) fn context(self) -> Option<(Context<System>, Settings)> {
        let context = self.try_context();
        context.inspect_err(|error| complain(error, error.remedy().as_deref())).ok()
    }

    /// The context of a pass, or why there is none: the engine's address or its certificates are bad.
    pub(super) fn try_context(
        self,
    ) -> Result<(Context<System>, Settings), crate::host::engine::Error> {
        let (configuration, kept) = self.look();
        let engine = self.engine_by(&configuration)?;
        let host = System::new(engine, self.settings.root.clone(), self.settings.ready_timeout);
        Ok(self.with(host, kept))
    }

    /// The context of a look, for which an engine is no must.
    pub(super) fn survey(self) -> Context<Machine> {
        let (configuration, kept) = self.look();
        let host = match self.engine_by(&configuration) {
            Ok(engine) => {
                let (root, timeout) = (self.settings.root.clone(), self.settings.ready_timeout);
                Machine::WithEngine(Box::new(System::new(engine, root, timeout)))
            }
            Err(source) => Machine::WithoutEngine(host::Error::Engine {
                doing: "list containers".to_owned(),
                source: Box::new(source),
            }),
        };
        self.with(host, kept).0
    }

    fn with<H>(self, host: H, kept: Kept) -> (Context<H>, Settings) {
        let overrides = self.overrides_file();
        let templates = Roots::of(self.settings.profile, &self.settings.root);
        let Self { settings, schema, store, audit } = self;
        let context = Context {
            root: settings.root.clone(),
            profile: settings.profile,
            store,
            kept,
            audit,
            schema,
            templates,
            host,
            overrides,
            parallel: settings.parallel,
            engine_wait: settings.engine_wait,
        };
        (context, settings)
    }
}
