//! Imports announcements from the broadcast channel into the registry, which connects network segments
//! that do not receive each other's multicast.

use futures_util::StreamExt as _;
use portolan_broadcast::AnnouncementListener;
use portolan_registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ChannelTrust;

/// Imports announcements until stopped.
pub(crate) async fn import(
    mut heard: AnnouncementListener,
    registry: Registry,
    trust: ChannelTrust,
    stop: CancellationToken,
) {
    loop {
        let heard = tokio::select! {
            heard = heard.next() => heard,
            () = stop.cancelled() => return,
        };
        let Some(heard) = heard else { return };
        // A response to a query repeats what was announced.
        if heard.announcement.in_reply_to.is_some() {
            continue;
        }
        let signed = trust == ChannelTrust::Signed;
        let from = heard.source.ip();
        let import = registry.import(&heard.announcement, from, signed);
        let imported = stop.run_until_cancelled(import).await;
        if let Some(Err(error)) = imported {
            let service = &heard.announcement.service;
            debug!(service_id = %service.id, source = %heard.source, %error, "Announcement not imported");
        }
    }
}
