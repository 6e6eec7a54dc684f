// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines of the log as entries of the journal, with their fields: `journalctl RECORD=wiki`.
//!
//! The fields stand in the message too, because `journalctl` shows nothing else to who does not ask.
//!
//! Source: `systemd.journal-fields(7)`, and systemd's "Native Journal Protocol".

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::db::value::one_line;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Bytes of one value that are sent: a datagram has to hold an entry.
const MOST: usize = 32 << 10;

/// The journal of this host.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    /// `SYSLOG_IDENTIFIER`.
    identifier: &'static str,
}

impl Journal {
    /// Entries are those of `identifier`.
    ///
    /// # Errors
    ///
    /// Nobody listens.
    pub fn open(identifier: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // Who cannot be heard does not wait.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, identifier })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut entry = Vec::new();
        add(&mut entry, "PRIORITY", priority(*event.metadata().level()));
        add(&mut entry, "SYSLOG_IDENTIFIER", self.identifier);
        add(&mut entry, "MESSAGE", &own.message());
        for span in context.event_scope(event).into_iter().flatten() {
            for (name, value) in span.extensions().get::<Fields>().iter().flat_map(|all| &all.named)
            {
                add(&mut entry, name, value);
            }
        }
        for (name, value) in &own.named {
            add(&mut entry, name, value);
        }
        // A log that is not read is no reason to stop.
        self.socket.send(&entry).ok();
    }
}

/// What a line of the log says.
#[derive(Debug, Default)]
struct Fields {
    text: String,
    named: Vec<(&'static str, String)>,
}

impl Fields {
    /// `refused uid=1000`
    fn message(&self) -> String {
        let mut message = self.text.clone();
        for (name, value) in &self.named {
            // Writing to a String cannot fail.
            write!(message, " {name}={}", one_line(value)).ok();
        }
        message
    }

    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.text = value;
        } else {
            self.named.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// The priorities of `syslog(3)`.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        _ => "7",
    }
}

/// Adds field `name`, in the form that may hold line breaks where it must.
fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let name: String = name.chars().map(plain).collect::<String>().to_ascii_uppercase();
    // One that begins so is the journal's own, or none.
    let name = name.trim_start_matches(|letter: char| !letter.is_ascii_uppercase());
    let end = (0..=MOST.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
    let value = &value[..end.unwrap_or_default()];
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(name: &str, value: &str) -> Vec<u8> {
        let mut entry = Vec::new();
        add(&mut entry, name, value);
        entry
    }

    #[test]
    fn a_value_can_add_no_field() {
        assert_eq!(added("record", "wiki"), b"RECORD=wiki\n");
        let long = added("why", "one\nPRIORITY=0");
        assert_eq!(long, b"WHY\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\n");
        assert_eq!(added("_uid", "0"), b"UID=0\n");
        assert_eq!(added("a.b", "0"), b"A_B=0\n");
        assert_eq!(added("x", &"\u{e9}".repeat(MOST)).len(), "X=\n".len() + MOST);
    }

    #[test]
    fn the_message_says_what_the_fields_say() {
        let named = vec![("uid", "1000".to_owned()), ("why", "no\nway".to_owned())];
        let fields = Fields { text: "refused".to_owned(), named };
        assert!(fields.message().starts_with("refused uid=1000 why=no"), "{}", fields.message());
        assert!(!fields.message().contains('\n'));
    }
}
