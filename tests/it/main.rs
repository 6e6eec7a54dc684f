// SPDX-License-Identifier: GPL-2.0-or-later

//! The tests from outside: one crate, linked once.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and starts programs and writes files as a user would"
)]

mod checks;
mod cli;
mod completion;
mod crash;
mod dbus;
mod defaults;
mod engine;
mod esmith;
mod events;
mod formats;
mod golden;
mod history;
mod lab;
mod layers;
mod manual;
mod rescue;
mod service;
mod stores;
mod templates;
mod transfer;
