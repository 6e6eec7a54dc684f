// SPDX-License-Identifier: GPL-2.0-or-later

//! Our own settings: where everything lies, and the few numbers an admin may change.
//!
//! Read once, from the environment and from `/etc/sysconfig/wharf` (`KEY="value"`, the form that
//! `YaST` writes and that systemd's `EnvironmentFile=` reads; it is never run by a shell). What a
//! container needs is in its record, not here.

pub mod zone;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting has no such value.
    #[error("setting {name}: {value:?} is wrong; right would be {expected}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// The directory below which the whole product lives; `/` unless `--root` or `WHARF_ROOT` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// Below `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The path `path` below the root.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether this is the machine itself.
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }
}

/// What differs by distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Koozali SME Server.
    Sme,
    /// openSUSE.
    OpenSuse,
    /// Debian and its kin.
    Debian,
    /// Everything else, laid out as Red Hat does.
    Generic,
}

impl Profile {
    /// Where the web server reads a file of aliases.
    pub const fn web_alias_file(self) -> &'static str {
        match self {
            Self::OpenSuse => "/etc/apache2/conf.d/wharf.conf",
            Self::Debian => "/etc/apache2/conf-enabled/wharf.conf",
            Self::Sme | Self::Generic => "/etc/httpd/conf.d/wharf.conf",
        }
    }

    /// Unit of the web server.
    pub const fn web_server(self) -> &'static str {
        match self {
            Self::OpenSuse | Self::Debian => "apache2",
            Self::Sme => "httpd-e-smith",
            Self::Generic => "httpd",
        }
    }

    /// The distribution of the machine below `root`.
    fn detect(root: &Root) -> Self {
        let release = fs::read_to_string(root.at("etc/os-release")).unwrap_or_default();
        let is_like = |name: &str| {
            release
                .lines()
                .filter(|line| line.starts_with("ID=") || line.starts_with("ID_LIKE="))
                .any(|line| line.contains(name))
        };
        if root.at("etc/e-smith").is_dir() {
            Self::Sme
        } else if is_like("suse") {
            Self::OpenSuse
        } else if is_like("debian") {
            Self::Debian
        } else {
            Self::Generic
        }
    }
}

/// Where the records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSetting {
    /// One `SQLite` file.
    Sqlite(PathBuf),
    /// A directory of e-smith flat files.
    Esmith(PathBuf),
    /// The same, as `DBPATH` says it: every name is put below, an absolute one too.
    Dbpath(PathBuf),
}

/// What the daemon does when records were changed and nobody signalled an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// Makes a pass when nothing more is written.
    Apply,
    /// Leaves them to an event, or to the next pass.
    Wait,
}

/// Everything that can be set outside the records.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the product lives.
    pub root: Root,
    /// Where the records are.
    pub store: StoreSetting,
    /// Where the defaults of the records are, e-smith's layout; the later ones count.
    pub defaults: Vec<PathBuf>,
    /// What differs by distribution.
    pub profile: Profile,
    /// `DOCKER_HOST`, which goes before the record.
    pub engine: Option<String>,
    /// `DOCKER_CERT_PATH`, when `DOCKER_TLS_VERIFY` is set.
    pub engine_certificates: Option<PathBuf>,
    /// Between two passes of the daemon when nothing happens.
    pub interval: Duration,
    /// What is done about records that were changed.
    pub on_change: OnChange,
    /// For one answer of the engine.
    pub engine_timeout: Duration,
    /// For an engine that went away under a command to come back; 0: it is not waited for.
    pub engine_wait: Duration,
    /// For each sign of life while the engine gets an image.
    pub pull_timeout: Duration,
    /// For a linked container to serve.
    pub ready_timeout: Duration,
    /// For the pass of another process to end.
    pub lock_timeout: Duration,
    /// For a program that checks a file before it is written.
    pub check_timeout: Duration,
    /// For one handler of an event.
    pub handler_timeout: Duration,
    /// Steps at a time.
    pub parallel: usize,
    /// Bytes of history of the records that are kept; 0: none.
    pub history_limit: u64,
    /// Where the daemon writes its metrics; `None`: nowhere.
    pub metrics: Option<PathBuf>,
}

/// File of the settings.
pub const SYSCONFIG: &str = "/etc/sysconfig/wharf";

/// Looks one setting up: in the environment first, then in the file.
struct Source<'a> {
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    file: Vec<(String, String)>,
}

impl Source<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.environment)(name)
            .map(|value| value.to_string_lossy().into_owned())
            .or_else(|| self.file.iter().rev().find(|(key, _)| key == name).map(|(_, v)| v.clone()))
            .filter(|value| !value.is_empty())
    }

    fn number(
        &self,
        name: &'static str,
        least: u64,
        default: u64,
        most: u64,
    ) -> Result<u64, Error> {
        let Some(value) = self.text(name) else { return Ok(default) };
        value.parse().ok().filter(|n| (least..=most).contains(n)).ok_or(Error::Value {
            name,
            value,
            expected: "a whole number from 1 to 86400 (1 to 64 for WHARF_PARALLEL, 0 to 4096 for WHARF_HISTORY, 0 to 86400 for WHARF_ENGINE_WAIT)",
        })
    }
}

/// Reads the settings of the machine below `root`.
///
/// # Errors
///
/// The file cannot be read, or a setting makes no sense.
pub fn load(root: Root, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Settings, Error> {
    let path = root.at(SYSCONFIG);
    let file = match fs::read_to_string(&path) {
        Ok(text) => variables(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let source = Source { environment, file };
    let profile = profile(&source, &root)?;
    let store = store(&source, &root, profile)?;
    let defaults = match (source.text("ESMITH_DB_DEFAULTSDIR"), profile) {
        (Some(directory), _) => vec![directory.into()],
        (None, Profile::Sme) => vec![root.at("/etc/e-smith/db")],
        (None, Profile::OpenSuse | Profile::Debian | Profile::Generic) => {
            vec![root.at("/usr/share/wharf/db"), root.at("/etc/wharf/db")]
        }
    };
    let verify = source.text("DOCKER_TLS_VERIFY").is_some();
    Ok(Settings {
        store,
        defaults,
        profile,
        engine: source.text("DOCKER_HOST"),
        engine_certificates: source.text("DOCKER_CERT_PATH").filter(|_| verify).map(PathBuf::from),
        interval: Duration::from_secs(source.number("WHARF_INTERVAL", 1, 60, 86_400)?),
        on_change: on_change(&source)?,
        engine_timeout: Duration::from_secs(source.number(
            "WHARF_ENGINE_TIMEOUT",
            1,
            30,
            86_400,
        )?),
        engine_wait: Duration::from_secs(source.number("WHARF_ENGINE_WAIT", 0, 60, 86_400)?),
        pull_timeout: Duration::from_secs(source.number("WHARF_PULL_TIMEOUT", 1, 120, 86_400)?),
        ready_timeout: Duration::from_secs(source.number("WHARF_READY_TIMEOUT", 1, 60, 86_400)?),
        lock_timeout: Duration::from_secs(source.number("WHARF_LOCK_TIMEOUT", 1, 120, 86_400)?),
        check_timeout: Duration::from_secs(source.number("WHARF_CHECK_TIMEOUT", 1, 60, 86_400)?),
        handler_timeout: Duration::from_secs(source.number(
            "WHARF_HANDLER_TIMEOUT",
            1,
            3600,
            86_400,
        )?),
        parallel: usize::try_from(source.number("WHARF_PARALLEL", 1, 8, 64)?).unwrap_or(8),
        history_limit: source.number("WHARF_HISTORY", 0, 16, 4096)? << 20,
        metrics: metrics(&source, &root)?,
        root,
    })
}

fn profile(source: &Source<'_>, root: &Root) -> Result<Profile, Error> {
    Ok(match source.text("WHARF_PROFILE").as_deref() {
        // Whoever gives e-smith's tools a root has e-smith's layout there.
        None if source.text("ESMITH_ROOT").is_some() => Profile::Sme,
        None | Some("auto") => Profile::detect(root),
        Some("sme") => Profile::Sme,
        Some("opensuse") => Profile::OpenSuse,
        Some("debian") => Profile::Debian,
        Some("generic") => Profile::Generic,
        Some(other) => {
            return Err(Error::Value {
                name: "WHARF_PROFILE",
                value: other.to_owned(),
                expected: "auto, sme, opensuse, debian or generic",
            });
        }
    })
}

fn on_change(source: &Source<'_>) -> Result<OnChange, Error> {
    match source.text("WHARF_ON_CHANGE").as_deref() {
        None | Some("apply") => Ok(OnChange::Apply),
        Some("wait") => Ok(OnChange::Wait),
        Some(other) => Err(Error::Value {
            name: "WHARF_ON_CHANGE",
            value: other.to_owned(),
            expected: "apply or wait",
        }),
    }
}

fn metrics(source: &Source<'_>, root: &Root) -> Result<Option<PathBuf>, Error> {
    match source.text("WHARF_METRICS").as_deref() {
        None => Ok(Some(root.at("/run/wharf/metrics.prom"))),
        Some("none") => Ok(None),
        Some(path) => {
            let path = PathBuf::from(path);
            // The collector reads no other.
            let is_read = path.extension().is_some_and(|end| end == "prom");
            if path.is_absolute() && is_read {
                return Ok(Some(path));
            }
            Err(Error::Value {
                name: "WHARF_METRICS",
                value: path.display().to_string(),
                expected: "the absolute name of a file that ends in .prom, or none",
            })
        }
    }
}

/// `DBPATH` is a directory of flat files, as for e-smith's own `db`; `WHARF_STORE` says either.
fn store(source: &Source<'_>, root: &Root, profile: Profile) -> Result<StoreSetting, Error> {
    if let Some(directory) = source.text("DBPATH") {
        return Ok(StoreSetting::Dbpath(directory.into()));
    }
    match source.text("WHARF_STORE") {
        Some(value) => match value.split_once(':') {
            Some(("esmith", directory)) if !directory.is_empty() => {
                Ok(StoreSetting::Esmith(directory.into()))
            }
            Some(("sqlite", file)) if !file.is_empty() => Ok(StoreSetting::Sqlite(file.into())),
            _ => Err(Error::Value {
                name: "WHARF_STORE",
                value,
                expected: "sqlite:FILE or esmith:DIRECTORY",
            }),
        },
        None => Ok(match profile {
            Profile::Sme => StoreSetting::Esmith(root.at("/home/e-smith/db")),
            Profile::OpenSuse | Profile::Debian | Profile::Generic => {
                StoreSetting::Sqlite(root.at("/var/lib/wharf/config.sqlite"))
            }
        }),
    }
}

/// The variables of a sysconfig file, in its order; a later one of the same name counts.
pub fn variables(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), unquote(value.trim()).to_owned()))
        .collect()
}

/// The settings file `text` with `name` set to `value`: in the place where it is set, else at the end.
///
/// Both have to be free of quotes and of newlines.
pub fn with_variable(text: &str, name: &str, value: &str) -> String {
    let assignment = format!("{name}=\"{value}\"");
    let is_it = |line: &&str| line.trim().split_once('=').is_some_and(|(n, _)| n.trim() == name);
    let last = text.lines().filter(is_it).count();
    let mut seen = 0;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        seen += usize::from(is_it(&line));
        let is_last = is_it(&line) && seen == last;
        lines.push(if is_last { &assignment } else { line });
    }
    if last == 0 {
        lines.push(&assignment);
    }
    lines.join("\n") + "\n"
}

/// Without the quotes that `YaST` puts round every value.
fn unquote(value: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn every_path_moves_below_the_root() {
        let settings = load(Root::new("/nowhere/at/all"), &none).unwrap();
        assert_eq!(
            settings.store,
            StoreSetting::Sqlite("/nowhere/at/all/var/lib/wharf/config.sqlite".into())
        );
    }

    #[test]
    fn dbpath_goes_before_wharf_store() {
        let environment = |name: &str| match name {
            "DBPATH" => Some("/flat".into()),
            "WHARF_STORE" => Some("sqlite:/other".into()),
            _ => None,
        };
        let settings = load(Root::new("/nowhere"), &environment).unwrap();
        assert_eq!(settings.store, StoreSetting::Dbpath("/flat".into()));
    }

    #[test]
    fn a_store_of_an_unknown_kind_is_refused() {
        let environment =
            |name: &str| (name == "WHARF_STORE").then(|| OsString::from("mysql:host"));
        let error = load(Root::new("/nowhere"), &environment).unwrap_err();
        assert_eq!(
            error.to_string(),
            "setting WHARF_STORE: \"mysql:host\" is wrong; right would be sqlite:FILE or esmith:DIRECTORY"
        );
    }

    #[test]
    fn metrics_go_into_a_file_that_a_collector_reads_or_nowhere() {
        let with = |value: &'static str| {
            let environment = move |name: &str| (name == "WHARF_METRICS").then(|| value.into());
            load(Root::new("/nowhere"), &environment).map(|settings| settings.metrics)
        };
        assert_eq!(with("").unwrap(), Some("/nowhere/run/wharf/metrics.prom".into()));
        assert_eq!(with("none").unwrap(), None);
        assert_eq!(with("/srv/wharf.prom").unwrap(), Some("/srv/wharf.prom".into()));
        let error = with("/srv/wharf.txt").unwrap_err().to_string();
        assert!(error.contains("WHARF_METRICS") && error.contains(".prom"), "{error}");
    }

    #[test]
    fn a_variable_is_set_where_it_stands() {
        let text = "# WHARF_STORE=\"\"\nWHARF_STORE=\"\"\n\nWHARF_PROFILE=\"auto\"\n";
        let set = with_variable(text, "WHARF_STORE", "esmith:/x");
        let expected = "# WHARF_STORE=\"\"\nWHARF_STORE=\"esmith:/x\"\n\nWHARF_PROFILE=\"auto\"\n";
        assert_eq!(set, expected);
        assert_eq!(with_variable("A=1", "B", "2"), "A=1\nB=\"2\"\n");
    }

    #[test]
    fn a_sysconfig_file_is_read_as_yast_writes_it() {
        let text = "## Type: integer(1:86400)\nWHARF_INTERVAL=\"15\"\n\nWHARF_STORE='esmith:/x'\n";
        assert_eq!(
            variables(text),
            [
                ("WHARF_INTERVAL".to_owned(), "15".to_owned()),
                ("WHARF_STORE".to_owned(), "esmith:/x".to_owned())
            ]
        );
    }
}
