// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs several commands in turns and prints the median, least and most wall time of each.
//!
//! usage: turns RUNS < FILE, where a line of FILE is `LABEL<tab>NAME=VALUE<tab>PROGRAM<tab>ARGUMENT...`,
//! the second being a variable for the program's environment; in an argument, `{}` stands for the number
//! of the turn. In turns, so that whatever else the machine does meets all
//! alike. A command that ends with a status other than 0 ends the measurement.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures processes")]

use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let runs: usize = std::env::args().nth(1).ok_or("usage: turns RUNS < FILE")?.parse()?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let commands: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); commands.len()];
    // The first turn warms the caches and does not count.
    for turn in 0..=runs {
        for (command, times) in commands.iter().zip(&mut times) {
            let time = run(command, turn)?;
            if turn > 0 {
                times.push(time);
            }
        }
    }
    for (command, times) in commands.iter().zip(&mut times) {
        times.sort();
        let ms = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64) * 1000.0;
        println!(
            "{:40} {:8.2} {:8.2} {:8.2}",
            command.first().unwrap_or(&""),
            ms(times.get(times.len() / 2)),
            ms(times.first()),
            ms(times.last()),
        );
    }
    Ok(())
}

fn run(command: &[&str], turn: usize) -> Result<Duration, Box<dyn Error>> {
    let [_, variable, program, arguments @ ..] = command else {
        return Err("a line has no program".into());
    };
    let variable = variable.split_once('=').ok_or("a line has no variable")?;
    let arguments = arguments.iter().map(|argument| argument.replace("{}", &turn.to_string()));
    let mut process = Command::new(program);
    process.env(variable.0, variable.1).args(arguments);
    process.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = process.status()?;
    let time = start.elapsed();
    if status.success() { Ok(time) } else { Err(format!("{command:?} ended with {status}").into()) }
}
