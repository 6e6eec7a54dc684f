// SPDX-License-Identifier: GPL-2.0-or-later

//! The lines of the log, in the form of e-smith's own. Pure.

use std::time::Duration;

/// The name in the log.
pub const IDENT: &str = "esmith::event";

/// Longest piece of a handler's line that is one line of the log; the daemons take 8 KiB.
pub const LONGEST: usize = 4096;

/// An event begins.
pub fn begins(event: &str, args: &[String]) -> String {
    let mut words = vec![event];
    words.extend(args.iter().map(String::as_str));
    format!("Processing event: {}", words.join(" "))
}

/// A handler begins.
pub fn runs(path: &str) -> String {
    format!("Running event handler: {path}")
}

/// A handler cannot be run.
pub fn skips(path: &str) -> String {
    format!("Skipping non-executable event handler: {path}")
}

/// A handler has ended: its name, when it began since 1970 and how long it took, and the raw wait
/// status when it is not 0.
pub fn ended(name: &str, event: &str, began: Duration, took: Duration, status: i32) -> String {
    let ended = began + took;
    let stamp = |time: Duration| format!("{} {}", time.as_secs(), time.subsec_micros());
    // In whole microseconds as the two stamps are, and without zeros at the end as perl has it.
    let elapsed = format!("{}.{:06}", took.as_secs(), took.subsec_micros());
    let elapsed = elapsed.trim_end_matches('0').trim_end_matches('.');
    let mut text = format!(
        "{name}=action|Event|{event}|Action|{name}|Start|{}|End|{}|Elapsed|{}",
        stamp(began),
        stamp(ended),
        elapsed
    );
    if status != 0 {
        text.push_str("|Status|");
        text.push_str(&status.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_original() {
        assert_eq!(begins("ev", &["a".to_owned(), "b c".to_owned()]), "Processing event: ev a b c");
        assert_eq!(begins("ev", &[]), "Processing event: ev");
        let began = Duration::new(1_396_000_000, 250_000_999);
        assert_eq!(
            ended("S10a", "ev", began, Duration::from_micros(1_750_001), 768),
            "S10a=action|Event|ev|Action|S10a|Start|1396000000 250000|End|1396000002 1|Elapsed|1.750001|Status|768"
        );
        let fine = ended("x", "ev", began, Duration::from_micros(500), 0);
        assert!(fine.ends_with("|Elapsed|0.0005"), "{fine}");
        let whole = ended("x", "ev", began, Duration::from_secs(20), 0);
        assert!(whole.ends_with("|Elapsed|20"), "{whole}");
    }
}
