//! `portolan discover`: where is a service?

use std::time::Duration;

use clap::{Args, ValueEnum};
use portolan_client::{DiscoveryClient, StrategyName};
use portolan_core::{ServiceEndpoint, ServiceName, env, parse_duration};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::output;

/// Options of `portolan discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// The service's name
    name: ServiceName,
    /// Every instance, not only the best one
    #[arg(long, conflicts_with = "explain")]
    all: bool,
    /// The strategies to use, in this order: default, registry, broadcast, dns, config
    #[arg(long, value_name = "STRATEGY,…", value_delimiter = ',')]
    strategy: Vec<StrategyName>,
    /// How long it may take altogether [default: discovery.timeouts.overall]
    #[arg(long, value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// How often a strategy that could not ask tries again [default: discovery.retries]
    #[arg(long)]
    retries: Option<u32>,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Addr)]
    format: Format,
    /// Tells what each strategy answered, on standard error
    #[arg(long)]
    explain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 127.0.0.1:8080
    Addr,
    /// http://127.0.0.1:8080
    Url,
    /// API_HOST=… API_PORT=… API_URL=…, one a line
    Env,
    /// The whole endpoint; with --all, every endpoint as a list
    Json,
}

impl Discover {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let client = context.discovery().await?;
        let found = match self.all {
            true => self.find_all(&client).await,
            false => self.find_one(context, &client).await,
        };
        client.close().await;
        let found = found?;
        match self.all && (context.json || self.format == Format::Json) {
            true => output::json(&json!({ "services": found }))?,
            false => found.iter().try_for_each(|endpoint| self.print(context, endpoint))?,
        }
        Ok(Exit::Done)
    }

    async fn find_all(&self, client: &DiscoveryClient) -> Result<Vec<ServiceEndpoint>, Failure> {
        let mut request = client.discover_all(self.name.as_str());
        if !self.strategy.is_empty() {
            request = request.strategies(&self.strategy);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        if let Some(retries) = self.retries {
            request = request.retries(retries);
        }
        Ok(request.await?)
    }

    async fn find_one(
        &self,
        context: &Context,
        client: &DiscoveryClient,
    ) -> Result<Vec<ServiceEndpoint>, Failure> {
        let mut request = client.discover(self.name.as_str());
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
        // A failure tells of every strategy anyway, on its way out.
        if self.explain && explanation.result.is_ok() && !context.quiet {
            output::note(&explanation);
        }
        Ok(vec![explanation.result?.endpoint])
    }

    fn print(&self, context: &Context, endpoint: &ServiceEndpoint) -> Result<(), Failure> {
        match self.format {
            _ if context.json => output::json(endpoint),
            Format::Json => output::json(endpoint),
            Format::Addr => output::line(endpoint.address()),
            Format::Url => output::line(endpoint.url()),
            Format::Env => env::variables(&self.name, endpoint)
                .iter()
                .try_for_each(|(variable, value)| output::line(format_args!("{variable}={value}"))),
        }
    }
}
