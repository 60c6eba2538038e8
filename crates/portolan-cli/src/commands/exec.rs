//! `portolan exec`: runs a command with the addresses of services in its environment.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use portolan_client::{Deadline, DiscoveryClient};
use portolan_core::env::{Convention, InvalidVariables};
use portolan_core::{ServiceEndpoint, ServiceName, env, parse_duration};

use crate::context::{Context, withheld_variables};
use crate::exit::{CommandResult, Exit, Failure};
use crate::output::ProgressLine;
use crate::{exit_codes, output, suggestion};

/// Options of `portolan exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Services whose addresses are set: API_HOST, API_PORT and API_URL for "api"
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    needs: Vec<ServiceName>,
    /// Wait up to this long until all services are found and ready; exit with 124 if one is not
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1,
          default_missing_value = "60s", require_equals = true)]
    wait: Option<Duration>,
    /// Give the command PORTOLAN_TOKEN and PORTOLAN_BROADCAST_KEY, which every program of this user can then read
    #[arg(long)]
    pass_token: bool,
    /// Text before the names of the variables, such as SERVICE_
    #[arg(long, value_parser = env::parse_prefix)]
    prefix: Option<String>,
    /// How the variables are named: portolan, links (of Docker and Compose), kubernetes or aspire
    #[arg(long, default_value_t = Convention::Portolan)]
    convention: Convention,
    /// Command and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        // Before anything is looked up: the names alone decide.
        let prefix = self.prefix.as_deref().unwrap_or_default();
        env::check(&self.needs, prefix).map_err(|error| invalid(&error))?;
        let schemes = &context.settings().discovery.url_schemes;
        let url = context.registry_url();
        let client = context.discovery_at(url.clone(), context.broadcaster().await?)?;
        let deadline = self.wait.map(Deadline::after);
        let mut variables = context.environment(&url, self.pass_token);
        let progress = ProgressLine::start(context);
        for name in &self.needs {
            let endpoint = match find(&client, name, deadline).await {
                Ok(endpoint) => endpoint,
                Err(failure) if suggestion::may_help(failure.exit) => {
                    return Err(suggestion::add(context, name, failure).await);
                }
                Err(failure) => return Err(failure),
            };
            let own = self.convention.variables(name, &endpoint, prefix, schemes);
            variables.extend(own.map_err(|error| invalid(&error))?);
        }
        client.close().await;
        drop(progress);
        // The command replaces this process: it gets the signals, the terminal and the exit status.
        let mut command = Command::new(&self.command[0]);
        withheld_variables().for_each(|name| _ = command.env_remove(name));
        let error = command.args(&self.command[1..]).envs(variables).exec();
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        let text = format_args!("cannot start `{}`: {error}", self.command[0]);
        Err(Failure::new(Exit::Child(code), text))
    }
}

fn invalid(error: &InvalidVariables) -> Failure {
    Failure::from_error(Exit::Usage, error)
}

/// Finds the service; with a deadline, waits until it is ready.
async fn find(
    client: &DiscoveryClient,
    name: &ServiceName,
    deadline: Option<Deadline>,
) -> Result<ServiceEndpoint, Failure> {
    let activity = if deadline.is_some() { "waiting" } else { "looking" };
    let needed = name.clone();
    let mut request = client.discover(name).progress(move |strategy| {
        output::show_progress(format_args!("{activity} for {needed}: asking {strategy}"));
    });
    if let Some(deadline) = deadline {
        request = request.wait(deadline.remaining());
    }
    // An explained request is not logged, so that the failure is printed once.
    let result = request.explain().await.result;
    let Some(deadline) = deadline else { return Ok(result?.into()) };
    result
        .map(ServiceEndpoint::from)
        .map_err(|error| exit_codes::wait_failure(error, name, deadline.limit()))
}
