// SPDX-License-Identifier: GPL-2.0-or-later

//! What is sent to the kernel by `nft`, all of a text or nothing of it.

use crate::host::command;

use super::flows;

/// Commits `text` in one transaction.
pub(super) async fn send(text: &str) -> Result<Vec<u8>, command::Error> {
    command::run("nft", &["-f", "-"], text.as_bytes()).await
}

/// Takes our bits from all flows; where that cannot be, those are judged packet by packet.
pub(super) async fn unmark() {
    if let Ok(Err(error)) = tokio::task::spawn_blocking(flows::unmark).await {
        tracing::debug!(%error, "flows keep the marks of before");
    }
}

/// Lets flows be marked from now on, by the transaction `marks`; `None` where the kernel or `nft` cannot, and each
/// packet is judged.
pub(super) async fn mark(marks: String, is_known: bool) -> Option<String> {
    unmark().await;
    match send(&marks).await {
        Ok(_) => Some(marks),
        Err(error) if is_known => {
            tracing::debug!(%error, "flows are judged packet by packet");
            None
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "the guard holds, but judges each packet of a flow, which costs throughput: the kernel takes \
                 no rules about labels of conntrack (it needs CONFIG_NF_CONNTRACK_LABELS)"
            );
            None
        }
    }
}
