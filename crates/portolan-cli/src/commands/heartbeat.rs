//! `portolan heartbeat`: a sign of life by hand.

use clap::Args;
use portolan_core::ServiceId;

use super::deregister::unknown_is_not_found;
use crate::context::Context;
use crate::exit::{Ending, Exit};
use crate::output;

/// Options of `portolan heartbeat`.
#[derive(Debug, Args)]
pub(crate) struct Heartbeat {
    /// The id of the instance, as `portolan list` shows it
    id: ServiceId,
}

impl Heartbeat {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let ended = context.registry()?.heartbeat(&self.id).await;
        ended.map_err(|error| unknown_is_not_found(error, &self.id))?;
        if context.json {
            output::json(&serde_json::json!({ "alive": self.id }))?;
        }
        Ok(Exit::Done)
    }
}
