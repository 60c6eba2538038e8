//! What it costs to announce an instance, signed, and to receive, verify and apply the announcement, compared with the fewest steps
//! that have the same effect: serialise, sign and send; receive, verify, parse and put into a map.
//!
//! On the loopback interface. The figures are the processor time of the whole process for each announcement, which other load on
//! the machine affects the least.

mod bare;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use portolan_broadcast::{BroadcastConfig, Broadcaster};
use portolan_core::{Action, Host, Registration, ServiceEndpoint, Ttl};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

use crate::interleaved::Interleaved;
use crate::report::{Goal, Row, Unit};
use crate::sample::Sample;

use bare::{BareReceiver, BareSender};

pub(super) const KEY: &str = "4f1c0a97d2e86b35 of a benchmark";
/// Nobody else is on these channels.
pub(super) const GROUP: &str = "239.255.77.1:17077";
const BARE_GROUP: &str = "239.255.77.2:17078";
const INSTANCES: u16 = 1_000;
/// The announcements of one sample.
const MEASURED: usize = 20_000;
/// How long the last announcements may take to be applied.
const SETTLE: Duration = Duration::from_millis(300);
/// How many announcements are sent between two looks at the clock, at a given rate.
const STEP: usize = 20;

/// Rows for sending alone, for sending with a receiver, and for losses at given rates.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = vec![sent(&runtime)?, applied(&runtime)?];
    for rate in [20_000, 50_000] {
        rows.push(lost(&runtime, rate)?);
    }
    Ok(rows)
}

fn sent(runtime: &Runtime) -> Result<Row> {
    let (endpoints, mut bare) = (endpoints(), BareSender::open(BARE_GROUP.parse()?)?);
    let sender = runtime.block_on(join(GROUP))?;
    let samples = Interleaved::measure(2, |index| match index {
        0 => timed(MEASURED, || endpoints_in_turn(&endpoints).try_for_each(|it| bare.announce(it))),
        _ => timed(MEASURED, || announce(runtime, &sender, &endpoints)),
    })?;
    runtime.block_on(sender.stop());
    Ok(row(
        "signed announcement, sent and heard by its sender: CPU / sent bare",
        &samples,
        Goal::Unset,
    ))
}

fn applied(runtime: &Runtime) -> Result<Row> {
    let endpoints = endpoints();
    let (mut bare, receiver) =
        (BareSender::open(BARE_GROUP.parse()?)?, BareReceiver::open(BARE_GROUP.parse()?)?);
    let sender = runtime.block_on(join(GROUP))?;
    let samples = Interleaved::measure(2, |index| match index {
        0 => {
            let before = receiver.applied();
            let mut sample = timed(MEASURED, || {
                endpoints_in_turn(&endpoints).try_for_each(|it| bare.announce(it))?;
                std::thread::sleep(SETTLE);
                Ok(())
            })?;
            sample.rate *= (receiver.applied() - before) as f64 / MEASURED as f64;
            Ok(sample)
        }
        _ => {
            let before = received(&sender);
            let mut sample = timed(MEASURED, || {
                announce(runtime, &sender, &endpoints)?;
                std::thread::sleep(SETTLE);
                Ok(())
            })?;
            sample.rate *= (received(&sender) - before) as f64 / MEASURED as f64;
            Ok(sample)
        }
    })?;
    runtime.block_on(sender.stop());
    Ok(row("signed announcement, sent and applied: CPU / bare", &samples, Goal::AtMost(1.0 / 0.9)))
}

/// How many of a hundred announcements are lost if they are sent at this rate.
fn lost(runtime: &Runtime, rate: u32) -> Result<Row> {
    let endpoints = endpoints();
    let sender = runtime.block_on(join(GROUP))?;
    let (before, count) = (received(&sender), rate as usize * 2);
    let (began, mut sent) = (Instant::now(), 0);
    runtime.block_on(async {
        for endpoint in endpoints.iter().cycle().take(count) {
            sender.0.announce(Action::Heartbeat, endpoint).await?;
            sent += 1;
            let due = began + Duration::from_secs(1).mul_f64(f64::from(sent) / f64::from(rate));
            if sent as usize % STEP == 0 {
                tokio::time::sleep_until(due.into()).await;
            }
        }
        anyhow::Ok(())
    })?;
    let reached = f64::from(sent) / began.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let heard = received(&sender) - before;
    runtime.block_on(sender.stop());
    let lost = (count as f64 - heard as f64).max(0.0) * 100.0 / count as f64;
    Ok(Row {
        what: format!("signed announcements at {rate}/s: lost of 100, rate reached"),
        measured: Unit::Times(lost),
        baseline: Unit::PerSecond(reached),
        compared: Unit::Times(lost),
        goal: Goal::AtMost(0.0),
        specified: "",
    })
}

fn row(what: &str, samples: &Interleaved, goal: Goal) -> Row {
    let micros = |sample: &Sample| 1e6 / sample.rate;
    Row {
        what: what.to_owned(),
        measured: Unit::Micros(samples.figure(1, micros)),
        baseline: Unit::Micros(samples.figure(0, micros)),
        compared: samples.ratio(1, 0, micros),
        goal,
        specified: "",
    }
}

/// A member of the channel, and its metrics.
struct Member(Broadcaster, portolan_metrics::Metrics);

impl Member {
    async fn stop(&self) {
        self.0.stop().await;
    }
}

async fn join(group: &str) -> Result<Member> {
    let metrics = portolan_metrics::Metrics::new();
    let config = BroadcastConfig {
        multicast_address: group.parse()?,
        interface: "127.0.0.1".to_owned(),
        key: Some(KEY.into()),
        ..BroadcastConfig::default()
    };
    let broadcaster = Broadcaster::new(config, metrics.clone()).await?;
    Ok(Member(broadcaster, metrics))
}

fn announce(runtime: &Runtime, member: &Member, endpoints: &[ServiceEndpoint]) -> Result<()> {
    runtime.block_on(async {
        for endpoint in endpoints_in_turn(endpoints) {
            member.0.announce(Action::Heartbeat, endpoint).await?;
        }
        Ok(())
    })
}

fn endpoints_in_turn(endpoints: &[ServiceEndpoint]) -> impl Iterator<Item = &ServiceEndpoint> {
    endpoints.iter().cycle().take(MEASURED)
}

/// How many announcements the member has received, verified and applied.
fn received(member: &Member) -> u64 {
    let text = member.1.encode();
    let count = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        name.starts_with("discovery_announcements_received_total")
            .then(|| count.parse::<f64>().ok())
            .flatten()
    };
    text.lines().filter_map(count).sum::<f64>() as u64
}

/// Announcements a second of the processor time of this process.
fn timed(count: usize, work: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let began = processor_time();
    work()?;
    let taken = processor_time() - began;
    Ok(Sample { rate: count as f64 / taken.as_secs_f64(), nanos: vec![] })
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn endpoints() -> Vec<ServiceEndpoint> {
    let endpoint = |number: u16| {
        let name = format!("service-{number}").parse().ok()?;
        let mut registration =
            Registration::new(name, "127.0.0.1".parse::<Host>().ok()?, 20_000 + number);
        registration.metadata.insert("version".to_owned(), "1.2.3".to_owned());
        registration.metadata.insert("zone".to_owned(), "eu-central-1a".to_owned());
        Some(registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now()))
    };
    (0..INSTANCES).filter_map(endpoint).collect()
}

/// The address of the group.
pub(super) fn ipv4(group: SocketAddr) -> Result<std::net::SocketAddrV4> {
    match group {
        SocketAddr::V4(group) => Ok(group),
        SocketAddr::V6(_) => None.context("the group is of IPv4"),
    }
}
