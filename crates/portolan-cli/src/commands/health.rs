//! `portolan health`: an instance's health by hand.

use clap::Args;
use portolan_core::{HealthReport, HealthStatus, ServiceId};

use super::deregister::unknown_is_not_found;
use crate::context::Context;
use crate::exit::{Ending, Exit};
use crate::output;

/// Options of `portolan health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The id of the instance, as `portolan list` shows it
    id: ServiceId,
    /// passing, warning, critical or unknown
    status: HealthStatus,
    /// Why, for a person to read
    #[arg(long, default_value = "set by hand")]
    reason: String,
}

impl Health {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let report = HealthReport::new(self.status, self.reason);
        let ended = context.registry()?.update_health(&self.id, &report).await;
        ended.map_err(|error| unknown_is_not_found(error, &self.id))?;
        if context.json {
            output::json(&report)?;
        }
        Ok(Exit::Done)
    }
}
