// SPDX-License-Identifier: GPL-2.0-or-later

//! Takes our bits out of the labels of flows, so that flows which outlive a change of the guard can be marked again.
//!
//! This is for speed alone: bits of another text count for nothing ([`super::judged`]), but beside them no new mark
//! can be read. Source: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, SockProtocol, send};

use crate::host::netlink::{
    self, Heard, Message, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, attribute, messages,
    request,
};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper half of a message's type.
const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = SUBSYSTEM << 8 | 1;
const NLA_F_NESTED: u16 = 0x8000;
const ORIGINAL: u16 = 1;
const ZONE: u16 = 18;
const LABELS: u16 = 22;
const LABELS_MASK: u16 = 23;
/// Length of `struct nfgenmsg`.
const FAMILY: usize = 4;
/// Bits 64 to 127: two whole words of the four, in either order of bytes.
const OURS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
/// How long this may keep a pass; what is left is judged packet by packet.
const LIMIT: Duration = Duration::from_millis(500);

/// How many flows this network namespace has (`nf_conntrack-sysctl.rst` of the kernel).
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Takes our bits out of all flows of this network namespace; how many had any.
///
/// # Errors
///
/// The kernel does not let us look.
pub(super) fn unmark() -> io::Result<usize> {
    // To list none takes the kernel as long as to list some.
    if fs::read_to_string(COUNT).is_ok_and(|count| count.trim() == "0") {
        return Ok(0);
    }
    let end = Instant::now() + LIMIT;
    let (list, change) = (
        netlink::open(SockProtocol::NetlinkNetFilter, 0)?,
        netlink::open(SockProtocol::NetlinkNetFilter, 0)?,
    );
    let all = request(GET, NLM_F_REQUEST | NLM_F_DUMP, 0, &[]);
    send(list.as_raw_fd(), &all, MsgFlags::empty())?;
    let mut buffer = vec![0; 1 << 16];
    let mut count = 0;
    while Instant::now() < end {
        let Heard::Bytes(length) = netlink::hear(&list, &mut buffer)? else { break };
        for flow in messages(&buffer[..length]) {
            match flow.kind {
                NLMSG_DONE => return Ok(count),
                NLMSG_ERROR => return Err(io::Error::other("the kernel lists no flows")),
                NEW => {}
                _ => continue,
            }
            if let Some(request) = without_ours(&flow) {
                // The flow may have ended meanwhile; that is answered to a socket that nobody reads.
                send(change.as_raw_fd(), &request, MsgFlags::empty())?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// What takes our bits from `flow`; `None` when it has none.
fn without_ours(flow: &Message<'_>) -> Option<Vec<u8>> {
    let labels = flow.attribute(FAMILY, LABELS)?;
    let has_ours = labels.iter().zip(OURS).any(|(byte, mask)| byte & mask != 0);
    if !has_ours || labels.len() != OURS.len() {
        return None;
    }
    let mut body = attribute(ORIGINAL | NLA_F_NESTED, flow.attribute(FAMILY, ORIGINAL)?);
    if let Some(zone) = flow.attribute(FAMILY, ZONE) {
        body.extend(attribute(ZONE, zone));
    }
    body.extend(attribute(LABELS, &[0; OURS.len()]));
    body.extend(attribute(LABELS_MASK, &OURS));
    Some(request(NEW, NLM_F_REQUEST, *flow.body.first()?, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(labels: &[u8]) -> Vec<u8> {
        let body = [attribute(ORIGINAL | NLA_F_NESTED, b"tuple"), attribute(LABELS, labels)];
        request(NEW, 0, 2, &body.concat())
    }

    #[test]
    fn only_our_bits_are_taken_and_only_where_there_are_any() {
        let mut labels = [0; 16];
        labels[3] = 7;
        let bytes = flow(&labels);
        assert_eq!(without_ours(&messages(&bytes).next().unwrap()), None);
        labels[12] = 1;
        let bytes = flow(&labels);
        let request = without_ours(&messages(&bytes).next().unwrap()).unwrap();
        let request = messages(&request).next().unwrap();
        assert_eq!((request.kind, request.body[0]), (NEW, 2));
        assert_eq!(request.attribute(FAMILY, ORIGINAL), Some(&b"tuple"[..]));
        assert_eq!(request.attribute(FAMILY, LABELS), Some(&[0; 16][..]));
        assert_eq!(request.attribute(FAMILY, LABELS_MASK), Some(&OURS[..]));
        for odd in [&labels[..13], &[]] {
            let bytes = flow(odd);
            assert_eq!(without_ours(&messages(&bytes).next().unwrap()), None);
        }
    }
}
