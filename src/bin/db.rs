// SPDX-License-Identifier: GPL-2.0-or-later

//! `db` and `config` by themselves: a program without engine, templates and runtime starts in two thirds of
//! the time.

use std::process::ExitCode;

fn main() -> ExitCode {
    wharf::cli::db_main(&std::env::args_os().collect::<Vec<_>>())
}
