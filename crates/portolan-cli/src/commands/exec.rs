//! `portolan exec`: a command with the addresses of what it needs in its environment.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use portolan_client::DiscoveryClient;
use portolan_core::duration::format_duration;
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
    /// Waits for services that are not there yet, or not well, up to this long altogether
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
        let patience = self.wait.map(Patience::from_now);
        let mut variables = context.environment(&context.registry_url());
        for name in &self.needs {
            let endpoint = find(&client, name, patience).await?;
            variables.extend(env::variables(name, &endpoint));
        }
        client.close().await;
        // The command takes our place: its signals, its terminal and its status are its own.
        let error = Command::new(&self.command[0]).args(&self.command[1..]).envs(variables).exec();
        Err(Failure::failed(format_args!("cannot start `{}`: {error}", self.command[0])))
    }
}

/// How long to wait, for all that is needed together.
#[derive(Debug, Clone, Copy)]
struct Patience {
    wait: Duration,
    began: Instant,
}

// === impl Patience ===

impl Patience {
    fn from_now(wait: Duration) -> Self {
        Self { wait, began: Instant::now() }
    }

    fn left(self) -> Duration {
        self.wait.saturating_sub(self.began.elapsed())
    }
}

async fn find(
    client: &DiscoveryClient,
    name: &ServiceName,
    patience: Option<Patience>,
) -> Result<ServiceEndpoint, Failure> {
    // Explained, since then the failure is told once, by us, and not in the log as well.
    let Some(patience) = patience else {
        return Ok(client.discover(name.as_str()).explain().await.result?.endpoint);
    };
    loop {
        let left = patience.left();
        let asked = client.discover(name.as_str()).timeout(left.max(LOOK_AGAIN)).retries(0);
        let failure = match asked.explain().await.result {
            Ok(found) if found.endpoint.is_ready() => return Ok(found.endpoint),
            Ok(found) => not_well(name, &found.endpoint, patience.wait),
            Err(error) => match Failure::from(error) {
                wrong @ Failure { exit: Exit::Usage, .. } => return Err(wrong),
                failure => out_of_time(name, patience.wait, &failure),
            },
        };
        if left.is_zero() {
            return Err(failure);
        }
        sleep(LOOK_AGAIN.min(left)).await;
    }
}

fn not_well(name: &ServiceName, endpoint: &ServiceEndpoint, wait: Duration) -> Failure {
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

fn out_of_time(name: &ServiceName, wait: Duration, failure: &Failure) -> Failure {
    let wait = format_duration(wait);
    let message = &failure.message;
    Failure::new(Exit::TimedOut, format_args!("{name} was not found within {wait}\n{message}"))
}
