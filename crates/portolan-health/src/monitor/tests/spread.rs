//! Many checks for others: spread over the interval at any time, and after a pause of the monitor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;
use crate::RegistrantReach;

const INTERVAL: Duration = Duration::from_secs(10);
const INSTANCES: usize = 1000;
/// The windows of an interval whose checks are counted.
const WINDOWS: usize = 10;
/// Four times as many as expected: never by chance.
const MOST: usize = INSTANCES / WINDOWS * 4;

/// When checks ran.
type Runs = Arc<Mutex<Vec<Instant>>>;

fn watch_many(health: HealthStatus, first: FirstCheck) -> (HealthMonitor, Reports, Runs) {
    let interval = INTERVAL;
    let one = std::num::NonZeroU32::MIN;
    let config = HealthConfig { interval, failures_before_critical: one, ..config() };
    let (sender, reports) = mpsc::channel(INSTANCES * 4);
    let monitor = HealthMonitor::new(config, Metrics::new(), sender);
    let runs = Runs::default();
    for number in 0..INSTANCES {
        let endpoint =
            ServiceEndpoint { id: format!("api-{number}").parse().unwrap(), health, ..endpoint(1) };
        let (runs, was_paused) = (Arc::clone(&runs), AtomicBool::new(false));
        let begun = Instant::now();
        // The first check after a pause fails.
        let check = CheckSpec::from_fn("counted", move || {
            runs.lock().push(Instant::now());
            let is_paused = begun.elapsed() > INTERVAL * 50;
            let is_first = is_paused && !was_paused.swap(is_paused, Relaxed);
            let status = if is_first { HealthStatus::Critical } else { HealthStatus::Passing };
            std::future::ready(HealthReport::new(status, "counted"))
        });
        let reach = RegistrantReach::new(None, Arc::from([]));
        monitor.watch_within(&endpoint, &check, CheckReach::Registrant(reach), first);
    }
    (monitor, reports, runs)
}

/// Returns the number of checks in each window from then on.
fn windows(runs: &Runs, from: Instant) -> [usize; WINDOWS] {
    let mut counts = [0; WINDOWS];
    for run in runs.lock().iter().filter(|run| **run >= from) {
        let window = (*run - from).as_nanos() * WINDOWS as u128 / INTERVAL.as_nanos();
        if let Some(count) = usize::try_from(window).ok().and_then(|it| counts.get_mut(it)) {
            *count += 1;
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn checks_that_began_together_are_spread_over_the_interval() {
    let (monitor, _reports, runs) = watch_many(HealthStatus::Unknown, FirstCheck::WithinInterval);
    let begun = Instant::now();
    sleep(INTERVAL * 4).await;
    let at_once = runs.lock().iter().filter(|run| **run - begun < INTERVAL / 100).count();
    assert!(at_once >= INSTANCES, "unknown instances are checked immediately: {at_once}");
    let counts = windows(&runs, begun + INTERVAL * 2);
    assert!(counts.iter().all(|count| (1..MOST).contains(count)), "{counts:?}");
    monitor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instances_with_known_health_are_first_checked_within_the_interval() {
    let (monitor, _reports, runs) = watch_many(HealthStatus::Passing, FirstCheck::WithinInterval);
    let begun = Instant::now();
    sleep(INTERVAL).await;
    let counts = windows(&runs, begun);
    assert!(counts.iter().all(|count| (1..MOST).contains(count)), "{counts:?}");
    monitor.stop().await;
}

/// The monitor is stopped for three intervals, as by SIGSTOP, with the clock running on.
#[tokio::test(start_paused = true)]
async fn pause_of_the_monitor_makes_nothing_critical_and_its_checks_stay_spread() {
    let (monitor, mut reports, runs) = watch_many(HealthStatus::Passing, FirstCheck::Now);
    sleep(INTERVAL * 49).await;
    tokio::time::advance(INTERVAL * 3).await;
    let resumed = Instant::now();
    sleep(INTERVAL * 4).await;
    let counts = windows(&runs, resumed);
    assert!(counts.iter().all(|count| (1..MOST).contains(count)), "{counts:?}");
    assert!(counts.iter().sum::<usize>() >= INSTANCES * 9 / 10, "{counts:?}");
    if let Ok(event) = reports.try_recv() {
        panic!("the health changed: {event:?}");
    }
    monitor.stop().await;
}
