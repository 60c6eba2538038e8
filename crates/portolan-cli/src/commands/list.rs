//! `portolan list`: services with their address and health.

use clap::Args;
use portolan_broadcast::QueryMode;
use portolan_client::{ListQuery, RegistryClientError};
use portolan_core::{HealthStatus, ServiceEndpoint, ServiceName};
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// Options of `portolan list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only instances of this service
    name: Option<ServiceName>,
    /// Only instances with this health
    #[arg(long)]
    health: Option<HealthStatus>,
    /// All scopes, not only this one and "default"
    #[arg(long)]
    all_scopes: bool,
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let query = ListQuery {
            name: self.name,
            health: self.health,
            scopes: if self.all_scopes { Vec::new() } else { context.scope.lookup_order() },
            ..ListQuery::default()
        };
        let mut services = find(context, &query).await?;
        services.sort_by(|a, b| (&a.name, &a.scope, &a.id).cmp(&(&b.name, &b.scope, &b.id)));
        match context.json {
            true => output::json(&json!({ "services": services }))?,
            false => print(&services)?,
        }
        Ok(Exit::Done)
    }
}

/// Asks the registry, and if it cannot be reached, asks by broadcast.
async fn find(context: &Context, query: &ListQuery) -> Result<Vec<ServiceEndpoint>, Failure> {
    let unreachable = match context.registry()?.list(query).await {
        Ok(listing) => return Ok(listing.services),
        Err(error @ RegistryClientError::Unreachable { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let Some(broadcaster) = context.broadcaster().await? else { return Err(unreachable.into()) };
    if !context.quiet {
        output::note(format_args!("{unreachable}; asking by broadcast instead"));
    }
    let wait = context.settings().discovery.timeouts.strategy("broadcast");
    let found = broadcaster.query(query.name.as_ref(), &query.scopes, wait, QueryMode::All).await;
    broadcaster.stop().await;
    let mut services = found?;
    services.retain(|service| query.health.is_none_or(|health| service.health == health));
    Ok(services)
}

fn print(services: &[ServiceEndpoint]) -> Result<(), Failure> {
    let mut table =
        output::table(["NAME", "ADDRESS", "PROTOCOL", "VERSION", "HEALTH", "SCOPE", "ID"]);
    for service in services {
        table.add_row([
            service.name.to_string(),
            service.address(),
            service.protocol.to_string(),
            service.version.clone(),
            service.health.to_string(),
            service.scope.to_string(),
            service.id.to_string(),
        ]);
    }
    output::line(table.trim_fmt())
}
