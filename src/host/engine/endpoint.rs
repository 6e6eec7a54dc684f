// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the engine listens, and whether it is safe to talk to it there.
//!
//! Whoever may talk to an engine is root on its host. A TCP endpoint without TLS is therefore
//! accepted on loopback only.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bollard::errors::Error as Answer;
use bollard::{ClientVersion, Docker};

/// Where Docker Engine listens when nobody says otherwise.
pub const DEFAULT: &str = "unix:///var/run/docker.sock";

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this host.
    Unix(PathBuf),
    /// Loopback, without TLS.
    Loopback(String),
    /// Any address, with TLS and the certificates of this directory.
    Tls(String, PathBuf),
}

/// An endpoint that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not of a kind that we speak.
    #[error("engine endpoint '{0}': right would be unix:///path/to/socket or tcp://HOST:PORT")]
    Unknown(String),
    /// Whoever listens on the way would be root here.
    #[error(
        "engine endpoint '{0}': TCP without TLS is refused beyond loopback, because whoever can talk to the engine is root on this host"
    )]
    NoTls(String),
}

impl BadEndpoint {
    /// What would mend it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unknown(_) => "DOCKER_HOST=unix:///var/run/docker.sock".to_owned(),
            Self::NoTls(_) => {
                "DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/etc/docker/certs (ca.pem, cert.pem, key.pem), or config setprop docker TlsCertPath DIR".to_owned()
            }
        }
    }
}

impl Endpoint {
    /// Reads `text`; `certificates` is the directory with `ca.pem`, `cert.pem` and `key.pem`.
    ///
    /// # Errors
    ///
    /// It is no endpoint, or not safe.
    pub fn parse(text: &str, certificates: Option<&Path>) -> Result<Self, BadEndpoint> {
        let unknown = || BadEndpoint::Unknown(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(unknown())
            };
        }
        let address = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))
            .or_else(|| text.strip_prefix("https://"))
            .ok_or_else(unknown)?
            .trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or_else(unknown)?;
        port.parse::<u16>().map_err(|_| unknown())?;
        if let Some(directory) = certificates {
            return Ok(Self::Tls(address.to_owned(), directory.to_owned()));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if is_loopback {
            Ok(Self::Loopback(address.to_owned()))
        } else {
            Err(BadEndpoint::NoTls(text.to_owned()))
        }
    }

    /// A client for it; nothing is sent yet.
    pub(super) fn connect(&self, seconds: u64, api: &ClientVersion) -> Result<Docker, Answer> {
        match self {
            // The scheme is stripped by the client only when it is there.
            Self::Unix(path) => {
                Docker::connect_with_unix(&format!("unix://{}", path.display()), seconds, api)
            }
            Self::Loopback(address) => {
                Docker::connect_with_http(&format!("tcp://{address}"), seconds, api)
            }
            Self::Tls(address, directory) => Docker::connect_with_ssl(
                &format!("tcp://{address}"),
                &directory.join("key.pem"),
                &directory.join("cert.pem"),
                &directory.join("ca.pem"),
                seconds,
                api,
            ),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Loopback(address) => write!(f, "tcp://{address}"),
            Self::Tls(address, _) => write!(f, "tcp://{address} (TLS)"),
        }
    }
}

/// Whether nobody listens at all, or we may not connect; everything else broke in the middle.
pub(super) fn is_unreachable(error: &Answer) -> bool {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    if matches!(error, Answer::SocketNotFoundError(_)) {
        return true;
    }
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::PermissionDenied
            );
        }
        cause = error.source();
    }
    error.to_string().contains("client error (Connect)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_without_tls_is_for_loopback_only() {
        assert!(Endpoint::parse("tcp://127.0.0.1:2375", None).is_ok());
        assert!(Endpoint::parse("tcp://[::1]:2375", None).is_ok());
        for text in ["tcp://10.0.0.1:2375", "tcp://0.0.0.0:2375", "tcp://engine.example:2375"] {
            assert_eq!(
                Endpoint::parse(text, None),
                Err(BadEndpoint::NoTls(text.to_owned())),
                "{text}"
            );
            assert!(Endpoint::parse(text, Some(Path::new("/certs"))).is_ok());
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in ["", "docker", "unix://relative", "ssh://host", "tcp://host", "tcp://h:99999"] {
            assert_eq!(
                Endpoint::parse(text, None),
                Err(BadEndpoint::Unknown(text.to_owned())),
                "{text}"
            );
        }
    }
}
