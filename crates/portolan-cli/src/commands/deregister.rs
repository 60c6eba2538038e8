//! `portolan deregister`: removes a service by hand.

use clap::Args;
use portolan_client::RegistryClientError;
use portolan_core::ServiceId;

use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::output;

/// Options of `portolan deregister`.
#[derive(Debug, Args)]
pub(crate) struct Deregister {
    /// The id of the instance, as `portolan list` shows it
    id: ServiceId,
}

impl Deregister {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let ended = context.registry()?.deregister(&self.id).await;
        ended.map_err(|error| unknown_is_not_found(error, &self.id))?;
        if context.json {
            output::json(&serde_json::json!({ "deregistered": self.id }))?;
        }
        Ok(Exit::Done)
    }
}

/// An id that the registry does not know is a service that was not found.
pub(super) fn unknown_is_not_found(error: RegistryClientError, id: &ServiceId) -> Failure {
    match error {
        RegistryClientError::UnknownService { .. } => Failure::new(
            Exit::NotFound,
            format_args!(
                "the registry knows no instance {id}; `portolan list` shows those it knows"
            ),
        ),
        error => error.into(),
    }
}
