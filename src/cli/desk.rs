// SPDX-License-Identifier: GPL-2.0-or-later

//! What every command works with: settings, schema, store, and the engine when it is needed.

use std::path::{Path, PathBuf};

use crate::cli::{author, complain};
use crate::db::schema::Schema;
use crate::db::{Audit, DbName, Location};
use crate::desired;
use crate::host::engine::{Endpoint, Engine, endpoint};
use crate::host::{self, System};
use crate::reconcile::Context;
use crate::reconcile::survey::Machine;
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
        let host = crate::db::open(&self.store, &self.audit)
            .ok()
            .and_then(|store| store.read(&DbName::try_from(DbName::CONFIGURATION).ok()?).ok())
            .map(|configuration| desired::Snapshot { configuration, ..Default::default() })
            .map(|all| desired::network::host_record(&all, &self.schema, &self.settings.root).0);
        let text = self
            .settings
            .engine
            .clone()
            .or_else(|| host.as_ref().and_then(|host| host.endpoint.clone()))
            .unwrap_or_else(|| endpoint::DEFAULT.to_owned());
        let certificates = self
            .settings
            .engine_certificates
            .clone()
            .or_else(|| host.and_then(|host| host.certificates));
        let endpoint = Endpoint::parse(&text, certificates.as_deref())?;
        let engine = Engine::new(&endpoint, self.settings.engine_timeout)?;
        Ok(engine.with_silence(self.settings.pull_timeout))
    }

    /// The context of a pass; prints why there is none.
    pub(super) fn context(self) -> Option<(Context<System>, Settings)> {
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(error) => {
                complain(&error, error.remedy().as_deref());
                return None;
            }
        };
        let host = System::new(engine, self.settings.root.clone(), self.settings.ready_timeout);
        Some(self.with(host))
    }

    /// The context of a look, for which an engine is no must.
    pub(super) fn survey(self) -> Context<Machine> {
        let host = match self.engine() {
            Ok(engine) => {
                let (root, timeout) = (self.settings.root.clone(), self.settings.ready_timeout);
                Machine::WithEngine(Box::new(System::new(engine, root, timeout)))
            }
            Err(source) => Machine::WithoutEngine(host::Error::Engine {
                doing: "list containers".to_owned(),
                source: Box::new(source),
            }),
        };
        self.with(host).0
    }

    fn with<H>(self, host: H) -> (Context<H>, Settings) {
        let overrides = self.overrides_file();
        let templates = Roots::of(self.settings.profile, &self.settings.root);
        let Self { settings, schema, store, audit } = self;
        let context = Context {
            root: settings.root.clone(),
            profile: settings.profile,
            store,
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
