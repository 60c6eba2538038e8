//! Imports announcements from the broadcast channel into the registry, which connects network segments
//! that do not receive each other's multicast.

use futures_util::StreamExt as _;
use portolan_broadcast::AnnouncementListener;
use portolan_registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Imports announcements until stopped.
pub(crate) async fn import(
    mut heard: AnnouncementListener,
    registry: Registry,
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
        let imported = stop.run_until_cancelled(registry.import(&heard.announcement)).await;
        if let Some(Err(error)) = imported {
            let service = &heard.announcement.service;
            debug!(service_id = %service.id, source = %heard.source, %error, "Announcement not imported");
        }
    }
}
