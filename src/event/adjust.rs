// SPDX-License-Identifier: GPL-2.0-or-later

//! What `services2adjust/` asks of a service becomes calls of systemd. Pure; the rules are e-smith's.

use std::fmt;

/// What systemd is asked to do with a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `start`
    Start,
    /// `stop`
    Stop,
    /// `restart`
    Restart,
    /// `reload`
    Reload,
    /// `reload-or-restart`
    ReloadOrRestart,
    /// `try-restart`
    TryRestart,
    /// `reload-or-try-restart`
    ReloadOrTryRestart,
    /// `enable`
    Enable,
    /// `disable`
    Disable,
    /// `kill` with this signal, as `SIGWINCH`.
    Kill(String),
}

impl Call {
    /// The words that `systemctl` takes before the unit.
    pub fn words(&self) -> Vec<String> {
        let one = |verb: &str| vec![verb.to_owned()];
        match self {
            Self::Start => one("start"),
            Self::Stop => one("stop"),
            Self::Restart => one("restart"),
            Self::Reload => one("reload"),
            Self::ReloadOrRestart => one("reload-or-restart"),
            Self::TryRestart => one("try-restart"),
            Self::ReloadOrTryRestart => one("reload-or-try-restart"),
            Self::Enable => one("enable"),
            Self::Disable => one("disable"),
            Self::Kill(signal) => vec!["kill".to_owned(), format!("--signal={signal}")],
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

/// A verb that e-smith does not know either: its action ends there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "services2adjust/{service}: there is no verb {verb:?}; the services after it are not adjusted"
)]
pub struct UnknownVerb {
    /// The service.
    pub service: String,
    /// What was asked.
    pub verb: String,
}

/// The names of `signal(7)` without `SIG`; those of real time begin with `RT`.
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN",
    "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "CLD",
];

impl Call {
    /// Whether a signal that it sends is one of `signal(7)`; every other call is known.
    pub fn is_known(&self) -> bool {
        let Self::Kill(name) = self else { return true };
        let short = name.strip_prefix("SIG").unwrap_or_default();
        short.starts_with("RT") || SIGNALS.contains(&short)
    }
}

/// Events in which no service is touched.
const UNTOUCHED: &[&str] = &["post-upgrade", "bootstrap-console-save"];

/// Whether services are adjusted in event `name` at all.
pub fn happens_in(name: &str) -> bool {
    !UNTOUCHED.contains(&name)
}

/// The verbs in a file: of each line the first lower-case letters, with a `1` or `2` after them.
pub fn verbs_in(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim_start_matches(|c: char| !c.is_ascii_lowercase());
            let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
            let digit = usize::from(matches!(rest[letters..].chars().next(), Some('1' | '2')));
            Some(rest[..letters + digit].to_owned()).filter(|verb| !verb.is_empty())
        })
        .collect()
}

/// Verbs before which nothing needs to be started.
const COMPLETE: &[&str] =
    &["start", "stop", "down", "restart", "reload", "reload-or-restart", "once", "d", "o"];

/// The calls for `service`, in their order, up to the first verb that there is not.
pub fn calls(
    service: &str,
    verbs: &[String],
    is_enabled: bool,
) -> (Vec<Call>, Result<(), UnknownVerb>) {
    if !is_enabled {
        return (vec![Call::Stop], Ok(()));
    }
    let mut calls = Vec::new();
    if !verbs.iter().any(|verb| COMPLETE.contains(&verb.as_str())) {
        calls.push(Call::Start);
    }
    for verb in verbs {
        let Some(call) = call(service, verb) else {
            let unknown = UnknownVerb { service: service.to_owned(), verb: verb.clone() };
            return (calls, Err(unknown));
        };
        calls.push(call);
    }
    (calls, Ok(()))
}

fn call(service: &str, verb: &str) -> Option<Call> {
    let call = match verb {
        "start" => Call::Start,
        "stop" => Call::Stop,
        "restart" | "sigterm" => Call::Restart,
        "reload" => Call::Reload,
        "reload-or-restart" | "adjust" | "graceful" | "sighup" | "sigusr1" | "sigusr2" => {
            Call::ReloadOrRestart
        }
        "try-restart" => Call::TryRestart,
        "reload-or-try-restart" => Call::ReloadOrTryRestart,
        "enable" => Call::Enable,
        "disable" => Call::Disable,
        other => {
            let name = other.strip_prefix("sig").filter(|name| !name.is_empty())?;
            if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
                return None;
            }
            Call::Kill(format!("SIG{}", name.to_ascii_uppercase()))
        }
    };
    // A restart would end the page that asked for it.
    let is_gentle = matches!(service, "smanager" | "httpd-e-smith");
    Some(if is_gentle && call == Call::Restart { Call::ReloadOrRestart } else { call })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(service: &str, verbs: &[&str], is_enabled: bool) -> String {
        let verbs: Vec<String> = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        let (calls, end) = calls(service, &verbs, is_enabled);
        let mut shown: Vec<String> = calls.iter().map(ToString::to_string).collect();
        shown.extend(end.err().map(|unknown| format!("no {}", unknown.verb)));
        shown.join(", ")
    }

    #[test]
    fn a_disabled_service_is_stopped_whatever_is_asked() {
        for verbs in [&["restart"][..], &[], &["frob"], &["start", "sighup"]] {
            assert_eq!(shown("on", verbs, false), "stop");
        }
    }

    #[test]
    fn a_service_is_started_first_unless_a_verb_says_how_it_shall_be() {
        assert_eq!(shown("on", &[], true), "start");
        assert_eq!(shown("on", &["graceful"], true), "start, reload-or-restart");
        assert_eq!(shown("on", &["try-restart"], true), "start, try-restart");
        assert_eq!(shown("on", &["sighup", "restart"], true), "reload-or-restart, restart");
        assert_eq!(shown("on", &["reload"], true), "reload");
        assert_eq!(shown("on", &["enable", "start"], true), "enable, start");
    }

    #[test]
    fn signals_become_what_systemd_does_better() {
        for verb in ["adjust", "graceful", "sighup", "sigusr1", "sigusr2"] {
            assert_eq!(shown("on", &[verb], true), "start, reload-or-restart", "{verb}");
        }
        assert_eq!(shown("on", &["sigterm"], true), "start, restart");
        assert_eq!(shown("on", &["sigwinch"], true), "start, kill --signal=SIGWINCH");
    }

    #[test]
    fn the_managers_web_servers_are_not_restarted() {
        assert_eq!(shown("httpd-e-smith", &["restart"], true), "reload-or-restart");
        assert_eq!(shown("smanager", &["restart"], true), "reload-or-restart");
        assert_eq!(shown("httpd", &["restart"], true), "restart");
    }

    #[test]
    fn what_comes_before_an_unknown_verb_is_done() {
        assert_eq!(shown("on", &["frob"], true), "start, no frob");
        assert_eq!(shown("on", &["restart", "sig", "stop"], true), "restart, no sig");
        assert_eq!(shown("on", &["sig/../x"], true), "start, no sig/../x");
        assert_eq!(shown("on", &["/etc/x"], true), "start, no /etc/x");
    }

    #[test]
    fn a_file_has_a_verb_a_line() {
        assert_eq!(
            verbs_in("restart\n\n  sigusr1 \nreload-or-restart\nsigusr23\n42\n"),
            ["restart", "sigusr1", "reload", "sigusr2"]
        );
    }
}
