//! Throughput of the reservation table alone, without sockets.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jiff::Timestamp;
use portolan_core::{Scope, ServiceName};
use portolan_reservations::{
    Depth, LeaseBound, Quota, Rate, Record, ServiceKey, SessionId, Slot, Table,
};

use crate::bench_env::{BenchEnv, LARGE};
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;

const SAMPLE_TIME: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;
/// The number of iterations between two readings of the clock.
const BATCH: u16 = 1000;
/// In reservations a second.
const GOAL: f64 = 5_000_000.0;

/// A session that reserves one port after another.
struct Reserver {
    table: Table,
    session: SessionId,
    service: ServiceName,
    scope: Scope,
    pid: u32,
    bound: LeaseBound,
}

/// One row: a whole reservation, compared with its minimum.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let reserver = Reserver::new(&BenchEnv::new()?)?;
    let (mut rates, mut baselines) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rates.push(rate(|index| reserver.reserve_and_release(LARGE.start() + index))?);
        baselines.push(rate(swap_three_times(&AtomicU64::new(0)))?);
    }
    let rate = median(rates);
    Ok(vec![Row {
        what: "reservation alone: claim, quota, publish, release".to_owned(),
        measured: Unit::PerSecond(rate),
        baseline: Unit::PerSecond(median(baselines)),
        compared: Unit::PerSecond(rate),
        goal: Goal::AtLeast(GOAL),
        specified: "10,000/s",
    }])
}

/// The minimum of a reservation: a reading of the clock, and three changes of its slot.
fn swap_three_times(slot: &AtomicU64) -> impl FnMut(u16) -> Result<()> {
    move |_| {
        let mut now = u64::try_from(Timestamp::now().as_nanosecond())?;
        for _ in 0..3 {
            let before = slot.load(Acquire);
            let swapped = slot.compare_exchange(before, now, AcqRel, Acquire);
            swapped.map_err(|found| anyhow!("another thread wrote {found}"))?;
            now = black_box(now + 1);
        }
        Ok(())
    }
}

fn rate(mut task: impl FnMut(u16) -> Result<()>) -> Result<f64> {
    let (began, mut count) = (Instant::now(), 0.0);
    while began.elapsed() < SAMPLE_TIME {
        (0..BATCH).try_for_each(&mut task)?;
        count += f64::from(BATCH);
    }
    Ok(count / began.elapsed().as_secs_f64())
}

// === impl Reserver ===

impl Reserver {
    fn new(env: &BenchEnv) -> Result<Self> {
        let table = Table::open(env.directory())?;
        let session = table.open_session(1)?;
        let (service, scope) = ("service".parse()?, Scope::default());
        let bound = table.scan_leases();
        Ok(Self { table, session, service, scope, pid: std::process::id(), bound })
    }

    /// Reserves as the allocator does, with rate limits and quotas.
    fn reserve_and_release(&self, port: u16) -> Result<()> {
        let (table, since) = (&self.table, Timestamp::now());
        let key = ServiceKey::new(&self.scope, &self.service);
        let now = u64::try_from(since.as_nanosecond())?;
        let never_reached = Rate::per_second(u32::MAX.try_into()?);
        table
            .acquire_service_rate(key, now, never_reached)
            .map_err(|wait| anyhow!("too early by {wait:?}"))?;
        let requested = Slot::requested(Depth::Claimed, false);
        let is_alive = |session| table.is_alive(session, Some(self.session));
        let claim = table.claim(port, self.session, requested, is_alive);
        let claim = claim.map_err(|slot| anyhow!("taken: {slot:?}"))?;
        table.allocate_record(&claim)?;
        let quota = Quota { per_service: Some(u32::MAX), per_user: Some(u32::MAX) };
        let ticket = table.take_ticket(&claim);
        ensure!(self.bound.allows_later_claim(key, ticket, quota), "the quota is used up");
        let slot = table.publish(claim, &self.record(since), key);
        table.release(port, slot).then_some(()).context("the reservation was gone")
    }

    fn record(&self, since: Timestamp) -> Record {
        Record {
            service: self.service.clone(),
            scope: self.scope.clone(),
            port_name: None,
            since,
            pid: self.pid,
            uid: 0,
            start_time: 0,
            inode: 0,
        }
    }
}
