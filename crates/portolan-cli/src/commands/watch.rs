//! `portolan watch`: changes as they happen.

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use portolan_client::{DiscoveryClient, RegistryClientError, WatchRequest};
use portolan_core::{Change, Revision, ServiceEvent, ServiceName};
use tracing::warn;

use super::list::own_scopes;
use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::{output, shutdown};

/// Options of `portolan watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Changes of this service only
    name: Option<ServiceName>,
    /// Changes after this revision [default: what is there now, then every change]
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// Every scope, not only this one and "default"
    #[arg(long)]
    all_scopes: bool,
}

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let client = context.discovery().await?;
        let mut events = match self.asks_the_registry() {
            true => self.ask_registry(context)?,
            false => self.ask_anybody(&client).await?,
        };
        let mut stop = shutdown::requested()?;
        let ending = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => print(context, &event)?,
                    None => break Err(Failure::failed("the watch has ended; start it again")),
                },
                () = stop.wait() => break Ok(Exit::Done),
            }
        };
        drop(events);
        client.close().await;
        ending
    }

    /// Only the registry knows revisions and scopes that are not ours.
    fn asks_the_registry(&self) -> bool {
        self.from.is_some() || self.all_scopes
    }

    fn ask_registry(&self, context: &Context) -> Result<BoxStream<'static, ServiceEvent>, Failure> {
        let query = WatchRequest {
            names: self.name.iter().cloned().collect(),
            scopes: if self.all_scopes { Vec::new() } else { own_scopes(&context.scope) },
            from: self.from.map(Revision),
        };
        let events = context.registry()?.watch_reconnecting(query);
        let known = |event: Result<ServiceEvent, RegistryClientError>| async move {
            event.inspect_err(|error| warn!(%error, "Watch interrupted, connecting again")).ok()
        };
        Ok(events.filter_map(known).boxed())
    }

    async fn ask_anybody(
        &self,
        client: &DiscoveryClient,
    ) -> Result<BoxStream<'static, ServiceEvent>, Failure> {
        let events = match &self.name {
            Some(name) => client.watch(name.as_str()).await?,
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
        Change::Snapshot { endpoints } => {
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
