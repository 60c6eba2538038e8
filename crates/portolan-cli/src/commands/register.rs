//! `portolan register`: registers a service manually.

mod while_listening;

use clap::Args;
use portolan_core::{Incarnation, Registration};
use portolan_health::{CheckKinds, CheckSpec};

use crate::context::Context;
use crate::endpoint_args::EndpointArgs;
use crate::exit::{CommandResult, Exit};
use crate::output;

/// Options of `portolan register`.
#[derive(Debug, Args)]
pub(crate) struct Register {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Take over the id from another host whose registration has not expired
    #[arg(long)]
    replace: bool,
    /// Incarnation that owns the registration, 1 to 16 hexadecimal digits: requests of another one are
    /// refused [default: none]
    #[arg(long, value_name = "HEX")]
    incarnation: Option<Incarnation>,
    /// Stay, and keep it registered while a program of this host, or of another container of the pod, listens on the port
    #[arg(long, conflicts_with_all = ["replace", "incarnation"])]
    while_listening: bool,
    #[arg(
        long,
        value_name = "CHECK",
        requires = "while_listening",
        conflicts_with = "health_url",
        help = format!("With --while-listening: {} [default: tcp]", CheckKinds::built_in().help())
    )]
    health: Option<CheckSpec>,
}

impl Register {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        if self.while_listening {
            return while_listening::follow(self, context).await;
        }
        let described = self.endpoint.registration(context).await?;
        let (replace, incarnation) = (self.replace, self.incarnation);
        let registration = Registration { replace, incarnation, ..described };
        let registered = context.registry()?.register(&registration).await?;
        let endpoint = registered.endpoint;
        if context.json {
            output::json(&endpoint)?;
        } else {
            output::line(&endpoint.id)?;
        }
        if !context.quiet {
            let option = incarnation.map(|own| format!(" --incarnation {own}")).unwrap_or_default();
            output::note(format_args!(
                "the registration ends after {} unless `portolan heartbeat {}{option}` renews it",
                endpoint.ttl, endpoint.id
            ));
        }
        Ok(Exit::Done)
    }
}
