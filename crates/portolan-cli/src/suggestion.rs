//! "Did you mean …?" for a service that was not found.

use std::time::Duration;

use portolan_client::ListQuery;
use portolan_core::{ServiceName, suggest};

use crate::context::Context;
use crate::exit::{Exit, Failure};

/// How long the registry may take to list the known names.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Whether a name may have been misspelt. A registry that has just started answers, and does not say yet that it has no such service.
pub(crate) fn may_help(exit: Exit) -> bool {
    matches!(exit, Exit::NotFound | Exit::TimedOut | Exit::Unreachable)
}

/// Adds the nearest name that the registry knows, if there is one, to the failure. A name that it knows itself is
/// not misspelt.
pub(crate) async fn add(context: &Context, name: &ServiceName, failure: Failure) -> Failure {
    let names = known_names(context).await;
    if names.contains(name) {
        return failure;
    }
    match suggest(name.as_str(), names.iter().map(ServiceName::as_str)) {
        Some(meant) => {
            let (first, rest) = failure.message.split_once('\n').unwrap_or((&failure.message, ""));
            let message = format!("{first}; did you mean `{meant}`?\n{rest}");
            Failure { message: message.trim_end().to_owned(), ..failure }
        }
        None => failure,
    }
}

async fn known_names(context: &Context) -> Vec<ServiceName> {
    let Ok(registry) = context.registry() else { return Vec::new() };
    let query = ListQuery { scopes: context.scope.lookup_order(), ..ListQuery::default() };
    // A failure of the registry is already part of the message.
    let Ok(listing) = registry.with_timeout(TIMEOUT).list(&query).await else { return Vec::new() };
    let registered = listing.services.into_iter().map(|endpoint| endpoint.name);
    registered.chain(listing.declared.into_iter().map(|instance| instance.name)).collect()
}
