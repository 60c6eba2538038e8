//! `portolan register`: registers a service manually.

use clap::Args;

use crate::context::Context;
use crate::endpoint_args::EndpointArgs;
use crate::exit::{CommandResult, Exit};
use crate::output;

/// Options of `portolan register`.
#[derive(Debug, Args)]
pub(crate) struct Register {
    #[command(flatten)]
    endpoint: EndpointArgs,
}

impl Register {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let registration = self.endpoint.registration(&context.scope)?;
        let registered = context.registry()?.register(&registration).await?;
        if context.json {
            output::json(&registered.endpoint)?;
        } else {
            output::line(&registered.endpoint.id)?;
        }
        Ok(Exit::Done)
    }
}
