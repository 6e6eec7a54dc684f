// SPDX-License-Identifier: GPL-2.0-or-later

//! What of a caller's environment makes his event another one. Pure.
//!
//! Handlers get the environment, so two events are equal only when that is. But each terminal, login and
//! unit has variables that say who calls and not what is meant, and equal events come from many.

/// Variables of a session.
const NAMES: &[&str] = &[
    "_",
    "COLORTERM",
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "LS_COLORS",
    "MAIL",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "OLDPWD",
    "PWD",
    "SHELL",
    "SHLVL",
    "STY",
    "SYSTEMD_EXEC_PID",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TMUX",
    "TMUX_PANE",
    "WAYLAND_DISPLAY",
    "WINDOW",
    "XAUTHORITY",
    // Of the event in which somebody was started who is now outside.
    "WHARF_EVENT",
];

/// What names of such variables begin with.
const PREFIXES: &[&str] = &["SSH_", "SUDO_", "XDG_"];

/// Whether variable `name` says only who calls, from where.
pub fn is_of_session(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::is_of_session;

    #[test]
    fn only_what_a_terminal_or_login_sets_does_not_count() {
        for name in ["TERM", "SSH_CLIENT", "_", "PWD", "WHARF_EVENT", "XDG_SESSION_ID"] {
            assert!(is_of_session(name), "{name}");
        }
        for name in ["PATH", "WHARF_ROOT", "HOME", "LANG", "TERMS", "MY_SSH_KEY", ""] {
            assert!(!is_of_session(name), "{name}");
        }
    }
}
