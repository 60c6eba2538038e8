//! How long it takes from `docker kill` until a watch shows that the container is gone. Printed, and not asserted.
// The test runner shows it with --nocapture.
#![allow(clippy::print_stdout, reason = "a figure to read, not to assert")]

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use portolan_tests::docker::Docker;
use portolan_tests::{Process, TIMEOUT};
use serde_json::Value;

/// When a container was killed, and when the watch has shown that it is gone.
pub(super) struct Removal {
    requested: SystemTime,
    shown: SystemTime,
}

pub(super) fn kill(docker: &Docker<'_>, watch: &Process) -> Result<Removal> {
    let gone = || watch.stdout().matches("\"deregistered\"").count();
    let before = gone();
    // Without the command, which takes longer than the rest.
    let kill = engine(docker)?.post("http://docker/containers/web/kill");
    let requested = SystemTime::now();
    thread::scope(|scope| {
        let answer = scope.spawn(|| kill.send()?.error_for_status());
        while gone() == before {
            ensure!(requested.elapsed()? < TIMEOUT, "not removed: {}", watch.stdout());
            // Not as a poll of `wait_for`, whose interval is longer than what is measured.
            thread::sleep(Duration::from_millis(1));
        }
        let shown = SystemTime::now();
        answer.join().expect("the request does not panic")?;
        Ok(Removal { requested, shown })
    })
}

/// Returns when Docker has reported that it sent SIGKILL.
pub(super) fn kill_events(docker: &Docker<'_>, since: SystemTime) -> Result<Vec<SystemTime>> {
    let seconds =
        |time: SystemTime| Ok::<_, anyhow::Error>(time.duration_since(UNIX_EPOCH)?.as_secs());
    let (since, until) = (seconds(since)?, seconds(SystemTime::now())?);
    let url = format!(
        "http://docker/events?since={since}&until={until}&filters=%7B%22event%22:%5B%22kill%22%5D%7D"
    );
    let text = engine(docker)?.get(url).send()?.error_for_status()?.text()?;
    let time = |line: &str| {
        let event: Value = serde_json::from_str(line)?;
        let nanoseconds = event["timeNano"].as_u64().context("an event without a time")?;
        Ok(UNIX_EPOCH + Duration::from_nanos(nanoseconds))
    };
    text.lines().map(time).collect()
}

fn engine(docker: &Docker<'_>) -> Result<reqwest::blocking::Client> {
    Ok(reqwest::blocking::Client::builder().unix_socket(docker.socket()).build()?)
}

/// Prints how long Docker took to send the signal, and how long the removal took from then.
pub(super) fn print_latencies(removals: &[Removal], events: &[SystemTime]) {
    let between = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    let of = |what: &str, mut times: Vec<Duration>| {
        times.sort_unstable();
        let at = |share: usize| {
            times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or_default()
        };
        println!("{what}, {} times: p50 {:?}, p99 {:?}", times.len(), at(50), at(99));
    };
    let pairs = || removals.iter().zip(events);
    of(
        "request to Docker's event `kill`",
        pairs().map(|(it, event)| between(it.requested, *event)).collect(),
    );
    of(
        "event to removal at a watch",
        pairs().map(|(it, event)| between(*event, it.shown)).collect(),
    );
    of(
        "request to removal at a watch",
        removals.iter().map(|it| between(it.requested, it.shown)).collect(),
    );
}
