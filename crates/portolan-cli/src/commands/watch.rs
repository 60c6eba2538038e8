//! `portolan watch`: changes to services as they happen.

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use portolan_client::{DiscoveryClient, RegistryClientError, WatchRequest};
use portolan_core::{Change, Revision, ServiceEvent, ServiceName};
use tracing::warn;

use crate::commands::list::INCOMPLETE;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{output, shutdown};

/// Options of `portolan watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only changes to this service
    name: Option<ServiceName>,
    /// Only changes after this revision [default: a snapshot, then every change]
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// All scopes, not only this one and "default"
    #[arg(long)]
    all_scopes: bool,
}

/// A watch whose registry may end it with an error.
type Events = BoxStream<'static, Result<ServiceEvent, RegistryClientError>>;

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        self.check_registry(context).await?;
        let client = context.discovery().await?;
        let mut events = if self.needs_registry() {
            context.registry()?.watch_reconnecting(self.request(context)).boxed()
        } else {
            self.watch_discovery(&client).await?
        };
        let mut stop = shutdown::signals()?;
        let mut lost: Option<RegistryClientError> = None;
        let result = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        lost = None;
                        print(context, &event)?;
                    }
                    Some(Err(error)) => {
                        // Once per loss; the stream goes on unless waiting cannot help.
                        if lost.is_none() && error.is_temporary() {
                            warn!(%error, "Watch interrupted, reconnecting");
                        }
                        lost = Some(error);
                    }
                    None => break Err(lost.map_or_else(has_ended, Failure::from)),
                },
                () = stop.wait() => break Ok(Exit::Done),
            }
        };
        drop(events);
        client.close().await;
        result
    }

    /// Fails if the registry cannot be watched at the start: a watch that prints nothing would look like one of
    /// services that do not change. Without a configured registry the broadcast channel takes its place.
    async fn check_registry(&self, context: &Context) -> Result<(), Failure> {
        match context.registry()?.watch(&self.request(context)).await {
            Ok(_) => Ok(()),
            Err(error @ RegistryClientError::Unreachable { .. }) => {
                let settings = context.settings();
                let is_replaced = settings.broadcast.enabled && context.trusts_broadcast();
                if self.needs_registry() || context.names_registry() || !is_replaced {
                    return Err(error.into());
                }
                if !context.quiet {
                    output::note(format_args!("{error}; watching the broadcast channel instead"));
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the options need a registry: revisions and other scopes exist only there.
    fn needs_registry(&self) -> bool {
        self.from.is_some() || self.all_scopes
    }

    fn request(&self, context: &Context) -> WatchRequest {
        WatchRequest {
            names: self.name.iter().cloned().collect(),
            scopes: if self.all_scopes { Vec::new() } else { context.scope.lookup_order() },
            from: self.from.map(Revision),
        }
    }

    async fn watch_discovery(&self, client: &DiscoveryClient) -> Result<Events, Failure> {
        let events = match &self.name {
            Some(name) => client.watch(name).await?,
            None => client.watch_all().await?,
        };
        Ok(events.map(Ok).boxed())
    }
}

fn has_ended() -> Failure {
    Failure::failed("the watch has ended")
}

fn print(context: &Context, event: &ServiceEvent) -> Result<(), Failure> {
    if context.json {
        return output::json(event);
    }
    match &event.change {
        Change::Snapshot { endpoints, incomplete } => {
            if *incomplete && !context.quiet {
                output::note(INCOMPLETE);
            }
            output::line(format_args!("{} snapshot of {}", event.revision, endpoints.len()))?;
            endpoints.iter().try_for_each(|endpoint| {
                let (name, address, health) = (&endpoint.name, endpoint.address(), endpoint.health);
                output::line(format_args!("{} present {name} {address} {health}", event.revision))
            })
        }
        change => {
            let Some(endpoint) = change.endpoint() else { return Ok(()) };
            let (name, address, health) = (&endpoint.name, endpoint.address(), endpoint.health);
            let (revision, kind) = (event.revision, change.kind());
            output::line(format_args!("{revision} {kind} {name} {address} {health}"))
        }
    }
}
