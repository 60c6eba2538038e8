//! `portolan deregister`: removes an instance from the registry.

use clap::Args;
use portolan_core::{Incarnation, ServiceId};

use crate::context::Context;
use crate::exit::{CommandResult, Exit};
use crate::exit_codes::instance_failure;
use crate::output;

/// Options of `portolan deregister`.
#[derive(Debug, Args)]
pub(crate) struct Deregister {
    /// Id of the instance, as shown by `portolan list`
    id: ServiceId,
    /// Incarnation that owns the registration: refused with exit status 6 if another one does
    #[arg(long, value_name = "HEX")]
    incarnation: Option<Incarnation>,
}

impl Deregister {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let result = context.registry_as(self.incarnation)?.deregister(&self.id).await;
        result.map_err(|error| instance_failure(error, &self.id))?;
        if context.json {
            output::json(&serde_json::json!({ "deregistered": self.id }))?;
        }
        Ok(Exit::Done)
    }
}
