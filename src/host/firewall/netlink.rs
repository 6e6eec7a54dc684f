// SPDX-License-Identifier: GPL-2.0-or-later

//! What the kernel itself tells about its packet rules: their generation, and each change of them.
//!
//! Sources: `include/uapi/linux/netfilter/nfnetlink.h` (`struct nfgenmsg`, groups) and
//! `netfilter/nf_tables.h` (messages and their attributes, numbers big-endian). Every commit of any
//! program raises the generation by one and is told to the group as its objects and, at last, `NEWGEN`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockProtocol, recv, send};

use crate::host::netlink::{
    self, Heard, Message, NLM_F_REQUEST, NLMSG_ERROR, attribute, messages, request,
};

/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
pub(super) const SUBSYSTEM: u16 = 10;
const GETTABLE: u16 = 1;
const NEWGEN: u16 = 15;
const GETGEN: u16 = 16;
/// `NFNLGRP_NFTABLES` is group 7; the address has a bit for each group.
const GROUP: u32 = 1 << 6;
/// `NFPROTO_INET`.
pub(super) const INET: u8 = 1;
/// In all messages about a table, or what is in one, the table's name.
pub(super) const TABLE_NAME: u16 = 1;
const GEN_ID: u16 = 1;
const GEN_PROC_PID: u16 = 2;
const GEN_PROC_NAME: u16 = 3;
/// Length of `struct nfgenmsg`, whose first byte is the family.
pub(super) const FAMILY: usize = 4;

/// How often the rules of this network namespace were changed; it starts anew with the machine.
///
/// # Errors
///
/// The kernel has no nftables, or does not say.
pub(super) fn generation() -> io::Result<u32> {
    let unclear = || io::Error::other("the kernel does not tell the generation of its rules");
    ask(GETGEN, 0, &[], |message| number(message, GEN_ID))?.ok_or_else(unclear)
}

/// Whether there is no table `name` of family `inet`.
///
/// # Errors
///
/// The kernel has no nftables, or does not say.
pub(super) fn is_absent(name: &str) -> io::Result<bool> {
    let name = [name.as_bytes(), &[0]].concat();
    match ask(GETTABLE, INET, &attribute(TABLE_NAME, &name), |_| ()) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(true),
        other => other.map(|()| false),
    }
}

/// What `read` makes of the kernel's answer to message `kind` with `attributes`.
fn ask<T>(
    kind: u16,
    family: u8,
    attributes: &[u8],
    read: impl FnOnce(&Message<'_>) -> T,
) -> io::Result<T> {
    let socket = netlink::open(SockProtocol::NetlinkNetFilter, 0)?;
    let request = request(SUBSYSTEM << 8 | kind, NLM_F_REQUEST, family, attributes);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = [0; 512];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let none = || io::Error::other("the kernel gives no answer about its rules");
    let message = messages(&buffer[..length]).next().ok_or_else(none)?;
    if message.kind == NLMSG_ERROR {
        return Err(message.error().unwrap_or_else(none));
    }
    Ok(read(&message))
}

/// A change of our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// `nft (4711)`; empty when the kernel has told of more than we could take.
    pub by: String,
}

/// Tells each change of a table of family `inet`.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    table: Vec<u8>,
    /// Whether the commit that is being told has changed it.
    touched: bool,
}

impl Watch {
    /// Watches table `name` from now on.
    ///
    /// # Errors
    ///
    /// The kernel does not let us.
    pub fn table(name: &str) -> io::Result<Self> {
        let socket = netlink::open(SockProtocol::NetlinkNetFilter, GROUP)?;
        let mut table = name.as_bytes().to_owned();
        table.push(0);
        Ok(Self { socket, table, touched: false })
    }

    /// Waits for a change, which keeps the thread.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn changed(&mut self) -> io::Result<Change> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match netlink::hear(&self.socket, &mut buffer)? {
                Heard::Bytes(length) => length,
                // What was lost may have been about us.
                Heard::TooMuch => return Ok(Change::default()),
            };
            if let Some(change) = self.take(&buffer[..length]) {
                return Ok(change);
            }
        }
    }

    /// The change that ends in `bytes`, if one does.
    fn take(&mut self, bytes: &[u8]) -> Option<Change> {
        let mut change = None;
        for message in messages(bytes).filter(|message| message.kind >> 8 == SUBSYSTEM) {
            if message.kind & 0xff != NEWGEN {
                let is_ours = message.attribute(FAMILY, TABLE_NAME) == Some(self.table.as_slice());
                self.touched |= message.body.first() == Some(&INET) && is_ours;
            } else if std::mem::take(&mut self.touched) {
                let name = message.attribute(FAMILY, GEN_PROC_NAME).unwrap_or_default();
                let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name));
                let process = number(&message, GEN_PROC_PID).unwrap_or_default();
                change = Some(Change { by: format!("{name} ({process})") });
            }
        }
        change
    }
}

fn number(message: &Message<'_>, kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(message.attribute(FAMILY, kind)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        request(SUBSYSTEM << 8 | kind, 0, family, &attributes.concat())
    }

    fn newgen() -> Vec<u8> {
        let attributes = [
            attribute(GEN_ID, &7_u32.to_be_bytes()),
            attribute(GEN_PROC_PID, &4711_u32.to_be_bytes()),
            attribute(GEN_PROC_NAME, b"nft\0"),
        ];
        message(NEWGEN, 0, &attributes)
    }

    /// None where only root may watch.
    fn watch() -> Option<Watch> {
        match Watch::table("wharf") {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            watch => Some(watch.unwrap()),
        }
    }

    #[test]
    fn the_generation_is_a_number_that_our_kernel_tells() {
        match generation() {
            // Only root may ask.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            first => assert!(generation().unwrap() >= first.unwrap()),
        }
    }

    #[test]
    fn a_table_that_nobody_made_is_not_there() {
        match is_absent("wharf-of-nobody") {
            // Only root may ask.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            absent => assert!(absent.unwrap()),
        }
    }

    #[test]
    fn a_commit_counts_when_it_is_about_our_table() {
        let Some(mut watch) = watch() else { return };
        let table = |name: &[u8]| [attribute(TABLE_NAME, name)];
        let gone = |family, name: &[u8]| message(2, family, &table(name));
        let by_nft = Some(Change { by: "nft (4711)".to_owned() });
        let both = |first: Vec<u8>| [first, newgen()].concat();
        assert_eq!(watch.take(&both(gone(INET, b"wharf\0"))), by_nft);
        assert_eq!(watch.take(&both(gone(INET, b"wharf2\0"))), None);
        assert_eq!(watch.take(&both(gone(2, b"wharf\0"))), None);
        // In two datagrams too.
        assert_eq!(watch.take(&gone(INET, b"wharf\0")), None);
        assert_eq!(watch.take(&newgen()), by_nft);
        assert_eq!(watch.take(&newgen()), None);
    }

    #[test]
    fn cut_and_odd_messages_are_left_out() {
        let Some(mut watch) = watch() else { return };
        let whole = [message(2, INET, &[attribute(TABLE_NAME, b"wharf\0")]), newgen()].concat();
        for end in 0..whole.len() {
            assert_eq!(watch.take(&whole[..end]), None, "{end}");
            watch.touched = false;
        }
        let no_length = message(2, INET, &[vec![0, 0, 1, 0, 0, 0, 0, 0]]);
        assert_eq!(watch.take(&no_length), None);
    }
}
