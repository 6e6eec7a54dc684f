// SPDX-License-Identifier: GPL-2.0-or-later

//! What the kernel holds of a table, in its own messages and without a program: one that is told byte for byte as
//! before is as it was.
//!
//! `nft` says the same in words, which can be read, in ten times the time. Sources: `netfilter/nf_tables.h` and
//! `netlink(7)`; a listing that a commit has interrupted is found out by the generation.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::SockProtocol;
use sha2::{Digest, Sha256};

use crate::host::netlink::{self, attribute, netfilter};
use crate::state::container::hex;

use super::netlink::{FAMILY, INET, SUBSYSTEM, TABLE_NAME};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const NEWSET: u16 = 9;
const GETSET: u16 = 10;
const GETSETELEM: u16 = 13;
const GETOBJ: u16 = 19;
const GETFLOWTABLE: u16 = 23;
/// `NFTA_SET_NAME`, and `NFTA_SET_ELEM_LIST_SET` of a question about its elements.
const SET_NAME: u16 = 2;

/// A hash of all that is in table `name` of family `inet`: its own flags, chains, rules, sets with their elements,
/// objects and flow tables, with the handles that the kernel gave them.
///
/// # Errors
///
/// There is no such table, or the kernel does not list what is in it.
pub(super) fn print(name: &str) -> io::Result<String> {
    let mut print = Print {
        socket: netlink::open(SockProtocol::NetlinkNetFilter, 0)?,
        table: [name.as_bytes(), &[0]].concat(),
        hash: Sha256::new(),
        sets: BTreeSet::new(),
    };
    for kind in [GETTABLE, GETCHAIN, GETRULE, GETSET, GETOBJ, GETFLOWTABLE] {
        print.add(kind, &[])?;
    }
    for set in std::mem::take(&mut print.sets) {
        print.add(GETSETELEM, &attribute(SET_NAME, &set))?;
    }
    Ok(hex(&print.hash.finalize()))
}

struct Print {
    socket: OwnedFd,
    /// The table's name, with the byte that ends it.
    table: Vec<u8>,
    hash: Sha256,
    /// Names of the sets that were listed.
    sets: BTreeSet<Vec<u8>>,
}

impl Print {
    /// Adds what the kernel lists of `kind`; it may list other tables, too.
    fn add(&mut self, kind: u16, more: &[u8]) -> io::Result<()> {
        let Self { socket, table, hash, sets } = self;
        let attributes = [attribute(TABLE_NAME, table).as_slice(), more].concat();
        netlink::dump(socket, SUBSYSTEM << 8 | kind, &netfilter(INET, &attributes), |message| {
            if message.attribute(FAMILY, TABLE_NAME) != Some(table) {
                return;
            }
            if message.kind == SUBSYSTEM << 8 | NEWSET {
                sets.extend(message.attribute(FAMILY, SET_NAME).map(Vec::from));
            }
            let what = message.body.get(FAMILY..).unwrap_or_default();
            hash.update(message.kind.to_ne_bytes());
            hash.update(what.len().to_ne_bytes());
            hash.update(what);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_not_there_has_no_hash() {
        // Only root may ask; who is not told why has to ask `nft` too.
        assert!(print("wharf-of-nobody").is_err());
    }
}
