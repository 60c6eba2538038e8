//! What is heard on the broadcast channel goes into the registry, which joins separate segments.

use futures_util::StreamExt as _;
use portolan_broadcast::AnnouncementListener;
use portolan_registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Imports announcements until told to stop.
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
        // An answer to somebody's query is no news.
        if heard.announcement.in_reply_to.is_some() {
            continue;
        }
        if let Err(error) = registry.import(&heard.announcement).await {
            let service = &heard.announcement.service;
            debug!(service_id = %service.id, source = %heard.source, %error, "Announcement not imported");
        }
    }
}
