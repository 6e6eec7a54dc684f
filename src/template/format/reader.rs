// SPDX-License-Identifier: GPL-2.0-or-later

//! Programs that read a word of their command line as commands of a shell.

/// Shells, and programs that give `-c` to one.
const SHELLS: [&str; 10] =
    ["sh", "bash", "dash", "ash", "ksh", "zsh", "su", "runuser", "script", "flock"];
/// Options of su, runuser and podman whose word a shell reads.
const LONG: [&str; 4] = ["--command", "--session-command", "--health-cmd", "--health-startup-cmd"];

/// Whether `word` names a shell, by its path or not.
pub(super) fn is_shell(word: &str) -> bool {
    SHELLS.contains(&word.rsplit('/').next().unwrap_or_default())
}

/// Whether `word` is `-c`, or several options with it.
pub(super) fn is_option_c(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains('c')
}

/// Whether a shell reads as commands the word that stands behind `words` and begins with `word`.
pub(super) fn is_script(words: &[String], word: &str) -> bool {
    let is_long = |text: &str| LONG.contains(&text);
    if words.last().is_some_and(|last| is_long(last))
        || word.split_once('=').is_some_and(|(name, _)| is_long(name))
    {
        return true;
    }
    let Some(shell) = words.iter().position(|word| is_shell(word)) else { return false };
    let mut rest = words[shell + 1..].iter();
    if !rest.any(|word| is_option_c(word)) {
        // Some take it without a blank between.
        return is_option_c(word);
    }
    // Other options may stand between, and the name of one behind -o.
    let mut is_name = false;
    for word in rest {
        if word.starts_with(['-', '+']) {
            is_name = word.ends_with(['o', 'O']);
        } else if !std::mem::take(&mut is_name) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_a_shell_reads_is_found() {
        let reads = |line: &str| {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let word = words.pop().unwrap();
            is_script(&words, &word)
        };
        for line in [
            "/bin/sh -c ",
            "/usr/bin/env bash -lc echo",
            "bash -ce ",
            "bash -c -e ",
            "bash -c -o pipefail ",
            "bash -O extglob -c x",
            "su - admin -c ",
            "su -c",
            "runuser -u a -- sh -c ",
            "su a --command=",
            "podman run --health-cmd ",
        ] {
            assert!(reads(line), "{line}");
        }
        for line in ["", "sh ", "sh x ", "sh -c x ", "sh -c -e x ", "tar -c ", "bash --norc "] {
            assert!(!reads(line), "{line}");
        }
    }
}
