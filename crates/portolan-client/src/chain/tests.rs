mod race;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use portolan_core::{HealthStatus, ServiceEndpoint};
use tokio::time::Instant;

use super::*;
use crate::registry_client::RegistryClientError;
use crate::strategies::STRATEGIES;
use crate::strategy::{Strategy, StrategyFuture, StrategyKind, StrategyQuery};
use crate::testing::{config, endpoint};

/// Returns the scripted answers in order, and the last one repeatedly.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Say>>,
    asked: Mutex<Vec<StrategyQuery>>,
}

#[derive(Debug, Clone, Copy)]
enum Say {
    Found(u16),
    /// An instance with this proof and health.
    Proven(u16, Proof, HealthStatus),
    No,
    Skip,
    Unreachable,
    NotPermitted,
    Nothing,
    Empty,
    /// The same after so many milliseconds.
    Late(u64, &'static Say),
}

impl Strategy for Scripted {
    fn kind(&self) -> StrategyKind {
        StrategyKind::new("scripted")
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        self.asked.lock().push(query.clone());
        let mut answers = self.answers.lock();
        let next = match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        let next = next.unwrap_or(Say::No);
        if let Say::Late(millis, say) = next {
            let wait = tokio::time::sleep(Duration::from_millis(millis));
            return wait.map(|()| say.outcome().unwrap()).boxed();
        }
        next.outcome().map_or_else(
            || std::future::pending().boxed(),
            |outcome| std::future::ready(outcome).boxed(),
        )
    }
}

impl Say {
    fn outcome(&self) -> Option<StrategyOutcome> {
        let reason = String::new;
        let failed = |error: RegistryClientError| StrategyOutcome::Failed(error.into());
        Some(match *self {
            Say::Found(port) => {
                StrategyOutcome::Found(vec![Candidate::from(endpoint("api", port))])
            }
            Say::Proven(port, proof, health) => {
                let endpoint = ServiceEndpoint { health, ..endpoint("api", port) };
                StrategyOutcome::Found(vec![Candidate { proof, ..endpoint.into() }])
            }
            Say::No => StrategyOutcome::NotFound { reason: reason(), authoritative: true },
            Say::Skip => StrategyOutcome::Skipped(reason()),
            Say::Unreachable => failed(RegistryClientError::unreachable("http://r", "refused")),
            Say::NotPermitted => failed(RegistryClientError::NotPermitted {
                url: String::new(),
                status: 403,
                detail: String::new(),
                remedy: String::new(),
            }),
            Say::Nothing | Say::Late(..) => return None,
            Say::Empty => StrategyOutcome::Found(Vec::new()),
        })
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
        let config = config(strategies);
        let kind = |name: &str| STRATEGIES.iter().find(|row| row.kind.name == name).unwrap().kind;
        let link = |name: &StrategyName| {
            let (kind, strategy) = (kind(name.as_str()), Arc::clone(&scripts[name]));
            Link {
                strategy,
                kind,
                timeout: config.timeouts.limit(&kind),
                is_default: true,
                trust: Trust::Local,
                is_off: false,
                leases_only: false,
            }
        };
        let mut links: Vec<Link> = config.strategies.iter().map(link).collect();
        let others = scripts.keys().filter(|name| !config.strategies.contains(name));
        links.extend(others.map(|name| Link { is_default: false, ..link(name) }));
        let metrics = Metrics::new();
        let chain = Chain::new(links, vec![Scope::default()], metrics.clone());
        Self { chain, scripts, metrics }
    }

    async fn run(&self, key: &LookupKey) -> (Option<Resolution>, Vec<String>) {
        let log = AttemptLog::new(self.chain.order(key));
        let found = self.chain.run(key, &log).await;
        let outcomes = |attempt: crate::Attempt| {
            let outcome = attempt.outcome.to_string();
            format!("{} {}", attempt.strategy, outcome.split(':').next().unwrap())
        };
        (found, log.attempts().into_iter().map(outcomes).collect())
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
async fn first_strategy_that_finds_an_instance_wins() {
    let all = ["default", "registry", "broadcast", "dns", "config"];
    let script: [(&str, &[Say]); 3] =
        [("default", &[Say::Skip]), ("broadcast", &[Say::Found(2)]), ("dns", &[Say::Found(3)])];
    let rig = Rig::new(&all, &script);
    let (found, outcomes) = rig.run(&key(false)).await;
    let found = found.unwrap();
    assert_eq!(found.candidates[0].endpoint.port, 2);
    assert_eq!(found.sources[0].1.as_str(), "broadcast");
    assert!(!found.complete, "one answer of the channel is not all there are");
    let expected = [
        "default skipped",
        "registry not found",
        "broadcast found 127.0.0.1",
        "dns not asked",
        "config not asked",
    ];
    assert_eq!(outcomes, expected);

    let rig = Rig::new(&["dns", "broadcast"], &script);
    let (found, outcomes) = rig.run(&key(false)).await;
    assert_eq!(found.unwrap().sources[0].1.as_str(), "dns");
    assert_eq!(outcomes, ["dns found 127.0.0.1", "broadcast not asked"]);
}

#[tokio::test(start_paused = true)]
async fn caller_can_name_the_strategies() {
    let rig = Rig::new(&["default", "dns"], &[("dns", &[Say::Found(3)])]);
    let strategies = Some(vec!["config".parse().unwrap(), "default".parse().unwrap()]);
    let (found, outcomes) = rig.run(&LookupKey { strategies, ..key(false) }).await;
    assert!(found.is_none());
    assert_eq!(outcomes, ["config not found", "default not found"]);
}

#[tokio::test(start_paused = true)]
async fn all_instances_include_those_of_strategies_that_know_only_one() {
    let leased = Say::Proven(1, Proof::Leased, HealthStatus::Unknown);
    let script: [(&str, &[Say]); 2] = [("default", &[leased]), ("broadcast", &[Say::Found(2)])];
    let rig = Rig::new(&["default", "registry", "broadcast", "dns"], &script);
    let (found, outcomes) = rig.run(&key(true)).await;
    let found = found.unwrap();
    let ports: Vec<u16> = found.candidates.iter().map(|c| c.endpoint.port).collect();
    assert_eq!((ports, found.complete), (vec![1, 2], true));
    assert_eq!(outcomes[3], "dns not asked");
    let asked = rig.scripts[&"broadcast".parse().unwrap()].asked.lock();
    assert!(asked[0].all, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn unreachable_registry_is_retried_three_times() {
    let script: [(&str, &[Say]); 1] = [("registry", &[Say::Unreachable])];
    let rig = Rig::new(&["registry", "dns"], &script);
    let (found, outcomes) = rig.run(&key(false)).await;
    assert!(found.is_none());
    assert_eq!(rig.times_asked("registry"), 4);
    assert_eq!(outcomes, ["registry could not ask", "dns not found"]);

    let script: [(&str, &[Say]); 1] =
        [("registry", &[Say::Unreachable, Say::Unreachable, Say::Found(1)])];
    let rig = Rig::new(&["registry"], &script);
    assert!(rig.run(&key(false)).await.0.is_some());

    let rig = Rig::new(&["registry"], &[("registry", &[Say::Unreachable])]);
    rig.run(&LookupKey { retries: 0, ..key(false) }).await;
    assert_eq!(rig.times_asked("registry"), 1);
}

#[tokio::test(start_paused = true)]
async fn permanent_error_is_not_retried() {
    let rig = Rig::new(&["registry"], &[("registry", &[Say::NotPermitted])]);
    rig.run(&key(false)).await;
    assert_eq!(rig.times_asked("registry"), 1);
    let rig = Rig::new(&["dns"], &[("dns", &[Say::Unreachable])]);
    rig.run(&key(false)).await;
    assert_eq!(rig.times_asked("dns"), 1, "the table of errors says: DNS, no retry");
}

#[tokio::test(start_paused = true)]
async fn each_strategy_ends_at_its_own_timeout() {
    let all = ["default", "registry", "broadcast", "dns"];
    let script = all.map(|name| (name, &[Say::Nothing][..]));
    let rig = Rig::new(&all, &script);
    let key = key(false);
    let log = AttemptLog::new(rig.chain.order(&key));
    assert!(rig.chain.run(&key, &log).await.is_none());
    let took: Vec<_> = log.attempts().iter().map(|attempt| attempt.took).collect();
    assert_eq!(took, [100, 1_000, 5_000, 2_000].map(Duration::from_millis));
    let outcomes = log.attempts()[1].to_string();
    assert_eq!(outcomes, "registry        1s  could not ask: no answer within 1s");
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
async fn attempt_log_shows_the_strategy_in_progress() {
    let rig = Rig::new(&["default", "registry", "dns"], &[("registry", &[Say::Nothing])]);
    let key = key(false);
    let log = AttemptLog::new(rig.chain.order(&key));
    let half = Duration::from_millis(500);
    assert!(tokio::time::timeout(half, rig.chain.run(&key, &log)).await.is_err());
    let outcomes: Vec<_> = log.attempts().iter().map(|a| a.outcome.to_string()).collect();
    assert!(outcomes[0].starts_with("not found"), "{outcomes:?}");
    assert!(outcomes[1].starts_with("interrupted"), "{outcomes:?}");
    assert_eq!(outcomes[2], "not asked");
    assert_eq!(log.attempts()[1].took, half);
}

#[tokio::test(start_paused = true)]
async fn overall_timeout_bounds_each_strategy() {
    let all = ["broadcast", "registry", "dns"];
    let rig = Rig::new(&all, &[("broadcast", &[Say::Nothing]), ("registry", &[Say::No])]);
    let (found, outcomes) =
        rig.run(&LookupKey { overall: Duration::from_secs(1), ..key(false) }).await;
    assert!(found.is_none());
    assert_eq!(outcomes, ["broadcast could not ask", "registry not asked", "dns not asked"]);
    let limit = rig.scripts[&"broadcast".parse().unwrap()].asked.lock()[0].deadline.limit();
    // 1 s less 1/20 for the chain, and less 1/20 for the strategy.
    assert_eq!(limit, Duration::from_micros(902_500), "the timeout of the strategy is 5 s");
}

#[tokio::test(start_paused = true)]
async fn empty_result_of_a_strategy_is_not_a_result() {
    let script: [(&str, &[Say]); 2] = [("dns", &[Say::Empty]), ("config", &[Say::Found(1)])];
    let rig = Rig::new(&["dns", "config"], &script);
    let (found, outcomes) = rig.run(&key(false)).await;
    assert_eq!(found.unwrap().sources[0].1.as_str(), "config");
    assert_eq!(outcomes[0], "dns not found");
}

#[tokio::test(start_paused = true)]
async fn well_known_port_counts_only_if_every_other_strategy_has_no_instance() {
    let unproven = [Say::Proven(8080, Proof::WellKnownPort, HealthStatus::Unknown)];
    let order = ["default", "registry", "broadcast"];
    let port = |found: Option<Resolution>| found.map(|found| found.candidates[0].endpoint.port);

    let rig = Rig::new(&order, &[("default", &unproven), ("registry", &[Say::Found(1)])]);
    assert_eq!(port(rig.run(&key(false)).await.0), Some(1));
    assert_eq!(port(rig.run(&key(true)).await.0), Some(1));

    let rig = Rig::new(&order, &[("default", &unproven), ("broadcast", &[Say::Found(2)])]);
    assert_eq!(port(rig.run(&key(false)).await.0), Some(2));

    let rig = Rig::new(&order, &[("default", &unproven)]);
    assert_eq!(port(rig.run(&key(false)).await.0), Some(8080));

    let rig = Rig::new(&order, &[("default", &unproven), ("registry", &[Say::NotPermitted])]);
    let (found, outcomes) = rig.run(&key(false)).await;
    assert!(found.is_none(), "the registry may know a better one");
    assert_eq!(outcomes[1], "registry could not ask");

    let critical = [Say::Proven(8081, Proof::Registered, HealthStatus::Critical)];
    let rig = Rig::new(&order, &[("default", &unproven), ("registry", &critical)]);
    assert_eq!(port(rig.run(&key(false)).await.0), Some(8081));
}

#[tokio::test(start_paused = true)]
async fn health_of_a_leased_instance_comes_from_the_strategy_that_knows_it() {
    let leased = [Say::Proven(8080, Proof::Leased, HealthStatus::Unknown)];
    let critical = [Say::Proven(8080, Proof::Registered, HealthStatus::Critical)];
    let order = ["default", "registry", "broadcast"];
    let announced = [Say::Proven(8081, Proof::Announced, HealthStatus::Passing)];
    let script: [(&str, &[Say]); 3] =
        [("default", &leased), ("registry", &critical), ("broadcast", &announced)];
    let rig = Rig::new(&order, &script);
    let found = rig.run(&key(false)).await.0.unwrap();
    let suspects = crate::select::Suspects::new();
    let selected = crate::select::one(&found.candidates, &suspects, &Default::default()).unwrap();
    assert_eq!(selected.endpoint.port, 8081, "the leased instance is critical");
    assert_eq!(found.strategy_of(selected).as_str(), "broadcast");

    let rig = Rig::new(&order, &[("default", &leased), ("registry", &[Say::Found(8081)])]);
    let found = rig.run(&key(false)).await.0.unwrap();
    let selected = crate::select::one(&found.candidates, &suspects, &Default::default()).unwrap();
    assert_eq!((selected.endpoint.port, selected.proof), (8080, Proof::Leased));
}

#[tokio::test(start_paused = true)]
async fn known_instance_without_known_health_does_not_wait_for_slow_strategies() {
    let leased = [Say::Proven(8080, Proof::Leased, HealthStatus::Unknown)];
    let order = ["default", "registry", "broadcast", "dns"];
    let script: [(&str, &[Say]); 4] = [
        ("default", &leased),
        ("registry", &[Say::Nothing]),
        ("broadcast", &[Say::Nothing]),
        ("dns", &[Say::Nothing]),
    ];
    let rig = Rig::new(&order, &script);
    let began = Instant::now();
    assert!(rig.run(&key(false)).await.0.is_some());
    assert_eq!(began.elapsed(), Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn authoritative_negative_answer_limits_each_remaining_strategy_to_one_second() {
    let order = ["registry", "broadcast", "dns"];
    let script: [(&str, &[Say]); 3] =
        [("registry", &[Say::No]), ("broadcast", &[Say::Nothing]), ("dns", &[Say::Nothing])];
    let rig = Rig::new(&order, &script);
    let began = Instant::now();
    assert!(rig.run(&key(false)).await.0.is_none());
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

/// A rig of a client with a token, whose strategies are not named.
fn with_token(script: &[(&str, &[Say])]) -> Rig {
    let mut rig = Rig::new(&["default", "registry", "broadcast", "dns"], script);
    for link in &mut rig.chain.links {
        link.trust = match link.kind.name {
            "registry" => Trust::Authenticated,
            "broadcast" | "dns" => Trust::Unsigned,
            _ => Trust::Local,
        };
        link.is_off = link.trust == Trust::Unsigned;
        link.leases_only = true;
    }
    rig
}

#[tokio::test(start_paused = true)]
async fn authenticated_not_found_ends_the_lookup() {
    let rig = with_token(&[("broadcast", &[Say::Found(2)]), ("dns", &[Say::Found(3)])]);
    for all in [false, true] {
        let (found, outcomes) = rig.run(&key(all)).await;
        assert!(found.is_none());
        assert_eq!(outcomes[2..], ["broadcast skipped", "dns skipped"]);
    }
    // Also if the caller names the strategies after it.
    let strategies = Some(vec!["registry".parse().unwrap(), "dns".parse().unwrap()]);
    let (found, _) = rig.run(&LookupKey { strategies, ..key(false) }).await;
    assert!(found.is_none());
    assert_eq!((rig.times_asked("broadcast"), rig.times_asked("dns")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn unsigned_strategies_do_not_replace_an_authenticated_registry() {
    let script: [(&str, &[Say]); 2] =
        [("registry", &[Say::Unreachable]), ("broadcast", &[Say::Found(2)])];
    let rig = with_token(&script);
    let (found, outcomes) = rig.run(&key(false)).await;
    assert!(found.is_none(), "{outcomes:?}");
    let strategies = Some(vec!["registry".parse().unwrap(), "broadcast".parse().unwrap()]);
    let (found, _) = rig.run(&LookupKey { strategies, ..key(false) }).await;
    assert_eq!(found.unwrap().candidates[0].trust, Trust::Unsigned);
}

#[tokio::test(start_paused = true)]
async fn lease_counts_with_a_token_and_a_port_by_convention_does_not() {
    let on_port = |proof| Say::Proven(1, proof, HealthStatus::Passing);
    let script: [(&str, &[Say]); 2] =
        [("default", &[on_port(Proof::WellKnownPort)]), ("registry", &[Say::Unreachable])];
    let (found, outcomes) = with_token(&script).run(&key(false)).await;
    assert!(found.is_none());
    assert_eq!(outcomes[0], "default skipped");
    let script: [(&str, &[Say]); 1] = [("default", &[on_port(Proof::Leased)])];
    let (found, _) = with_token(&script).run(&key(false)).await;
    assert_eq!(found.unwrap().candidates[0].trust, Trust::Local);
}
