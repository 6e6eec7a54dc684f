// SPDX-License-Identifier: GPL-2.0-or-later

//! What Podman does by its own program only: its socket has no call that writes a container's rules again.
//!
//! The program must find the containers that are behind the socket: those of root, in the usual place.

use std::collections::BTreeSet;

use crate::db::value::ContainerName;
use crate::host::{Error, outside};

/// Has the rules of `names`, which run, written again.
pub(super) async fn reload(names: &BTreeSet<ContainerName>) -> Result<(), Error> {
    let names: Vec<&str> = names.iter().map(ContainerName::as_str).collect();
    tracing::warn!(
        containers = names.join(" "),
        "Podman's rules for the bridge were gone; podman network reload writes them again"
    );
    let args: Vec<&str> = ["network", "reload"].into_iter().chain(names).collect();
    let done = outside::run("podman", &args).await;
    done.map(drop).map_err(|source| {
        let doing = "having Podman write its rules again".to_owned();
        Error::Command { doing, source }
    })
}
