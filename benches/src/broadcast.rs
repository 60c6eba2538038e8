//! What it costs to announce an instance, signed, and to receive, verify and apply the announcement, compared with the fewest steps
//! that have the same effect: serialise, sign and send; receive, verify, parse and put into a map.
//!
//! On the loopback interface. The figures are the processor time of the thread that sends and of the thread that receives, which other
//! load on the machine affects the least. What is lost depends on that load: the thread that receives has a lower priority.

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
/// The channels of the benchmark, which no other process joins.
pub(super) const GROUP: &str = "239.255.77.1:17077";
const BARE_GROUP: &str = "239.255.77.2:17078";
const INSTANCES: u16 = 1_000;
/// The announcements of one sample.
const MEASURED: usize = 10_000;
/// The names of the threads that receive.
const RECEIVES: &str = "portolan-rx";
pub(super) const BARE_RECEIVES: &str = "bare-rx";
/// How long the last announcements may take to be applied.
const SETTLE: Duration = Duration::from_millis(300);
/// How many announcements are sent between two looks at the clock, at a given rate.
const STEP: usize = 20;

/// Rows for the thread that sends, for the thread that receives, and for losses at given rates.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = costs(&runtime)?;
    for rate in [20_000, 50_000] {
        rows.push(lost(&runtime, rate)?);
    }
    Ok(rows)
}

fn costs(runtime: &Runtime) -> Result<Vec<Row>> {
    let endpoints = endpoints();
    let (group, member) = (BARE_GROUP.parse()?, runtime.block_on(join(GROUP))?);
    let (mut bare, receiver) = (BareSender::open(group)?, BareReceiver::open(group)?);
    let samples = Interleaved::measure(4, |index| {
        let ours = |work: &mut dyn FnMut() -> Result<()>| {
            timed(index >= 2, RECEIVES, || received(&member), work)
        };
        match index % 2 {
            0 => timed(index >= 2, BARE_RECEIVES, || receiver.applied(), &mut || {
                endpoints_in_turn(&endpoints).try_for_each(|endpoint| bare.announce(endpoint))
            }),
            _ => ours(&mut || announce(runtime, &member, &endpoints)),
        }
    })?;
    runtime.block_on(member.stop());
    let limit = Goal::AtMost(1.0 / 0.9);
    Ok(vec![
        row("signed announcement, sent: CPU / bare", &samples, [1, 0], limit),
        row("signed announcement, received and applied: CPU / bare", &samples, [3, 2], limit),
    ])
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
            if (sent as usize).is_multiple_of(STEP) {
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

fn row(what: &str, samples: &Interleaved, [index, to]: [usize; 2], goal: Goal) -> Row {
    let micros = |sample: &Sample| 1e6 / sample.rate;
    Row {
        what: what.to_owned(),
        measured: Unit::Micros(samples.figure(index, micros)),
        baseline: Unit::Micros(samples.figure(to, micros)),
        compared: samples.ratio(index, to, micros),
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

/// Announcements a second of the processor time of this thread, which sends, or of the one that receives.
fn timed(
    of_receiver: bool,
    receiver: &str,
    received: impl Fn() -> u64,
    send: &mut dyn FnMut() -> Result<()>,
) -> Result<Sample> {
    let (before, began) = (received(), [sending_time(), time_of_threads(receiver)?]);
    send()?;
    let sending = sending_time() - began[0];
    std::thread::sleep(SETTLE);
    let (count, time) = match of_receiver {
        false => (MEASURED as f64, sending),
        true => ((received() - before) as f64, time_of_threads(receiver)? - began[1]),
    };
    Ok(Sample { rate: count / time.as_secs_f64(), nanos: vec![] })
}

fn sending_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The processor time of the threads of this process with a name (proc_pid_schedstat).
fn time_of_threads(name: &str) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim_end() == name {
            let times = std::fs::read_to_string(task.join("schedstat"))?;
            nanos += times.split(' ').next().context("a time")?.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanos))
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
