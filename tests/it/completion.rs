// SPDX-License-Identifier: GPL-2.0-or-later

//! What the shells offer, asked of the shells themselves.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::lab::process::{command, find, run};

/// A root with some records, and the programs by their names in `bin`.
fn place() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["wharf", "db", "config", "signal-event"] {
        symlink(env!("CARGO_BIN_EXE_wharf"), bin.join(name)).unwrap();
    }
    std::fs::create_dir_all(root.path().join("etc/wharf/events/nightly")).unwrap();
    for line in [
        "docker_containers set wordpress service Image wordpress TCPPort 80 Secret_DB hunter2",
        "docker_containers set mysql service Image mariadb StartOn night",
        "my_own set two words",
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let mut command = command(bin.join("db"));
        command.args(words).env("WHARF_ROOT", root.path());
        command.env_remove("DBPATH").env_remove("WHARF_STORE");
        run(&mut command, 20).succeeded();
    }
    let mut command = command(bin.join("signal-event"));
    run(command.arg("nightly").env("WHARF_ROOT", root.path()), 20).succeeded();
    root
}

/// What `shell` offers when the last word of `line` is being written.
fn offered(shell: &str, root: &Path, line: &str) -> Vec<String> {
    let words: Vec<_> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let (words, last) = (words.join(" "), words.len());
    let script = match shell {
        "bash" => format!(
            "source <(wharf completion bash); COMP_WORDS=({words}); COMP_CWORD={}; _wharf
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            last - 1
        ),
        "zsh" => format!(
            "compdef() {{ :; }}; source <(wharf completion zsh)
             compadd() {{ shift; print -l -- \"$@\"; }}
             words=({words}); CURRENT={last}; _wharf"
        ),
        _ => format!("wharf completion fish | source; complete -C '{line}'"),
    };
    let program = find(shell).unwrap_or_else(|| panic!("there is no {shell} to try"));
    let mut command = command(program);
    if shell == "zsh" {
        command.arg("-f");
    }
    let path = format!("{}/bin:/usr/bin:/bin", root.display());
    command.args(["-c", &script]).env("WHARF_ROOT", root).env("PATH", path).env("HOME", root);
    command.env_remove("DBPATH").env_remove("WHARF_STORE");
    let shown = run(&mut command, 20).succeeded().stdout;
    shown.lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

#[test]
fn every_shell_offers_the_commands_and_options_of_the_help() {
    let root = place();
    let mut help = command(env!("CARGO_BIN_EXE_wharf"));
    let help = run(help.arg("--help").env("COLUMNS", "100"), 20).succeeded().stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut commands: Vec<&str> =
        commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    commands.retain(|word| *word != "help");
    commands.sort_unstable();
    assert!(commands.len() > 20 && commands.contains(&"doctor"), "{help}");
    let is_there = |shell: &&str| find(shell).is_some();
    for shell in ["bash", "zsh"].into_iter().chain(["fish"].into_iter().filter(is_there)) {
        let mut shown = offered(shell, root.path(), "wharf ");
        shown.retain(|word| !word.starts_with('-') && word != "help");
        shown.sort();
        assert_eq!(shown, commands, "{shell}");
        let options = offered(shell, root.path(), "wharf status --");
        assert!(options.iter().any(|word| word == "--watch"), "{shell}: {options:?}");
    }
}

#[test]
fn every_shell_knows_databases_keys_properties_and_values() {
    let root = place();
    // Rocky has no fish; where it is, it is tried.
    let is_there = |shell: &&str| find(shell).is_some();
    for shell in ["bash", "zsh"].into_iter().chain(["fish"].into_iter().filter(is_there)) {
        let offered = |line: &str| offered(shell, root.path(), line);
        assert_eq!(offered("db docker_c"), ["docker_containers"], "{shell}");
        assert_eq!(offered("db my"), ["my_own"], "{shell}");
        assert_eq!(offered("db docker_containers setp"), ["setprop"], "{shell}");
        assert_eq!(offered("db docker_containers setprop w"), ["wordpress"], "{shell}");
        assert_eq!(offered("db docker_containers setprop wordpress acc"), ["access"], "{shell}");
        let access = offered("db docker_containers setprop wordpress access ");
        assert_eq!(access, ["localhost", "private", "public"], "{shell}");
        let next = offered("db docker_containers setprop wordpress access public Interl");
        assert_eq!(next, ["Interlinked"], "{shell}");
        let links = offered("db docker_containers setprop wordpress Interlinked ");
        assert_eq!(links, ["mysql", "wordpress"], "{shell}");
        let port = offered("db docker_containers setprop wordpress TCPPort ");
        assert_eq!(port, ["80"], "{shell}");
        let secret = offered("db docker_containers setprop wordpress Secret_DB ");
        assert!(!secret.iter().any(|word| word.contains("hunter2")), "{shell}: {secret:?}");
        let set = offered("db docker_containers delprop wordpress ");
        assert_eq!(set, ["Image", "Secret_DB", "TCPPort"], "{shell}");
        assert_eq!(offered("config set doc"), ["docker"], "{shell}");
        assert_eq!(offered("wharf restart my"), ["mysql"], "{shell}");
        assert_eq!(offered("wharf explain my"), ["mysql"], "{shell}");
        assert_eq!(offered("wharf explain mysql --from w"), ["wordpress"], "{shell}");
        assert_eq!(offered("wharf explain mysql --from l"), ["lan"], "{shell}");
        assert_eq!(offered("wharf hist"), ["history"], "{shell}");
        assert_eq!(offered("wharf undo 3"), ["3"], "{shell}");
        assert_eq!(offered("signal-event night"), ["night", "nightly"], "{shell}");
        assert_eq!(offered("wharf signal-event docker-u"), ["docker-update"], "{shell}");
        assert_eq!(offered("signal-event container-modify w"), ["wordpress"], "{shell}");
        // Shells sort each in its own way.
        let shown = offered("wharf events show ");
        assert!(shown.len() == 2 && shown.contains(&"1".to_owned()), "{shell}: {shown:?}");
    }
}
