// SPDX-License-Identifier: GPL-2.0-or-later

//! What the engine says of itself.

use bollard::models::{SystemInfo, SystemVersion};

use super::whose::PODMAN;
use super::{Engine, HostError};
use crate::state::checkup::EngineAbout;

impl Engine {
    /// Its version, and where it keeps what.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn about(&self) -> Result<EngineAbout, HostError> {
        let info = match self.info().await {
            Err(HostError::Engine { source, .. }) if source.is_about_version() => {
                self.negotiate().await?;
                self.info().await?
            }
            other => other?,
        };
        let version = self.call("ask for its version", self.limit, self.client().version());
        let version = version.await?.unwrap_or_default();
        Ok(EngineAbout {
            endpoint: self.endpoint.clone(),
            name: name(&version),
            api: version.api_version.unwrap_or_default(),
            data_root: info.docker_root_dir.filter(|path| !path.is_empty()).map(Into::into),
            storage_driver: info.driver,
        })
    }

    async fn info(&self) -> Result<SystemInfo, HostError> {
        let info = self.call("ask what it is", self.limit, self.client().info());
        Ok(info.await?.unwrap_or_default())
    }
}

/// `Podman 4.3.1`; who does not say that it is Podman is Docker.
fn name(version: &SystemVersion) -> String {
    let mut parts = version.components.iter().flatten();
    let kind = if parts.any(|part| part.name == PODMAN) { "Podman" } else { "Docker" };
    let number = version.version.as_deref().unwrap_or("of an unknown version");
    format!("{kind} {number}")
}
