// SPDX-License-Identifier: GPL-2.0-or-later

//! The one binary: `wharf`, and by the name it is called by `wharfd`, `db`, `config`, `signal-event`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wharf::cli::main(std::env::args_os().collect())
}
