// SPDX-License-Identifier: GPL-2.0-or-later

//! A replacement with a way back: the new container has to show that it serves before the old one goes.

use std::error::Error as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::db::value::ContainerName;
use crate::host::{Error, System, engine, file, ready};
use crate::plan::{NewContainer, Proof};
use crate::state::container::Readiness;
use crate::state::trouble::{Autopsy, FailedReplacement};

/// How long an old container gets to answer, before it is stopped.
const ASKED: Duration = Duration::from_secs(1);

/// Puts `new` in the place of `old`; without a proof there is no way back.
pub(super) async fn replace(
    system: &System,
    old: &str,
    old_is_up: bool,
    new: &NewContainer,
    proof: Option<&Proof>,
) -> Result<(), Error> {
    file::make_directories(&new.directories).await?;
    let mut proof = proof.cloned();
    if let Some(proof) = &mut proof
        && !proof.is_said
        && !(old_is_up && ready::answers(&proof.readiness, ASKED).await)
    {
        // Many records name a port on which nothing listens: that is no fault of the new one.
        proof.readiness = Readiness::Running;
    }
    let id = Box::pin(system.engine.put_in_place(old, new)).await?;
    let name = &new.spec.name;
    if let Some(proof) = &proof {
        finish(system, name, old, old_is_up, proof).await?;
    } else {
        system.engine.start(name.as_str()).await?;
        system.engine.remove(old).await?;
    }
    system.note_made(name, id);
    system.memory.remember_spec(&new.spec)
}

/// Starts the new container of `name` and waits until it serves; then the `previous` one goes. When it
/// does not serve, the previous one comes back, and that is remembered.
pub(super) async fn finish(
    system: &System,
    name: &ContainerName,
    previous: &str,
    previous_was_up: bool,
    proof: &Proof,
) -> Result<(), Error> {
    let proved = match system.engine.start(name.as_str()).await {
        Ok(()) => {
            let limit = system.ready_timeout + proof.patience;
            ready::prove(&system.engine, name, &proof.readiness, limit).await
        }
        Err(error) => Err(error),
    };
    let Err(error) = proved else {
        system.engine.remove(previous).await?;
        return Ok(());
    };
    if !is_of_the_container(&error) {
        return Err(error);
    }
    let autopsy = system.engine.autopsy(name).await.unwrap_or_default();
    let message = words(&error, &autopsy);
    // Before the way back: whoever is cut off in it does not try the new one again.
    let mut trouble = system.memory.trouble(name);
    trouble.replacement = Some(FailedReplacement {
        hash: proof.hash.clone(),
        image: proof.image.clone(),
        at: Timestamp::now(),
        why: message.clone(),
    });
    system.memory.keep_trouble(name, &trouble)?;
    system.engine.go_back(name, previous, previous_was_up).await?;
    if previous_was_up {
        ready::prove(&system.engine, name, &Readiness::Running, system.ready_timeout).await?;
    }
    let source = Box::new(engine::Error::WentBack { message });
    Err(Error::Engine { doing: format!("replace container {name}"), source })
}

/// Whether the new container is to blame, and not an engine that does not answer.
fn is_of_the_container(error: &Error) -> bool {
    match error {
        Error::NotReady { .. } => true,
        Error::Engine { source, .. } => match **source {
            engine::Error::Refused { .. } | engine::Error::NoImage { .. } => true,
            engine::Error::Unreachable { .. }
            | engine::Error::Silent { .. }
            | engine::Error::Broken { .. }
            | engine::Error::WentBack { .. }
            | engine::Error::Endpoint(_) => false,
        },
        Error::File { .. }
        | Error::Command { .. }
        | Error::Unit { .. }
        | Error::Refused { .. }
        | Error::GuardNotLoaded(_)
        | Error::Kernel { .. } => false,
    }
}

fn words(error: &Error, autopsy: &Autopsy) -> String {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let last = autopsy.words();
    if last.is_empty() { cause } else { format!("{cause}; {last}") }
}
