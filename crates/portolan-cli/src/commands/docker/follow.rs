//! Follows the engine until a signal ends the command.

use std::path::PathBuf;

use portolan_core::quoted;
use portolan_docker::{ContainerRegistrar, DockerError, Engine, SOCKET};
use serde_json::json;

use super::Docker;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{output, shutdown};

pub(super) async fn follow(docker: Docker, context: &Context) -> CommandResult {
    let mut stop = shutdown::signals()?;
    let engine = Engine::new(socket(docker.socket)?)?;
    // A wrong socket is reported at once; an engine that stops later is waited for.
    let id = engine.id().await?;
    let client = context.registry()?;
    let (socket, url) = (engine.socket().display().to_string(), client.url());
    if context.json {
        output::json(&json!({ "socket": socket, "engine": id, "registry": url }))?;
    } else {
        output::line(format_args!("following Docker at {socket}, registry at {url}"))?;
    }
    let registrar = ContainerRegistrar::new(engine, id, client, docker.ttl);
    registrar.run(stop.wait()).await;
    Ok(Exit::Done)
}

/// Returns the path of the socket. An engine on another host has containers of which the addresses here mean nothing.
pub(crate) fn socket(option: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = option {
        return Ok(path);
    }
    let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) else {
        return Ok(SOCKET.into());
    };
    host.strip_prefix("unix://").map(PathBuf::from).ok_or_else(|| {
        Failure::usage(format_args!("DOCKER_HOST={} is not the Unix socket of an engine on this host", quoted(&host)))
            .remedy("run this command on the host of the engine, or give the path of the socket with --socket")
    })
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Self {
        Self::from_error(Exit::Failed, &error)
    }
}
