//! Imports announcements from the broadcast channel into the registry, which connects network segments
//! that do not receive each other's multicast. The channel follows the settings.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use portolan_broadcast::{AnnouncementListener, BroadcastConfig, BroadcastError, Broadcaster};
use portolan_core::Remedy as _;
use portolan_metrics::Metrics;
use portolan_registry::Registry;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info};

use super::ChannelTrust;
use crate::Settings;

/// How long what a former channel has received may take to be imported.
const DRAIN: Duration = Duration::from_secs(1);

/// What of the settings decides what is imported.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportSettings {
    broadcast: BroadcastConfig,
    trust: ChannelTrust,
    imports: bool,
}

/// Imports announcements, from a channel or none.
#[derive(Debug)]
pub(crate) struct Import {
    registry: Registry,
    metrics: Metrics,
    settings: ImportSettings,
    is_closed: bool,
    channel: Option<Channel>,
}

/// A channel from which is imported.
#[derive(Debug)]
struct Channel {
    /// Keeps the channel open.
    broadcaster: Broadcaster,
    former: CancellationToken,
    task: AbortOnDropHandle<()>,
}

// === impl ImportSettings ===

impl ImportSettings {
    pub(crate) fn of(settings: &Settings, is_closed: bool) -> Self {
        Self {
            broadcast: settings.broadcast.clone(),
            trust: ChannelTrust::new(settings, is_closed),
            imports: settings.service_registry.import_broadcast,
        }
    }

    /// Whether the registry listens on the channel.
    fn listens(&self) -> bool {
        self.broadcast.enabled && self.wants()
    }

    /// Whether the registry listens on a channel if there is one.
    fn wants(&self) -> bool {
        self.imports && self.trust != ChannelTrust::Refused
    }

    /// Checks that the channel can be joined, if the registry would listen on it.
    pub(crate) fn check(&self) -> Result<(), BroadcastError> {
        if self.listens() { Broadcaster::check(&self.broadcast) } else { Ok(()) }
    }

    fn log_refusal(&self) {
        if self.broadcast.enabled && self.imports && self.trust == ChannelTrust::Refused {
            info!(
                "Announcements not imported, because others may not change the registry without credentials and the channel has no \
                 key: set broadcast.key, or service_registry.import_unsigned"
            );
        }
    }
}

// === impl Import ===

impl Import {
    /// Listens on this channel, if the settings say so: no announcement after the call is missed.
    pub(crate) fn start(
        broadcaster: Option<Broadcaster>,
        registry: Registry,
        settings: &Settings,
        is_closed: bool,
        metrics: Metrics,
    ) -> Self {
        let settings = ImportSettings::of(settings, is_closed);
        settings.log_refusal();
        let broadcaster = broadcaster.filter(|_| settings.wants());
        let channel = broadcaster.map(|it| Channel::open(it, &registry, settings.trust));
        Self { registry, metrics, settings, is_closed, channel }
    }

    /// Imports announcements until stopped, from the channel of the settings.
    pub(crate) async fn run(
        mut self,
        mut settings: watch::Receiver<Arc<Settings>>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = settings.changed() => {}
            }
            let changed = ImportSettings::of(&settings.borrow_and_update(), self.is_closed);
            if changed != self.settings {
                self.follow(changed).await;
            }
        }
    }

    async fn follow(&mut self, settings: ImportSettings) {
        let joined = match settings.listens() {
            true => {
                Broadcaster::new(settings.broadcast.clone(), self.metrics.clone()).await.map(Some)
            }
            false => Ok(None),
        };
        let broadcaster = match joined {
            Ok(broadcaster) => broadcaster,
            Err(error) => {
                // It was checked a moment ago.
                let error = error.with_remedy();
                return error!(%error, "Broadcast channel not joined, the former one stays in use");
            }
        };
        settings.log_refusal();
        info!(listens = broadcaster.is_some(), "Import of announcements follows the settings");
        let channel = broadcaster.map(|it| Channel::open(it, &self.registry, settings.trust));
        self.settings = settings;
        // The new channel listens before the former one is left, so that no announcement is missed.
        if let Some(former) = std::mem::replace(&mut self.channel, channel) {
            former.close().await;
        }
    }
}

// === impl Channel ===

impl Channel {
    fn open(broadcaster: Broadcaster, registry: &Registry, trust: ChannelTrust) -> Self {
        let former = CancellationToken::new();
        let import = import(broadcaster.listen(), registry.clone(), trust, former.clone());
        Self { broadcaster, former, task: AbortOnDropHandle::new(tokio::spawn(import)) }
    }

    /// Leaves the channel once what it has received is imported.
    async fn close(self) {
        let Self { broadcaster, former, task } = self;
        drop(broadcaster);
        former.cancel();
        if timeout(DRAIN, task).await.is_err() {
            debug!("Announcements of the former channel not imported in time");
        }
    }
}

/// Imports announcements. Once the channel is a former one, it ends with what was received.
async fn import(
    mut heard: AnnouncementListener,
    registry: Registry,
    trust: ChannelTrust,
    former: CancellationToken,
) {
    loop {
        let heard = tokio::select! {
            biased;
            heard = heard.next() => heard,
            () = former.cancelled() => return,
        };
        let Some(heard) = heard else { return };
        // A response to a query repeats what was announced.
        if heard.announcement.in_reply_to.is_some() {
            continue;
        }
        let signed = trust == ChannelTrust::Signed;
        let from = heard.source.ip();
        if let Err(error) = registry.import(&heard.announcement, from, signed).await {
            let service = &heard.announcement.service;
            debug!(service_id = %service.id, source = %heard.source, %error, "Announcement not imported");
        }
    }
}
