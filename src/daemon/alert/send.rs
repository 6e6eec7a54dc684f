// SPDX-License-Identifier: GPL-2.0-or-later

//! Hands alerts to the host's `sendmail` and to a program of the administrator.
//!
//! A task of its own: no pass waits for a mail. Everything in a mail but its fixed lines is in its body,
//! where nothing can become a header; the subject is made of printable ASCII.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use tokio::sync::mpsc;

use super::Alert;
use crate::host::{command, outside};
use crate::state::notify::Notify;

/// Longest subject; RFC 5322 asks for lines of 78 characters at most, and its name is a part of it.
const SUBJECT: usize = 69;

/// What is to be told, and whom.
#[derive(Debug)]
pub struct Parcel {
    /// Whom.
    pub notify: Notify,
    /// What.
    pub alerts: Vec<Alert>,
}

/// Hands on what comes from `parcels`, until nobody sends any more.
pub async fn send(mut parcels: mpsc::Receiver<Parcel>, host: String) {
    while let Some(parcel) = parcels.recv().await {
        if let Some(address) = &parcel.notify.mail {
            mail(address, &message(address, &host, &parcel.alerts)).await;
        }
        if let Some(program) = &parcel.notify.command {
            for alert in &parcel.alerts {
                run(program, alert).await;
            }
        }
    }
}

async fn mail(address: &str, message: &str) {
    // Not in everybody's PATH.
    let places = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];
    let program = if command::exists("sendmail") {
        "sendmail"
    } else {
        places.into_iter().find(|path| Path::new(path).is_file()).unwrap_or("sendmail")
    };
    let sent = outside::run_with(program, &["-i", "-t"], &[], message.as_bytes()).await;
    match sent {
        Ok(_) => tracing::info!(address, "mail sent"),
        Err(error) => {
            let remedy = error.remedy().unwrap_or_default();
            tracing::warn!(address, %error, remedy, "mail not sent");
        }
    }
}

/// The program gets the alert as JSON, and its parts in the environment.
async fn run(program: &Path, alert: &Alert) {
    let environment: [(&str, OsString); 3] = [
        ("WHARF_EVENT", alert.event.as_str().into()),
        ("WHARF_RECORD", alert.record.clone().unwrap_or_default().into()),
        ("WHARF_TEXT", alert.text.clone().into()),
    ];
    let json = serde_json::to_vec(alert).unwrap_or_default();
    let Some(name) = program.to_str() else {
        tracing::warn!(program = %program.display(), "the name of the program is not UTF-8");
        return;
    };
    if let Err(error) = outside::run_with(name, &[], &environment, &json).await {
        tracing::warn!(program = name, %error, "the program of NotifyCommand has failed");
    }
}

/// The mail for `alerts`.
pub(super) fn message(address: &str, host: &str, alerts: &[Alert]) -> String {
    let first = alerts.first().map(|alert| {
        let record = alert.record.as_deref().unwrap_or("host");
        format!("{record} {}", alert.event.as_str())
    });
    let rest = alerts.len().saturating_sub(1);
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let subject = format!("wharf on {host}: {}{rest}", first.unwrap_or_default());
    let subject: String = subject
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .take(SUBJECT)
        .collect();
    let mut text = format!(
        "To: {address}\nSubject: {subject}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    );
    for alert in alerts {
        let record = alert.record.as_deref().unwrap_or("host");
        // Writing to a String cannot fail.
        writeln!(
            text,
            "{}: {}: {}",
            alert.event.as_str(),
            crate::db::value::one_line(record),
            alert.text
        )
        .ok();
        if let Some(remedy) = &alert.remedy {
            writeln!(text, "  hint: {}", crate::db::value::one_line(remedy)).ok();
        }
        if alert.more > 0 {
            writeln!(text, "  {} more of the same in the hour before", alert.more).ok();
        }
    }
    text
}
