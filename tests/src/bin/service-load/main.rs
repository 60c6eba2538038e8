//! Constant load on a service by its name: `service-load CALLER NAME [post]`, with the callers `reqwest`, `tower`, `tower-all`,
//! `tower-hedged` and `tonic`.
//!
//! Prints a line for each replica that answers for the first time and for each request that fails, the numbers so far as
//! JSON after SIGUSR1, and all of them after SIGTERM, once the last request has ended.

#![allow(clippy::print_stdout, reason = "the tests read its output")]

mod reqwest_caller;
mod tonic_caller;
mod tower_caller;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use portolan::DiscoveryClient;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tower_caller::TowerCaller;

/// The number of concurrent callers, each with a request at a time.
const CALLERS: usize = 8;
/// The interval between two requests of a caller.
const PACE: Duration = Duration::from_millis(10);

/// Sends a request and returns the replica that answered.
trait Caller: Send + Sync {
    fn call(&self) -> BoxFuture<'_, Result<String>>;
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    answered: BTreeMap<String, u64>,
    failed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, name, options @ ..] = &arguments[..] else {
        bail!("usage: service-load CALLER NAME [post]");
    };
    let discovery = DiscoveryClient::builder().from_env()?.build()?;
    let is_post = options.iter().any(|option| option == "post");
    let caller: Arc<dyn Caller> = match kind.as_str() {
        "reqwest" => Arc::new(reqwest_caller::ReqwestCaller::new(&discovery, name, is_post)?),
        "tower" => Arc::new(TowerCaller::of_two(discovery.instances(name).await?, is_post)),
        "tower-all" => Arc::new(TowerCaller::of_all(discovery.instances(name).await?, is_post)),
        "tower-hedged" => Arc::new(TowerCaller::hedged(discovery.instances(name).await?, is_post)),
        "tonic" => Arc::new(tonic_caller::TonicCaller::new(&discovery, name).await?),
        other => bail!("unknown caller {other}"),
    };
    let (tally, (stop, stopped)) = (Arc::new(Mutex::new(Tally::default())), watch::channel(()));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(repeat(Arc::clone(&caller), Arc::clone(&tally), stopped.clone()));
    }
    let mut terminated = signal(SignalKind::terminate())?;
    let mut asked = signal(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            ended = terminated.recv() => break ended.context("no signals")?,
            _ = asked.recv() => println!("so far {}", tally.lock().to_json()),
        }
    }
    drop(stop);
    println!("stopping");
    while callers.join_next().await.is_some() {}
    drop(caller);
    discovery.close().await;
    println!("{}", tally.lock().to_json());
    Ok(())
}

impl Tally {
    fn to_json(&self) -> Value {
        json!({ "answered": self.answered, "failed": self.failed })
    }
}

/// Sends requests at a constant pace until the end is signalled; the last one is finished.
async fn repeat(caller: Arc<dyn Caller>, tally: Arc<Mutex<Tally>>, stopped: watch::Receiver<()>) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopped.has_changed().is_ok() {
        ticks.tick().await;
        let answer = caller.call().await;
        let mut tally = tally.lock();
        match answer {
            Ok(replica) => {
                let count = tally.answered.entry(replica.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    println!("answered by {replica}.");
                }
            }
            Err(error) => {
                tally.failed += 1;
                println!("failed: {error:#}");
            }
        }
    }
}
