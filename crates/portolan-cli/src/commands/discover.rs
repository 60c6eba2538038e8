//! `portolan discover`: finds a service.

use std::fmt::Display;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portolan_client::{Attempt, AttemptOutcome, DiscoveryClient, StrategyName, Trust};
use portolan_core::schemes::checked_url;
use portolan_core::{
    HealthStatus, ServiceEndpoint, ServiceName, env, escaped_line, parse_duration,
};
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output::ProgressLine;
use crate::{exit_codes, output, suggestion};

/// Options of `portolan discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// Name of the service
    name: ServiceName,
    /// Print every instance, not only the best one
    #[arg(long)]
    all: bool,
    #[arg(long, value_name = "STRATEGY,…", value_delimiter = ',', help = strategies())]
    strategy: Vec<StrategyName>,
    /// Timeout for all strategies together [default: discovery.timeouts.overall]
    #[arg(long, value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Wait up to this long until an instance is ready; exit with 124 if none is
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1,
          default_missing_value = "60s", require_equals = true, conflicts_with = "all")]
    wait: Option<Duration>,
    /// Only instances that are not critical: exit with 3 if there are none
    #[arg(long)]
    healthy: bool,
    /// Retries of a strategy that failed [default: discovery.retries]
    #[arg(long)]
    retries: Option<u32>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Addr)]
    format: Format,
    /// Print the result of each strategy to standard error
    #[arg(long)]
    explain: bool,
}

fn strategies() -> String {
    format!("Strategies to use, in this order: {}", StrategyName::list())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 127.0.0.1:8080
    Addr,
    /// http://127.0.0.1:8080
    Url,
    /// API_HOST=… API_PORT=… API_URL=…, one per line
    Env,
    /// The endpoint as JSON; with --all, a list of endpoints
    Json,
}

/// An instance, and who could have made the answer.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    endpoint: ServiceEndpoint,
    trust: &'static str,
}

/// Returns the trust of an instance in what the strategies have found.
fn trust_of(endpoint: &ServiceEndpoint, attempts: &[Attempt]) -> &'static str {
    let found = attempts.iter().flat_map(|attempt| match &attempt.outcome {
        AttemptOutcome::Found(candidates) => candidates.as_slice(),
        _ => &[],
    });
    let same = found.filter(|candidate| candidate.endpoint.address() == endpoint.address());
    same.map(|candidate| candidate.trust).min().unwrap_or(Trust::Unsigned).as_str()
}

impl Discover {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let client = context.discovery().await?;
        let progress = ProgressLine::start(context);
        let found = if self.all {
            self.find_all(context, &client).await
        } else {
            self.find_one(context, &client).await
        };
        client.close().await;
        drop(progress);
        let mut found = match found {
            Err(failure) if suggestion::may_help(failure.exit) => {
                return Err(suggestion::add(context, &self.name, failure).await);
            }
            found => found?,
        };
        if self.healthy {
            found.retain(|found| found.endpoint.health != HealthStatus::Critical);
        }
        let Some(best) = found.first().map(|best| &best.endpoint) else {
            let message = format_args!("every instance of {} is critical", self.name);
            return Err(Failure::new(Exit::NotFound, message)
                .remedy(format!("see `portolan list {}` for the reasons", self.name)));
        };
        if best.health == HealthStatus::Critical && !context.quiet {
            let (name, reason) = (&self.name, escaped_line(&best.health_reason));
            output::note(format_args!("warning: every instance of {name} is critical: {reason}"));
        }
        if self.all && (context.json || self.format == Format::Json) {
            output::json(&json!({ "services": found }))?;
        } else {
            found.iter().try_for_each(|found| self.print(context, found))?;
        }
        Ok(Exit::Done)
    }

    async fn find_all(
        &self,
        context: &Context,
        client: &DiscoveryClient,
    ) -> Result<Vec<Found>, Failure> {
        let mut request = client.discover_all(&self.name).progress(self.progress());
        if !self.strategy.is_empty() {
            request = request.strategies(&self.strategy);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        if let Some(retries) = self.retries {
            request = request.retries(retries);
        }
        let explanation = request.explain().await;
        self.print_explanation(context, &explanation, explanation.result.is_ok());
        let attempts = explanation.attempts;
        let found = explanation.result?.into_iter();
        Ok(found
            .map(|endpoint| Found { trust: trust_of(&endpoint, &attempts), endpoint })
            .collect())
    }

    async fn find_one(
        &self,
        context: &Context,
        client: &DiscoveryClient,
    ) -> Result<Vec<Found>, Failure> {
        let mut request = client.discover(&self.name).progress(self.progress());
        if !self.strategy.is_empty() {
            request = request.strategies(&self.strategy);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        if let Some(retries) = self.retries {
            request = request.retries(retries);
        }
        if let Some(wait) = self.wait {
            request = request.wait(wait);
        }
        let explanation = request.explain().await;
        self.print_explanation(context, &explanation, explanation.result.is_ok());
        let found = match self.wait {
            Some(wait) => explanation
                .result
                .map_err(|error| exit_codes::wait_failure(error, &self.name, wait))?,
            None => explanation.result?,
        };
        Ok(vec![Found { trust: found.trust.as_str(), endpoint: found.into() }])
    }

    /// Returns the function that shows which strategy is asked.
    fn progress(&self) -> impl Fn(StrategyName) + Send + Sync + 'static {
        let activity = if self.wait.is_some() { "waiting" } else { "looking" };
        let name = self.name.clone();
        move |strategy| {
            output::show_progress(format_args!("{activity} for {name}: asking {strategy}"));
        }
    }

    /// Prints the result of each strategy. The text of a failure has them in any case.
    fn print_explanation(&self, context: &Context, explanation: &impl Display, is_found: bool) {
        if self.explain && is_found && !context.quiet {
            output::note(explanation);
        }
    }

    fn print(&self, context: &Context, found: &Found) -> Result<(), Failure> {
        let endpoint = &found.endpoint;
        let schemes = &context.settings().discovery.url_schemes;
        match self.format {
            _ if context.json => output::json(found),
            Format::Json => output::json(found),
            Format::Addr => output::line(endpoint.address()),
            Format::Url => output::line(checked_url(endpoint, schemes)?),
            Format::Env => env::variables(&self.name, endpoint, "", schemes)
                .map_err(|error| Failure::from_error(Exit::Usage, &error))?
                .iter()
                .try_for_each(|(variable, value)| output::line(format_args!("{variable}={value}"))),
        }
    }
}
