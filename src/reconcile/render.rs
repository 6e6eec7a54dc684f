// SPDX-License-Identifier: GPL-2.0-or-later

//! The files of one look.

use std::cell::OnceCell;

use crate::desired::Resolution;
use crate::host::Host;
use crate::reconcile::{Context, Mode};
use crate::state::RenderedFile;
use crate::template::{self, Digests, Readers, Target, View};

/// Renders all files; of those whose material is what it was, the content is remembered.
pub(super) fn render<H: Host>(
    cx: &Context<H>,
    mode: Mode,
    resolution: &Resolution,
    readers: Readers,
) -> (Vec<RenderedFile>, Vec<template::Error>) {
    let digests = Digests::of(&resolution.desired);
    let variables = OnceCell::new();
    let content = |target: &Target| {
        let material = template::material(target, &cx.templates)?;
        let source = digests.as_ref().map(|digests| material.source(digests));
        let known = source.as_ref().and_then(|source| cx.host.rendered(target.path(), source));
        if let Some(known) = known {
            return Ok(known);
        }
        let view = || View::of(&resolution.desired).into_context();
        let content = material.expand(variables.get_or_init(view))?;
        if let Some(source) = source.filter(|_| mode == Mode::Apply) {
            cx.host.keep_rendered(target.path(), &source, &content);
        }
        Ok(content)
    };
    let mut files = Vec::new();
    let mut failed = Vec::new();
    for target in template::targets(&resolution.desired, readers, cx.profile, &cx.root) {
        match content(&target) {
            Ok(content) => files.push(target.file(content)),
            Err(error) => failed.push(error),
        }
    }
    (files, failed)
}
