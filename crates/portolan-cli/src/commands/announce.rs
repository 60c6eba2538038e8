//! `portolan announce`: sends one announcement.

use clap::Args;
use jiff::Timestamp;
use portolan_broadcast::{Broadcaster, Reach};
use portolan_core::{Action, Host, ServiceEndpoint, Ttl};

use crate::context::Context;
use crate::endpoint_args::EndpointArgs;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

use super::listen::CUT_OFF;

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
        let reach = reach_of_senders(&broadcaster);
        broadcaster.stop().await;
        sent?;
        warn_if_local(&endpoint, reach);
        if context.json {
            output::json(&endpoint)?;
        }
        Ok(Exit::Done)
    }
}

/// Returns the reach, whether or not other hosts are heard.
fn reach_of_senders(broadcaster: &Broadcaster) -> Reach {
    if broadcaster.reaches_other_hosts() { Reach::Network } else { *broadcaster.reach().borrow() }
}

/// Says that the announcement has not left this host, and why.
fn warn_if_local(endpoint: &ServiceEndpoint, reach: Reach) {
    match reach {
        // As configured.
        Reach::Loopback => {}
        Reach::CutOff => output::warning(CUT_OFF),
        Reach::Network if endpoint.hosts().all(Host::is_loopback) => output::warning(format_args!(
            "{} is a loopback address, only this host is reached; other hosts need --host",
            endpoint.host
        )),
        Reach::Network => {}
    }
}
