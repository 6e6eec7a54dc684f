// SPDX-License-Identifier: GPL-2.0-or-later

//! What can go wrong between us and the engine, and what helps against it.

use std::time::Duration;

use bollard::errors::Error as Answer;

use super::BadEndpoint;
use crate::db::value::ImageRef;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at its socket.
    #[error("no engine answers at {endpoint}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What the system said.
        source: Answer,
    },
    /// It answers, and says no.
    #[error("{message}")]
    Refused {
        /// Its own words.
        message: String,
    },
    /// It does not answer in time.
    #[error("the engine at {endpoint} did not answer within {} s", limit.as_secs())]
    Silent {
        /// Where it is.
        endpoint: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke in the middle.
    #[error("the connection to the engine at {endpoint} broke")]
    Broken {
        /// Where it is.
        endpoint: String,
        /// What happened.
        source: Answer,
    },
    /// The image is not in the engine and could not be got.
    #[error("image '{image}' is not in the engine and cannot be had {how}: {message}")]
    NoImage {
        /// The reference.
        image: ImageRef,
        /// `from its registry`, `from the file /srv/wiki.tar`.
        how: String,
        /// What the engine or the system said.
        message: String,
    },
    /// The new container did not serve; the old one is back in service.
    #[error("the new container does not serve, the old one is back: {message}")]
    WentBack {
        /// What the engine said.
        message: String,
    },
    /// The address of the engine makes no sense, or is not safe.
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
}

impl Error {
    /// Whether it does not speak our version of the API: `client version 1.41 is too old. Minimum
    /// supported API version is 1.44`.
    pub(super) fn is_about_version(&self) -> bool {
        match self {
            Self::Refused { message } => message.contains("supported API version"),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NoImage { .. }
            | Self::WentBack { .. }
            | Self::Endpoint(_) => false,
        }
    }

    /// Whether nobody knows what became of the call, because there was no answer.
    pub const fn is_unanswered(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Refused { .. }
            | Self::NoImage { .. }
            | Self::WentBack { .. }
            | Self::Endpoint(_) => false,
        }
    }

    /// Whether it is Podman's word `stopped` for a container that has just ended, which is none of the
    /// API's and goes by.
    pub(super) fn is_about_an_end(&self) -> bool {
        matches!(self, Self::Broken { source, .. } if source.to_string().contains("unknown variant `stopped`"))
    }

    /// Whether it counts somebody on a network that is to go.
    pub(super) fn is_about_endpoints(&self) -> bool {
        matches!(self, Self::Refused { message } if message.contains("has active endpoints"))
    }

    /// Whether somebody has the subnet that a network is to have.
    pub(super) fn is_about_a_subnet(&self) -> bool {
        matches!(self, Self::Refused { message } if message.contains("Pool overlaps"))
    }

    /// A command that would mend it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "systemctl start docker, or say where it is: DOCKER_HOST=unix:///path/docker.sock"
                    .to_owned(),
            ),
            Self::Silent { .. } => Some(
                "systemctl status docker; a slow one gets more time by WHARF_ENGINE_TIMEOUT (images: WHARF_PULL_TIMEOUT) in /etc/sysconfig/wharf"
                    .to_owned(),
            ),
            Self::Broken { .. } => Some("systemctl status docker".to_owned()),
            Self::NoImage { image, .. } => Some(format!(
                "bring it: docker pull {image}; or say where it is: db docker_images set {image} service Source archive Path /path/FILE.tar"
            )),
            Self::Endpoint(bad) => Some(bad.remedy()),
            Self::Refused { message } => left_behind(message),
            Self::WentBack { .. } => None,
        }
    }
}

/// What helps against what an engine that was killed at its work has left, and no call of ours ends.
///
/// An address that nobody has is kept by Docker 20.10 until its next start, by Podman 4 with netavark until
/// the next boot. Podman's storage can have a container that Podman does not know.
fn left_behind(message: &str) -> Option<String> {
    if message.contains("is already allocated to container ID") {
        return Some(
            "Podman keeps it since a start that was cut off, until the next boot; meanwhile another one: db docker_containers setprop NAME Address A.B.C.D, then wharf retry NAME".to_owned(),
        );
    }
    if message.contains("creating container storage") {
        let (_, after) = message.split_once("is already in use by ")?;
        let id = after.split('.').next()?;
        return Some(format!(
            "Podman's storage has it since a creation that was cut off, or buildah made it; when it is of no use: podman rm --force {id}"
        ));
    }
    message.contains("Address already in use").then(|| {
        "when no container has it: systemctl restart docker, which kept it since a start that was cut off".to_owned()
    })
}
