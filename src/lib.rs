// SPDX-License-Identifier: GPL-2.0-or-later

//! Wharf: containers described as records, kept running and correctly exposed.
//!
//! Data passes each room once:
//!
//! ```text
//! db (records) ─► desired ─► template ─► plan ─► apply ─► reconcile (report) ─► cli, daemon
//!                    ▲                    ▲        │
//!                    └──── host (observe) ┴────────┘ host (perform)
//! ```
//!
//! The rooms, in this order; a room uses only rooms above it (held by `tests/it/layers.rs`):
//!
//! | room | what it does |
//! | --- | --- |
//! | [`settings`] | our own settings: paths below the root, sysconfig file; knows no other room |
//! | [`db`] | the config database: records in `SQLite` or e-smith flat files; the schema |
//! | [`state`] | the types of what is desired and what is observed |
//! | [`desired`] | records → desired state; the only place where a property's text gets a meaning |
//! | [`event`] | what an event is and what is run for it, in which order |
//! | [`template`] | desired state → rendered files |
//! | [`plan`] | desired, files, observed → steps with reasons; decides, does nothing |
//! | [`host`] | the machine: engine, bridge, sysctl, guard, files, units |
//! | [`apply`] | runs a plan: bounded parallelism, a failure holds back only what depends on it |
//! | [`reconcile`] | one pass, from reading the records to the report |
//! | [`daemon`] | merges triggers and runs passes |
//! | [`cli`] | the command line |
//!
//! Invariants:
//!
//! 1. A room imports only earlier ones; `host` may name `plan::Step`, `plan` may not name `host`.
//! 2. `db/record.rs`, `db/value.rs`, `state`, `desired`, `event`, `template` but `fragment.rs` and
//!    `order.rs`, and `plan`
//!    read no clock, file, socket, environment or randomness.
//! 3. Only `host` changes the machine, only `db` changes records, only `host/command.rs` and
//!    `host/handler.rs` start a process, only `main.rs` ends ours, only `cli` prints.
//! 4. Wharf writes one thing into the records: a fixed address for a container that has none, given
//!    by [`desired::Drafts::assign`] and committed before the pass.
//! 5. We touch only what carries our label, our table or what we wrote last; the rest is foreign.
//! 6. One pass at a time, under one lock file shared by the command line and the daemon; one event
//!    at a time, under another.

pub mod apply;
pub mod cli;
pub mod daemon;
pub mod db;
pub mod desired;
pub mod event;
pub mod host;
pub mod plan;
pub mod reconcile;
pub mod settings;
pub mod state;
pub mod template;
