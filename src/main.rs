// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf`, and by the name it is called by `wharfd`, `db`, `config`, `signal-event`,
//! `initialize-default-databases`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wharf::cli::main(std::env::args_os().collect())
}
