//! The performance that the specification expects (appendix C): the median and the 99th percentile of the latency, and the
//! throughput, of one caller. The goals are the specification's.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use portolan_broadcast::{BroadcastConfig, Broadcaster};
use portolan_client::{
    DiscoveryClient, DiscoveryConfig, ListQuery, RegistryClient, RegistryClientConfig,
};
use portolan_core::{Action, Host, Registration, Ttl};
use portolan_metrics::Metrics;
use portolan_port_allocator::{Depth, PortAllocator};
use tokio::runtime::Runtime;

use crate::bench_env::{BenchEnv, MEASURED, request};
use crate::report::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::served::ServedRegistry;

const SAMPLE_TIME: Duration = Duration::from_millis(500);

/// What the specification expects of an operation.
struct Expected {
    what: &'static str,
    p50: f64,
    p99: f64,
    rate: f64,
}

/// Rows for each operation of the appendix.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = Vec::new();
    rows.extend(
        Expected { what: "port allocation", p50: 1.0, p99: 5.0, rate: 10_000.0 }
            .rows(&allocations()?),
    );
    rows.extend(
        Expected { what: "broadcast send", p50: 5.0, p99: 20.0, rate: 1_000.0 }
            .rows(&sends(&runtime)?),
    );
    let env = BenchEnv::new()?;
    // Answers are complete after half of the default TTL.
    let registry =
        ServedRegistry::start_open(&env, &["service_registry.ttl_default=1s".to_owned()])?;
    let url = format!("http://{}", registry.address);
    runtime.block_on(register(&url))?;
    std::thread::sleep(Duration::from_secs(1));
    let lookups = Sample::measure(SAMPLE_TIME, {
        let client = RegistryClient::new(RegistryClientConfig::new(&url))?;
        let query = ListQuery { name: Some("api".parse()?), ..ListQuery::default() };
        let runtime = &runtime;
        move || runtime.block_on(client.list(&query))
    })?;
    rows.extend(
        Expected { what: "registry lookup", p50: 10.0, p99: 50.0, rate: 5_000.0 }.rows(&lookups),
    );
    for (what, is_cached, [p50, p99, rate]) in [
        ("discovery (cached)", true, [1.0, 5.0, 50_000.0]),
        ("discovery (uncached)", false, [50.0, 200.0, 1_000.0]),
    ] {
        rows.extend(
            Expected { what, p50, p99, rate }.rows(&discoveries(&runtime, &url, is_cached)?),
        );
    }
    Ok(rows)
}

fn allocations() -> Result<Sample> {
    let env = BenchEnv::new()?;
    let allocator = PortAllocator::new(env.config(MEASURED))?;
    let request = request("api", Depth::Guarded)?;
    Ok(Sample::measure(SAMPLE_TIME, || allocator.request(request.clone()))?)
}

fn sends(runtime: &Runtime) -> Result<Sample> {
    let config = BroadcastConfig {
        multicast_address: "239.255.77.3:17079".parse()?,
        interface: Ipv4Addr::LOCALHOST.to_string(),
        ..BroadcastConfig::default()
    };
    let sender = runtime.block_on(Broadcaster::new(config, Metrics::new()))?;
    let endpoint = registration()?.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now());
    let announce = || runtime.block_on(sender.announce(Action::Heartbeat, &endpoint));
    Ok(Sample::measure(SAMPLE_TIME, announce)?)
}

fn discoveries(runtime: &Runtime, url: &str, is_cached: bool) -> Result<Sample> {
    let mut config = DiscoveryConfig::default();
    config.cache.enabled = is_cached;
    let client: DiscoveryClient = {
        let _entered = runtime.enter();
        let builder = DiscoveryClient::builder().config(config).registry_url(url);
        builder
            .broadcast(BroadcastConfig { enabled: false, ..BroadcastConfig::default() })
            .build()?
    };
    Ok(Sample::measure(SAMPLE_TIME, || runtime.block_on(client.discover("api").into_future()))?)
}

async fn register(url: &str) -> Result<()> {
    let client = RegistryClient::new(RegistryClientConfig::new(url))?;
    let registration = Registration { ttl: Some(Ttl::new(Ttl::MAX)?), ..registration()? };
    client.register(&registration).await?;
    Ok(())
}

fn registration() -> Result<Registration> {
    Ok(Registration::new("api".parse()?, "127.0.0.1".parse::<Host>()?, 20_000))
}

// === impl Expected ===

impl Expected {
    fn rows(&self, sample: &Sample) -> [Row; 3] {
        let row = |what: String, measured, baseline, goal| {
            let compared = measured;
            Row { what, measured, baseline, compared, goal, specified: "appendix C" }
        };
        let latency = |name: &str, share: f64, limit: f64| {
            let millis = sample.micros(share) / 1000.0;
            let (measured, baseline) = (Unit::Millis(millis), Unit::Millis(limit));
            row(format!("{}: {name}", self.what), measured, baseline, Goal::AtMost(limit))
        };
        let (measured, baseline) = (Unit::PerSecond(sample.rate), Unit::PerSecond(self.rate));
        [
            latency("p50", 0.5, self.p50),
            latency("p99", 0.99, self.p99),
            row(format!("{}: throughput", self.what), measured, baseline, Goal::AtLeast(self.rate)),
        ]
    }
}
