// SPDX-License-Identifier: GPL-2.0-or-later

//! Programs that read a word of their command line as commands of a shell.

/// Shells, and programs that give `-c` to one.
const SHELLS: [&str; 31] = [
    "sh", "bash", "dash", "ash", "ksh", "ksh88", "ksh93", "ksh2020", "lksh", "mksh", "oksh",
    "loksh", "pdksh", "posh", "rksh", "rbash", "zsh", "rzsh", "yash", "fish", "csh", "tcsh", "bsh",
    "elvish", "nu", "pwsh", "xonsh", "su", "runuser", "script", "flock",
];
/// They give any of their words to a shell, or to one on another machine.
const RUNNERS: [&str; 3] = ["watch", "tmux", "parallel"];
/// Options of ssh that a word follows.
const SSH: &str = "BbcDEeFIiJLlmOopQRSWw";
/// Options of su, runuser and podman whose word a shell reads.
const LONG: [&str; 4] = ["--command", "--session-command", "--health-cmd", "--health-startup-cmd"];

/// Whether `word` names a shell, by its path or not.
fn is_shell(word: &str) -> bool {
    SHELLS.contains(&base(word))
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or_default()
}

/// Whether the program that `word` names is not known: it comes from a variable, a substitution or a value.
pub(super) fn is_unknown(word: &str) -> bool {
    word.is_empty() || word.contains(|c: char| c == '$' || c.is_control())
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
    if words.iter().any(|word| RUNNERS.contains(&base(word))) || is_split(words, word) {
        return true;
    }
    if let Some(ssh) = words.iter().position(|word| base(word) == "ssh") {
        return is_remote(&words[ssh + 1..], word);
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

/// Whether `env -S` takes the word apart.
fn is_split(words: &[String], word: &str) -> bool {
    let Some(env) = words.iter().position(|word| base(word) == "env") else { return false };
    let splits = |word: &str| {
        let is_short = word.starts_with('-') && !word.starts_with("--") && word.contains('S');
        is_short || word.starts_with("--s")
    };
    splits(word) || words[env + 1..].last().is_some_and(|last| splits(last))
}

/// Whether the word behind `words` is a part of what ssh runs there, or an option that may run something here.
fn is_remote(words: &[String], word: &str) -> bool {
    let mut is_word = false;
    for word in words {
        if std::mem::take(&mut is_word) {
            continue;
        }
        let Some(options) = word.strip_prefix('-') else { return true };
        is_word = options.ends_with(|c| SSH.contains(c)) && options.len() == 1;
    }
    word.starts_with("-o") || words.last().is_some_and(|last| last == "-o")
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
            "/bin/rbash -c ",
            "ksh93 -c ",
            "fish -c ",
            "env -S ",
            "env -iS",
            "env --split-string=",
            "watch -n1 ",
            "tmux new -d ",
            "parallel ",
            "/usr/bin/ssh host ",
            "ssh -p 22 -i key host ls ",
            "ssh -o ",
            "ssh -oProxyCommand=",
        ] {
            assert!(reads(line), "{line}");
        }
        for line in [
            "",
            "sh ",
            "sh x ",
            "sh -c x ",
            "sh -c -e x ",
            "tar -c ",
            "bash --norc ",
            "ssh ",
            "ssh -p ",
            "ssh -i k ",
            "env A=",
        ] {
            assert!(!reads(line), "{line}");
        }
    }
}
