// SPDX-License-Identifier: GPL-2.0-or-later

//! The matrix as text: what must be and what is, in one sign a cell.

use std::fmt::Write as _;

use super::policy::Kind;
use super::{Cell, LeftOut};
use crate::lab::{Engine, Mode};

/// Prints it; the test runner shows it when the test fails, or is told to.
#[expect(clippy::print_stdout, reason = "the table is what the test is for")]
pub(super) fn print(engine: Engine, mode: Mode, cells: &[Cell], left_out: &LeftOut) {
    println!("{}", render(engine, mode, cells, left_out));
}

/// Rows: source, family, way; columns: kind, TCP before UDP.
fn render(engine: Engine, mode: Mode, cells: &[Cell], left_out: &LeftOut) -> String {
    let mut text = format!("{engine:?}, {mode:?}: {} cells, each TCP then UDP\n", cells.len());
    text.push_str(
        "O must be open and is, . must be closed and is, ! must be open, X must be closed\n",
    );
    let _ = write!(text, "{:38}", "");
    for kind in Kind::ALL {
        let _ = write!(text, "{:10}", kind.name());
    }
    let mut row = None;
    let mut line = String::new();
    for cell in cells {
        let this = (cell.source, cell.family(), cell.way);
        if row != Some(this) {
            row = Some(this);
            let _ = write!(text, "\n{line}");
            line = format!("{:9} {:?} {}", cell.source.name(), cell.family(), cell.way.name());
        }
        let sign = match (cell.must, cell.is) {
            (true, true) => 'O',
            (false, false) => '.',
            (true, false) => '!',
            (false, true) => 'X',
        };
        let column = 38 + 10 * cell.kind as usize + cell.shot.transport as usize;
        let _ = write!(line, "{:1$}{sign}", "", column - line.len());
    }
    let _ = writeln!(text, "\n{line}");
    text.push_str("a cell is empty where a disabled record has no container to ask\n");
    for ((why, family), sources) in left_out {
        let _ = writeln!(text, "not asked by {family:?}, because {why}:");
        for (source, ways) in sources {
            let _ = writeln!(text, "    {}: {}", source.name(), ways.join(", "));
        }
    }
    text
}
