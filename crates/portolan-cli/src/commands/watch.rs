//! `portolan watch`: changes to services as they happen.

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use portolan_client::{DiscoveryClient, RegistryClientError, WatchRequest};
use portolan_core::{Change, Revision, ServiceEvent, ServiceName};
use tracing::warn;

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

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let client = context.discovery().await?;
        let mut events = if self.needs_registry() {
            self.watch_registry(context)?
        } else {
            self.watch_discovery(&client).await?
        };
        let mut stop = shutdown::signals()?;
        let result = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => print(context, &event)?,
                    None => break Err(Failure::failed("the watch has ended")),
                },
                () = stop.wait() => break Ok(Exit::Done),
            }
        };
        drop(events);
        client.close().await;
        result
    }

    /// Whether the options need a registry: revisions and other scopes exist only there.
    fn needs_registry(&self) -> bool {
        self.from.is_some() || self.all_scopes
    }

    fn watch_registry(
        &self,
        context: &Context,
    ) -> Result<BoxStream<'static, ServiceEvent>, Failure> {
        let query = WatchRequest {
            names: self.name.iter().cloned().collect(),
            scopes: if self.all_scopes { Vec::new() } else { context.scope.lookup_order() },
            from: self.from.map(Revision),
        };
        let events = context.registry()?.watch_reconnecting(query);
        let connected = |event: Result<ServiceEvent, RegistryClientError>| async move {
            event.inspect_err(|error| warn!(%error, "Watch interrupted, reconnecting")).ok()
        };
        Ok(events.filter_map(connected).boxed())
    }

    async fn watch_discovery(
        &self,
        client: &DiscoveryClient,
    ) -> Result<BoxStream<'static, ServiceEvent>, Failure> {
        let events = match &self.name {
            Some(name) => client.watch(name).await?,
            None => client.watch_all().await?,
        };
        Ok(events.boxed())
    }
}

fn print(context: &Context, event: &ServiceEvent) -> Result<(), Failure> {
    if context.json {
        return output::json(event);
    }
    match &event.change {
        Change::Snapshot { endpoints, .. } => {
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
