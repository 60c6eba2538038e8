//! Watchers, each through a client that reconnects for ever, and resumes at any of the servers that it knows.

use std::sync::Arc;

use futures_util::StreamExt;
use portolan_client::{RegistryClient, RegistryClientConfig, WatchRequest};
use portolan_core::{Change, ServiceEvent};

use crate::cluster::record::{Recording, Seen};

/// Watches for ever.
pub(super) async fn watch(index: usize, urls: String, recording: Arc<Recording>) {
    let client = RegistryClient::new(RegistryClientConfig::new(urls)).expect("the URLs are valid");
    let name = recording.watches[index].lock().name.clone();
    let names = name.iter().map(|name| name.parse().expect("a name")).collect();
    let mut events = client.watch_reconnecting(WatchRequest { names, ..WatchRequest::default() });
    while let Some(event) = events.next().await {
        // An error says that the connection was lost; the watch goes on.
        if let Ok(event) = event {
            recording.watches[index].lock().seen.push(seen(&event));
        }
    }
}

fn seen(event: &ServiceEvent) -> Seen {
    let revision = event.revision.0;
    match &event.change {
        Change::Snapshot { endpoints, .. } => {
            let instance = |endpoint: &Arc<portolan_core::ServiceEndpoint>| {
                (endpoint.id.to_string(), endpoint.revision.0)
            };
            Seen::Snapshot { revision, instances: endpoints.iter().map(instance).collect() }
        }
        change => {
            let id = change.endpoint().map(|endpoint| endpoint.id.to_string()).unwrap_or_default();
            Seen::Change { revision, kind: change.kind(), id }
        }
    }
}
