// SPDX-License-Identifier: GPL-2.0-or-later

//! What is read of a canonical spec that is remembered of a container: it may have been written by an
//! earlier version, so what is not understood is not there.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::db::value::Port;

/// Its address on the managed bridge.
pub fn address(spec: &Value) -> Option<Ipv4Addr> {
    spec.pointer("/attachment/bridge/address")?.as_str()?.parse().ok()
}

/// The ports of the host that are passed on to it.
pub fn ports(spec: &Value) -> impl Iterator<Item = Port> {
    let list = spec.pointer("/attachment/bridge/published").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|publish| {
        let number = u16::try_from(publish.get("host")?.as_u64()?).ok()?.try_into().ok()?;
        let protocol = serde_json::from_value(publish.get("protocol")?.clone()).ok()?;
        Some(Port { protocol, number })
    })
}
