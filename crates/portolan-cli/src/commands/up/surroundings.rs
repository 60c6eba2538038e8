//! What all services of a stack have in common.

use std::path::Path;

use portolan_client::environment::variable;
use portolan_core::{Host, Ttl};
use portolan_server::RegistryServer;
use portolan_supervisor::child::WindowSize;
use portolan_supervisor::stack::StackContext;
use tokio::sync::watch;

use crate::context::{Context, directory_of};
use crate::exit::Failure;

pub(super) fn surroundings(
    context: &Context,
    file: &Path,
    server: &RegistryServer,
    window: watch::Receiver<WindowSize>,
    pass_token: bool,
) -> Result<StackContext, Failure> {
    let settings = context.settings();
    let ttl = Ttl::new(settings.service_registry.ttl_default)
        .map_err(|error| Failure::usage(format_args!("service_registry.ttl_default: {error}")))?;
    let mut environment = context.environment(&server.url(), pass_token);
    if let Some(token) = server.stack_token().filter(|_| pass_token) {
        environment.insert(variable::TOKEN.to_owned(), token.expose().to_owned());
    }
    environment.extend(path_with_own_directory());
    let folder = directory_of(file)?;
    Ok(StackContext {
        scope: context.scope.clone(),
        folder,
        host: Host::loopback(),
        ttl,
        environment,
        pools: settings.port_allocator.pools(),
        url_schemes: settings.discovery.url_schemes.clone(),
        window,
    })
}

/// Returns a `PATH` that ends with the directory of this program, so that services find it, and find everything else as before.
fn path_with_own_directory() -> Option<(String, String)> {
    let program = std::env::current_exe().ok()?;
    let directory = program.parent()?.to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = std::env::split_paths(&inherited).chain([directory]).collect();
    let path = std::env::join_paths(directories).ok()?;
    Some(("PATH".to_owned(), path.into_string().ok()?))
}
