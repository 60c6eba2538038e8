//! `portolan health`: reports the health of an instance.

use clap::Args;
use portolan_core::{HealthReport, HealthStatus, Incarnation, ServiceId};

use crate::context::Context;
use crate::exit::{CommandResult, Exit};
use crate::exit_codes::instance_failure;
use crate::output;

/// Options of `portolan health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Id of the instance, as shown by `portolan list`
    id: ServiceId,
    /// Health: passing, warning, critical or unknown
    status: HealthStatus,
    /// Reason, for people
    #[arg(long, default_value = "set manually")]
    reason: String,
    /// Incarnation that owns the registration: refused with exit status 6 if another one does
    #[arg(long, value_name = "HEX")]
    incarnation: Option<Incarnation>,
}

impl Health {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let report = HealthReport::new(self.status, self.reason);
        let result = context.registry_as(self.incarnation)?.update_health(&self.id, &report).await;
        result.map_err(|error| instance_failure(error, &self.id))?;
        if context.json {
            output::json(&report)?;
        }
        Ok(Exit::Done)
    }
}
