//! `portolan exec`: runs a command with the addresses of services in its environment.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use portolan_client::DiscoveryClient;
use portolan_core::duration::format_duration;
use portolan_core::{ServiceEndpoint, ServiceName, env, parse_duration};
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};

/// The interval between discoveries of a service that is missing or not ready.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Options of `portolan exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Services whose addresses are set: API_HOST, API_PORT and API_URL for "api"
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    needs: Vec<ServiceName>,
    /// Wait up to this long until all services are found and ready
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1,
          default_missing_value = "60s", require_equals = true)]
    wait: Option<Duration>,
    /// Command and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let url = context.registry_url();
        let client = context.discovery_at(url.clone(), context.broadcaster().await?)?;
        let deadline = self.wait.map(WaitDeadline::from_now);
        let mut variables = context.environment(&url);
        for name in &self.needs {
            let endpoint = find(&client, name, deadline).await?;
            variables.extend(env::variables(name, &endpoint));
        }
        client.close().await;
        // The command replaces this process: it gets the signals, the terminal and the exit status.
        let error = Command::new(&self.command[0]).args(&self.command[1..]).envs(variables).exec();
        Err(Failure::failed(format_args!("cannot start `{}`: {error}", self.command[0])))
    }
}

/// The deadline for all services together.
#[derive(Debug, Clone, Copy)]
struct WaitDeadline {
    wait: Duration,
    start: Instant,
}

// === impl WaitDeadline ===

impl WaitDeadline {
    fn from_now(wait: Duration) -> Self {
        Self { wait, start: Instant::now() }
    }

    fn remaining(self) -> Duration {
        self.wait.saturating_sub(self.start.elapsed())
    }
}

async fn find(
    client: &DiscoveryClient,
    name: &ServiceName,
    deadline: Option<WaitDeadline>,
) -> Result<ServiceEndpoint, Failure> {
    // An explained request is not logged, so that the failure is printed once.
    let Some(deadline) = deadline else {
        return Ok(client.discover(name).explain().await.result?.endpoint);
    };
    loop {
        let remaining = deadline.remaining();
        let request = client.discover(name).timeout(remaining.max(RETRY_INTERVAL)).retries(0);
        let failure = match request.explain().await.result {
            Ok(found) if found.endpoint.is_ready() => return Ok(found.endpoint),
            Ok(found) => not_ready(name, &found.endpoint, deadline.wait),
            Err(error) => match Failure::from(error) {
                invalid @ Failure { exit: Exit::Usage, .. } => return Err(invalid),
                failure => timed_out(name, deadline.wait, failure),
            },
        };
        if remaining.is_zero() {
            return Err(failure);
        }
        sleep(RETRY_INTERVAL.min(remaining)).await;
    }
}

fn not_ready(name: &ServiceName, endpoint: &ServiceEndpoint, wait: Duration) -> Failure {
    let (address, health) = (endpoint.address(), endpoint.health);
    Failure::new(
        Exit::TimedOut,
        format_args!(
            "{name} at {address} is {health} after {}: {}",
            format_duration(wait),
            endpoint.health_reason
        ),
    )
}

fn timed_out(name: &ServiceName, wait: Duration, failure: Failure) -> Failure {
    let wait = format_duration(wait);
    let message = format!("{name} was not found within {wait}\n{}", failure.message);
    Failure { exit: Exit::TimedOut, message, remedy: failure.remedy }
}
