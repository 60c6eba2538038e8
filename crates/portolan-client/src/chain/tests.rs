use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use portolan_core::Scope;

use super::*;
use crate::RegistryClientError;
use crate::testing::{config, endpoint};

/// Answers what it is told to, in order; the last answer again and again.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Say>>,
    asked: Mutex<Vec<StrategyQuery>>,
}

#[derive(Clone)]
enum Say {
    Found(u16),
    No,
    Skip,
    Unreachable,
    NotPermitted,
    Nothing,
}

impl Strategy for Scripted {
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome> {
        self.asked.lock().push(query.clone());
        let mut answers = self.answers.lock();
        let next = match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        let reason = String::new;
        let failed = |error: RegistryClientError| StrategyOutcome::Failed(error.into());
        let outcome = match next.unwrap_or(Say::No) {
            Say::Found(port) => {
                StrategyOutcome::Found(vec![Candidate::from(endpoint("api", port))])
            }
            Say::No => StrategyOutcome::NotFound { reason: reason(), sure: true },
            Say::Skip => StrategyOutcome::Skip(reason()),
            Say::Unreachable => failed(RegistryClientError::unreachable("http://r", "refused")),
            Say::NotPermitted => failed(RegistryClientError::NotPermitted {
                url: String::new(),
                status: 403,
                detail: String::new(),
            }),
            Say::Nothing => return std::future::pending().boxed(),
        };
        std::future::ready(outcome).boxed()
    }
}

struct Rig {
    chain: Chain,
    scripts: HashMap<StrategyName, Arc<Scripted>>,
    metrics: Metrics,
}

impl Rig {
    fn new(strategies: &[&str], script: &[(&str, &[Say])]) -> Self {
        let scripts: HashMap<StrategyName, Arc<Scripted>> =
            StrategyName::all().map(|name| (name, Arc::default())).collect();
        for (name, answers) in script {
            scripts[&name.parse().unwrap()].answers.lock().extend(answers.iter().cloned());
        }
        let strategies_of_chain = scripts
            .iter()
            .map(|(name, script)| (*name, Arc::clone(script) as Arc<dyn Strategy>))
            .collect();
        let metrics = Metrics::new();
        let chain = Chain {
            config: Arc::new(config(strategies)),
            strategies: strategies_of_chain,
            scopes: vec![Scope::default()],
            metrics: metrics.clone(),
        };
        Self { chain, scripts, metrics }
    }

    async fn run(&self, key: &LookupKey) -> (Option<Resolution>, Vec<String>) {
        let record = AttemptLog::of(self.chain.order(key));
        let found = self.chain.run(key, &record).await;
        let told = |attempt: crate::Attempt| {
            let answer = attempt.answer.to_string();
            format!("{} {}", attempt.strategy, answer.split(':').next().unwrap())
        };
        (found, record.attempts().into_iter().map(told).collect())
    }

    fn times_asked(&self, strategy: &str) -> usize {
        self.scripts[&strategy.parse().unwrap()].asked.lock().len()
    }
}

fn key(all: bool) -> LookupKey {
    let overall = Duration::from_secs(60);
    LookupKey { name: "api".parse().unwrap(), all, retries: 3, overall, strategies: None }
}

#[tokio::test(start_paused = true)]
async fn the_first_in_the_order_that_finds_something_wins() {
    let all = ["default", "registry", "broadcast", "dns", "config"];
    let script: [(&str, &[Say]); 3] =
        [("default", &[Say::Skip]), ("broadcast", &[Say::Found(2)]), ("dns", &[Say::Found(3)])];
    let rig = Rig::new(&all, &script);
    let (found, told) = rig.run(&key(false)).await;
    let found = found.unwrap();
    assert_eq!(found.candidates[0].endpoint.port, 2);
    assert_eq!(found.strategy.as_str(), "broadcast");
    assert!(!found.complete, "one answer of the channel is not all there are");
    let expected = [
        "default skipped",
        "registry not found",
        "broadcast found 127.0.0.1",
        "dns not asked",
        "config not asked",
    ];
    assert_eq!(told, expected);

    let rig = Rig::new(&["dns", "broadcast"], &script);
    let (found, told) = rig.run(&key(false)).await;
    assert_eq!(found.unwrap().strategy.as_str(), "dns");
    assert_eq!(told, ["dns found 127.0.0.1", "broadcast not asked"]);
}

#[tokio::test(start_paused = true)]
async fn the_caller_may_say_whom_to_ask() {
    let rig = Rig::new(&["default", "dns"], &[("dns", &[Say::Found(3)])]);
    let strategies = Some(vec!["config".parse().unwrap(), "default".parse().unwrap()]);
    let (found, told) = rig.run(&LookupKey { strategies, ..key(false) }).await;
    assert!(found.is_none());
    assert_eq!(told, ["config not found", "default not found"]);
}

#[tokio::test(start_paused = true)]
async fn for_all_instances_those_who_know_one_only_are_asked_last() {
    let script: [(&str, &[Say]); 2] =
        [("default", &[Say::Found(1)]), ("broadcast", &[Say::Found(2)])];
    let rig = Rig::new(&["default", "registry", "broadcast"], &script);
    let (found, told) = rig.run(&key(true)).await;
    let found = found.unwrap();
    assert_eq!((found.strategy.as_str(), found.complete), ("broadcast", true));
    assert_eq!(told[2], "default not asked");
    let asked = rig.scripts[&"broadcast".parse().unwrap()].asked.lock();
    assert!(asked[0].all && asked[0].limit == Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_cannot_be_reached_is_asked_again_three_times() {
    let script: [(&str, &[Say]); 1] = [("registry", &[Say::Unreachable])];
    let rig = Rig::new(&["registry", "dns"], &script);
    let (found, told) = rig.run(&key(false)).await;
    assert!(found.is_none());
    assert_eq!(rig.times_asked("registry"), 4);
    assert_eq!(told, ["registry could not ask", "dns not found"]);

    let script: [(&str, &[Say]); 1] =
        [("registry", &[Say::Unreachable, Say::Unreachable, Say::Found(1)])];
    let rig = Rig::new(&["registry"], &script);
    assert!(rig.run(&key(false)).await.0.is_some());

    let rig = Rig::new(&["registry"], &[("registry", &[Say::Unreachable])]);
    rig.run(&LookupKey { retries: 0, ..key(false) }).await;
    assert_eq!(rig.times_asked("registry"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_mend_is_not_asked_again() {
    let rig = Rig::new(&["registry"], &[("registry", &[Say::NotPermitted])]);
    rig.run(&key(false)).await;
    assert_eq!(rig.times_asked("registry"), 1);
    let rig = Rig::new(&["dns"], &[("dns", &[Say::Unreachable])]);
    rig.run(&key(false)).await;
    assert_eq!(rig.times_asked("dns"), 1, "the table of errors says: DNS, no retry");
}

#[tokio::test(start_paused = true)]
async fn each_strategy_ends_at_its_own_limit() {
    let all = ["default", "registry", "broadcast", "dns"];
    let script = all.map(|name| (name, &[Say::Nothing][..]));
    let rig = Rig::new(&all, &script);
    let key = key(false);
    let record = AttemptLog::of(rig.chain.order(&key));
    assert!(rig.chain.run(&key, &record).await.is_none());
    let took: Vec<_> = record.attempts().iter().map(|attempt| attempt.took).collect();
    assert_eq!(took, [100, 1_000, 5_000, 2_000].map(Duration::from_millis));
    let told = record.attempts()[1].to_string();
    assert_eq!(told, "registry        1s  could not ask: no answer within 1s");
}

#[tokio::test(start_paused = true)]
async fn every_strategy_that_was_asked_is_counted() {
    let script: [(&str, &[Say]); 3] =
        [("default", &[Say::Skip]), ("registry", &[Say::No]), ("broadcast", &[Say::Found(1)])];
    let rig = Rig::new(&["default", "registry", "broadcast"], &script);
    rig.run(&key(false)).await;
    let text = rig.metrics.encode();
    for line in [
        r#"discovery_requests_total{strategy="registry",result="failure"} 1"#,
        r#"discovery_requests_total{strategy="broadcast",result="success"} 1"#,
        r#"discovery_requests_total{strategy="default",result="failure"} 0"#,
        r#"discovery_request_duration_seconds_count{strategy="registry"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_tells_what_is_under_way() {
    let rig = Rig::new(&["default", "registry", "dns"], &[("registry", &[Say::Nothing])]);
    let key = key(false);
    let record = AttemptLog::of(rig.chain.order(&key));
    let half = Duration::from_millis(500);
    assert!(timeout(half, rig.chain.run(&key, &record)).await.is_err());
    let told: Vec<_> = record.attempts().iter().map(|a| a.answer.to_string()).collect();
    assert!(told[0].starts_with("not found"), "{told:?}");
    assert!(told[1].starts_with("interrupted"), "{told:?}");
    assert_eq!(told[2], "not asked");
    assert_eq!(record.attempts()[1].took, half);
}

#[tokio::test(start_paused = true)]
async fn what_the_whole_may_take_bounds_each_strategy() {
    let all = ["broadcast", "registry", "dns"];
    let rig = Rig::new(&all, &[("broadcast", &[Say::Nothing]), ("registry", &[Say::No])]);
    let (found, told) = rig.run(&LookupKey { overall: Duration::from_secs(1), ..key(false) }).await;
    assert!(found.is_none());
    assert_eq!(told, ["broadcast could not ask", "registry not asked", "dns not asked"]);
    let limit = rig.scripts[&"broadcast".parse().unwrap()].asked.lock()[0].limit;
    assert_eq!(limit, Duration::from_millis(950), "the limit of the channel itself is 5 s");
}
