//! What others know of a stack: the state of its instances, and that it runs.

use portolan_core::{DeclaredInstance, Scope, ServiceName};
use portolan_server::REGISTRY_SERVICE;
use portolan_supervisor::stack::InstanceStatus;
use tokio::sync::watch;

use crate::context::Context;
use crate::exit::Failure;

/// Tells the registry the state of every instance, until the stack ends.
pub(super) async fn declare_instances(
    mut rows: watch::Receiver<Vec<InstanceStatus>>,
    scope: Scope,
    declare: watch::Sender<Vec<DeclaredInstance>>,
) {
    loop {
        let declared = rows.borrow_and_update().iter().map(|row| row.declared(&scope)).collect();
        declare.send_if_modified(|known| {
            let differs = *known != declared;
            *known = declared;
            differs
        });
        if rows.changed().await.is_err() {
            return;
        }
    }
}

/// Fails if a stack of this scope is running: each would discover the services of the other.
pub(super) fn check_not_running(context: &Context) -> Result<(), Failure> {
    let registry: ServiceName = REGISTRY_SERVICE.parse().map_err(Failure::failed)?;
    let holders = context.allocator()?.holders();
    let running =
        holders.iter().find(|holder| holder.service == registry && holder.scope == context.scope);
    match running {
        Some(holder) => Err(Failure::failed(format_args!(
            "the stack {} is already running in process {}",
            context.scope, holder.pid
        ))
        .remedy("stop that stack, or run this one in another scope with --scope")),
        None => Ok(()),
    }
}
