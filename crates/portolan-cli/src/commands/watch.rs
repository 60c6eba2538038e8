//! `portolan watch`: changes as they happen.

use clap::Args;
use futures_util::StreamExt as _;
use portolan_core::{Change, Revision, ServiceEvent, ServiceName};

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
        let mut request = client.watch_request();
        request = request.scopes(match self.all_scopes {
            true => Vec::new(),
            false => own_scopes(&context.scope),
        });
        if let Some(name) = self.name {
            request = request.name(name);
        }
        if let Some(from) = self.from {
            request = request.from(Revision(from));
        }
        let mut events = request.await?;
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
