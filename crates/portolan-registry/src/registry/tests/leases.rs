//! Leases compared with a model: never ended early, and ended within a second.

use std::collections::BTreeMap;

use futures_util::poll;
use portolan_core::{HealthStatus, Ttl};
use proptest::prelude::*;

use super::super::*;
use super::{brief, registration, start};

/// The largest delay of the end of a lease.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
enum Step {
    /// Registers with a TTL in seconds.
    Register(u16, u64),
    Heartbeat(u16),
    Health(u16, bool),
    Deregister(u16),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let port = || 1..5u16;
    let step = prop_oneof![
        3 => (port(), 1..6u64).prop_map(|(port, ttl)| Step::Register(port, ttl)),
        3 => port().prop_map(Step::Heartbeat),
        1 => (port(), any::<bool>()).prop_map(|(port, well)| Step::Health(port, well)),
        1 => port().prop_map(Step::Deregister),
        4 => (1..2_500u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The end of each lease.
#[derive(Default)]
struct Model {
    leases: BTreeMap<u16, (Ttl, Instant)>,
}

impl Model {
    fn grant(&mut self, port: u16, ttl: Ttl) {
        self.leases.insert(port, (ttl, Instant::now() + ttl.duration()));
    }

    /// Asserts that exactly the instances with a lease are registered.
    fn check(&self, registry: &Registry) {
        let now = Instant::now();
        for port in 1..5 {
            let there = registry.get(&registration("api", port).id()).is_some();
            match self.leases.get(&port) {
                Some((_, end)) if now < *end => assert!(there, "{port} ended early"),
                Some((_, end)) if now < *end + GRACE => {}
                _ => assert!(!there, "{port} is still registered"),
            }
        }
    }

    async fn act(&mut self, step: Step, registry: &Registry) {
        let id = |port| registration("api", port).id();
        match step {
            Step::Register(port, seconds) => {
                let ttl = Ttl::new(Duration::from_secs(seconds)).unwrap();
                let service = Registration { ttl: Some(ttl), ..registration("api", port) };
                registry.register(service, CommandOrigin::local()).await.unwrap();
                self.grant(port, ttl);
            }
            Step::Heartbeat(port) => {
                if registry.heartbeat(&id(port)).await.is_ok() {
                    let (ttl, _) = self.leases[&port];
                    self.grant(port, ttl);
                }
            }
            Step::Health(port, well) => {
                let status = if well { HealthStatus::Passing } else { HealthStatus::Critical };
                drop(registry.update_health(&id(port), HealthReport::new(status, "")).await);
            }
            Step::Deregister(port) => {
                drop(registry.deregister(&id(port)).await);
                self.leases.remove(&port);
            }
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any sequence of commands, and if TTLs grow and shrink.
    #[test]
    fn leases_last_for_their_ttl_and_at_most_a_second_longer(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let running = start(&RegistryConfig::default());
            let mut model = Model::default();
            for step in steps {
                model.act(step, &running.registry).await;
                model.check(&running.registry);
            }
            tokio::time::sleep(Duration::from_secs(5) + GRACE).await;
            assert_eq!(running.registry.list(), []);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeat_that_waits_in_the_queue_renews_the_lease() {
    let (task, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let mut running = std::pin::pin!(task.run(std::future::pending()));
    let (service, id) = (brief("api", 1), brief("api", 1).id());
    let mut registering = std::pin::pin!(registry.register(service, CommandOrigin::local()));
    assert!(poll!(&mut registering).is_pending() && poll!(&mut running).is_pending());
    registering.await.unwrap();
    for _ in 0..32 {
        let mut heartbeat = Box::pin(registry.heartbeat(&id));
        assert!(poll!(&mut heartbeat).is_pending());
        // The task was suspended, and finds both: the heartbeat, and the end of the lease.
        tokio::time::sleep(Ttl::MIN + Duration::from_millis(1)).await;
        assert!(poll!(&mut running).is_pending());
        assert_eq!(heartbeat.await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn leases_end_on_time_under_load() {
    let running = start(&RegistryConfig::default());
    let registry = running.registry.clone();
    let gone = brief("gone", 1);
    registry.register(gone.clone(), CommandOrigin::local()).await.unwrap();
    // Keeps the queue filled.
    let others = registry.clone();
    let busy = tokio::spawn(async move {
        for port in (1..=u16::MAX).cycle() {
            drop(
                others.register(registration("busy", 2 + port % 100), CommandOrigin::local()).await,
            );
        }
    });
    let start = Instant::now();
    while registry.get(&gone.id()).is_some() {
        assert!(start.elapsed() <= Ttl::MIN + GRACE, "it did not end in time");
        // The paused clock does not advance while a task is busy.
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() >= Ttl::MIN);
    busy.abort();
}
