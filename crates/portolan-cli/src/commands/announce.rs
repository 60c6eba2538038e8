//! `portolan announce`: sends one announcement.

use clap::Args;
use jiff::Timestamp;
use portolan_core::{Action, Ttl};

use crate::context::Context;
use crate::endpoint_args::EndpointArgs;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// Options of `portolan announce`.
#[derive(Debug, Args)]
pub(crate) struct Announce {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Action to announce: register, deregister, update or heartbeat
    #[arg(long, default_value = "register")]
    action: Action,
}

impl Announce {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let ttl = Ttl::new(context.settings().broadcast.ttl)
            .map_err(|error| Failure::usage(format_args!("broadcast.ttl: {error}")))?;
        let registration = self.endpoint.registration(context).await?;
        let endpoint = registration.into_endpoint(ttl, Timestamp::now());
        let broadcaster = context.enabled_broadcaster().await?;
        let sent = broadcaster.announce(self.action, &endpoint).await;
        broadcaster.stop().await;
        sent?;
        if context.json {
            output::json(&endpoint)?;
        }
        Ok(Exit::Done)
    }
}
