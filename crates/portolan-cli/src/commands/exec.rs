//! `portolan exec`: a command with the addresses of what it needs in its environment.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use portolan_client::DiscoveryClient;
use portolan_core::{ServiceEndpoint, ServiceName, env, parse_duration};
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};

/// How often what is missing is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Options of `portolan exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The services whose addresses the command gets, as API_HOST, API_PORT, API_URL for "api"
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    needs: Vec<ServiceName>,
    /// Waits for services that are not there yet, or not well, up to this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1,
          default_missing_value = "60s", require_equals = true)]
    wait: Option<Duration>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let client = context.discovery().await?;
        let mut variables = context.environment(&context.registry_url());
        for name in &self.needs {
            let endpoint = self.find(&client, name).await?;
            variables.extend(env::variables(name, &endpoint));
        }
        client.close().await;
        // The command takes our place: its signals, its terminal and its status are its own.
        let error = Command::new(&self.command[0]).args(&self.command[1..]).envs(variables).exec();
        Err(Failure::failed(format_args!("cannot start `{}`: {error}", self.command[0])))
    }

    async fn find(
        &self,
        client: &DiscoveryClient,
        name: &ServiceName,
    ) -> Result<ServiceEndpoint, Failure> {
        let Some(wait) = self.wait else {
            return Ok(client.discover(name.as_str()).await?.endpoint);
        };
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = client.discover(name.as_str()).timeout(left.max(LOOK_AGAIN)).retries(0);
            match asked.await.map(|found| found.endpoint) {
                Ok(endpoint) if endpoint.is_ready() => return Ok(endpoint),
                _ if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                Ok(endpoint) => return Err(not_well(name, &endpoint, wait)),
                Err(error) => return Err(out_of_time(name, wait, &error)),
            }
        }
    }
}

fn not_well(name: &ServiceName, endpoint: &ServiceEndpoint, wait: Duration) -> Failure {
    let (address, health) = (endpoint.address(), endpoint.health);
    Failure::new(
        Exit::TimedOut,
        format_args!("{name} at {address} is {health} after {wait:?}: {}", endpoint.health_reason),
    )
}

fn out_of_time(
    name: &ServiceName,
    wait: Duration,
    error: &portolan_client::DiscoverError,
) -> Failure {
    Failure::new(Exit::TimedOut, format_args!("{name} was not found within {wait:?}\n{error}"))
}
