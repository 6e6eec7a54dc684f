// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel's messages about its tables.
//!
//! Source: `netlink(7)` and `include/uapi/linux/netlink.h`: `struct nlmsghdr` (length, type, flags, sequence,
//! port; in the machine's byte order), then a header of the subsystem, then attributes (length, type,
//! value), each padded to four bytes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_DUMP: u16 = 0x300;

/// Opens a socket of `protocol` that hears the groups of `groups`, a bit for each; 0 for none.
///
/// # Errors
///
/// The kernel has no such protocol, or does not let us.
pub(super) fn open(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// What a socket that listens has heard.
pub(super) enum Heard {
    /// Messages of this length.
    Bytes(usize),
    /// More than we could take: some are lost.
    TooMuch,
}

/// Waits until something is heard.
///
/// # Errors
///
/// The socket is broken.
pub(super) fn hear(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Heard> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => return Ok(Heard::Bytes(length)),
            Err(Errno::ENOBUFS) => return Ok(Heard::TooMuch),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Has the kernel list what message `kind` with `body` asks for on `socket`, and gives each message to `take`.
///
/// # Errors
///
/// The kernel does not list it, or not to its end: what a list failed with is in its last message
/// (`netlink_dump_done` of the kernel).
pub(super) fn dump(
    socket: &OwnedFd,
    kind: u16,
    body: &[u8],
    mut take: impl FnMut(&Message<'_>),
) -> io::Result<()> {
    send(socket.as_raw_fd(), &asking(kind, NLM_F_REQUEST | NLM_F_DUMP, body), MsgFlags::empty())?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Heard::Bytes(length) = hear(socket, &mut buffer)? else {
            return Err(io::Error::other("a list of the kernel was cut off"));
        };
        for message in messages(&buffer[..length]) {
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => return message.error().map_or(Ok(()), Err),
                _ => take(&message),
            }
        }
    }
}

/// A message to the kernel: `struct nlmsghdr`, `body`.
fn asking(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(HEADER + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// What follows `struct nlmsghdr` in a message to netfilter: `struct nfgenmsg` of `family`, attributes.
pub(super) fn netfilter(family: u8, attributes: &[u8]) -> Vec<u8> {
    [&[family, 0, 0, 0], attributes].concat()
}

/// A message to netfilter.
pub(super) fn request(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    asking(kind, flags, &netfilter(family, attributes))
}

/// An attribute of a message.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or_default();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// One message.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// Its type.
    pub(super) kind: u16,
    /// What follows `struct nlmsghdr`.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// What an answer that is an error, or the end of a list, tells of a failure.
    pub(super) fn error(&self) -> Option<io::Error> {
        let code = self.body.get(..4).and_then(|bytes| bytes.try_into().ok());
        let code = code.map_or(0, i32::from_ne_bytes);
        // The end of a list is 0 or the length of its last part.
        (code < 0 || self.kind == NLMSG_ERROR)
            .then(|| Errno::from_raw(code.saturating_neg()).into())
    }

    /// The attribute `kind` after a header of `header` bytes.
    pub(super) fn attribute(&self, header: usize, kind: u16) -> Option<&'a [u8]> {
        let mut rest = self.body.get(header..)?;
        loop {
            let length = usize::from(word(rest, 0)?);
            // Two bits of the type are flags.
            let (found, value) = (word(rest, 2)? & 0x3fff, rest.get(4..length)?);
            if found == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The messages of one datagram; what is cut off is left out.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let message = Message { kind: word(bytes, 4)?, body: bytes.get(HEADER..length)? };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_left_out() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(messages(&[0xff; 64]).count(), 0);
        assert_eq!(messages(&[]).count(), 0);
    }

    #[test]
    fn attributes_are_found_behind_others_and_odd_ones_end_the_search() {
        let attributes =
            [&[5_u8, 0, 1, 0, 9, 0, 0, 0][..], &[6, 0, 2, 0x80, 7, 8, 0, 0], &[0, 0, 3, 0]]
                .concat();
        let message = Message { kind: 0, body: &attributes };
        assert_eq!(message.attribute(0, 1), Some(&[9][..]));
        assert_eq!(message.attribute(0, 2), Some(&[7, 8][..]));
        assert_eq!(message.attribute(0, 3), None);
        assert_eq!(message.attribute(99, 1), None);
    }
}
