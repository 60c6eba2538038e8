//! The requirements of every strategy of the table.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_core::{Scope, ServiceEndpoint};
use portolan_metrics::Metrics;
use tokio::net::TcpListener;

use crate::deadline::Deadline;
use crate::strategies::STRATEGIES;
use crate::strategy::{Candidate, Strategy, StrategyOutcome, StrategyQuery};
use crate::strategy_name::StrategyName;
use crate::testing::{
    FakeDns, FakeRegistry, FakeReservations, Fault, Reply, endpoint, endpoint_in, on, quiet,
};

/// A strategy and the servers that it asks.
struct Fixture {
    strategy: Arc<dyn Strategy>,
    scopes: Vec<Scope>,
    /// The servers.
    _keep: Box<dyn Any>,
}

impl Fixture {
    /// Starts the servers of the strategy, with these instances.
    async fn with(
        strategy: StrategyName,
        scope: &str,
        mut instances: Vec<ServiceEndpoint>,
    ) -> Self {
        let mut config = crate::testing::config(&[strategy.as_str()]);
        let builder = quiet(&[]).scope(scope.parse().unwrap());
        let (builder, keep): (_, Box<dyn Any>) = match strategy.as_str() {
            "default" => {
                let reservations = FakeReservations::default();
                let mut listeners = Vec::new();
                for instance in &mut instances {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    instance.port = listener.local_addr().unwrap().port();
                    listeners.push(listener);
                    let ServiceEndpoint { scope, name, port, .. } = &instance;
                    reservations.hold(scope.as_str(), name.as_str(), *port);
                    // A name has one default port; the first instance is in the nearest scope.
                    let port = (*port).try_into().unwrap();
                    config.default_ports.entry(name.clone()).or_insert(port);
                }
                (builder.reservations(reservations), Box::new(listeners))
            }
            "registry" => {
                let registry = FakeRegistry::start().await;
                instances.iter().cloned().for_each(|instance| registry.put(instance));
                (builder.registry_url(registry.url()), Box::new(registry))
            }
            "broadcast" => {
                let network = MemoryNetwork::new(1);
                let (holder, asker) = (on(&network, 1), on(&network, 1));
                instances.iter().for_each(|instance| holder.publish(instance.clone()).unwrap());
                (builder.broadcaster(asker), Box::new((network, holder)))
            }
            "dns" => {
                let server = FakeDns::start().await;
                for ServiceEndpoint { name, port, .. } in &instances {
                    server.srv(&format!("_{name}._tcp.test."), (0, 0, *port, "host.test."));
                }
                server.host("host.test.", "127.0.0.1");
                config.dns.domain = Some("test".to_owned());
                config.dns.servers = vec![server.address()];
                (builder, Box::new(server))
            }
            "config" => {
                let entry = |e: &ServiceEndpoint| {
                    let address = serde_json::json!(e.address());
                    (e.name.clone(), serde_json::from_value(address).unwrap())
                };
                config.endpoints = instances.iter().map(entry).collect::<BTreeMap<_, _>>();
                (builder, Box::new(()))
            }
            "kubernetes" => {
                let directory = tempfile::tempdir().unwrap();
                let program = directory.path().join("portolan-kubernetes");
                for instance in &instances {
                    let json = serde_json::to_string(&[instance]).unwrap();
                    let path = directory.path().join(instance.name.as_str());
                    std::fs::write(path, json).unwrap();
                }
                let script = "#!/bin/sh\ncat \"${0%/*}/$4\" 2>/dev/null || { echo \"error: no $4\" >&2; exit 3; }\n";
                std::fs::write(&program, script).unwrap();
                std::fs::set_permissions(
                    &program,
                    std::os::unix::fs::PermissionsExt::from_mode(0o755),
                )
                .unwrap();
                let scopes = vec![scope.parse().unwrap()];
                let strategy = Arc::new(super::kubernetes::Kubernetes { program: Some(program) });
                return Self { strategy, scopes, _keep: Box::new(directory) };
            }
            other => panic!("no fixture for the strategy {other}: add one here"),
        };
        let deps = builder.config(config).deps(&Metrics::new()).unwrap();
        let row = STRATEGIES.iter().find(|row| row.kind.name == strategy.as_str()).unwrap();
        let built = (row.build)(&deps, row.kind.timeout.unwrap_or_default());
        Self { strategy: built, scopes: deps.scopes, _keep: keep }
    }

    async fn ask(&self, name: &str) -> StrategyOutcome {
        let deadline = Deadline::after(Duration::from_millis(400));
        let mut query = StrategyQuery::new(name.parse().unwrap(), deadline);
        query.scopes.clone_from(&self.scopes);
        self.strategy.find(&query).await
    }
}

fn found(outcome: StrategyOutcome) -> Option<Arc<ServiceEndpoint>> {
    match outcome {
        StrategyOutcome::Found(candidates) => {
            candidates.into_iter().next().map(|c: Candidate| c.endpoint)
        }
        StrategyOutcome::NotFound { reason, .. } | StrategyOutcome::Skipped(reason) => {
            assert!(!reason.is_empty());
            None
        }
        StrategyOutcome::NotReady { reason, .. } => panic!("not ready: {reason}"),
        StrategyOutcome::Failed(error) => panic!("could not ask: {error}"),
    }
}

#[tokio::test]
async fn every_strategy_finds_each_service_by_its_name() {
    for strategy in StrategyName::all() {
        let instances = vec![endpoint("alpha", 4001), endpoint("beta", 4002)];
        let fixture = Fixture::with(strategy, "default", instances).await;
        let alpha = found(fixture.ask("alpha").await).unwrap();
        let beta = found(fixture.ask("beta").await).unwrap();
        assert_eq!((alpha.name.as_str(), beta.name.as_str()), ("alpha", "beta"), "{strategy}");
        assert_ne!(alpha.port, beta.port, "{strategy}");
        assert!(alpha.host.is_loopback(), "{strategy}");
    }
}

#[tokio::test]
async fn no_strategy_returns_another_service() {
    for strategy in StrategyName::all() {
        let instances = vec![endpoint("postgres-1", 4001)];
        let fixture = Fixture::with(strategy, "default", instances).await;
        for other in ["postgres-2", "postgres-11", "postgres-1.x", "alpha"] {
            assert_eq!(found(fixture.ask(other).await), None, "{strategy}: {other}");
        }
    }
}

#[tokio::test]
async fn own_scope_precedes_default_and_other_scopes_are_ignored() {
    // DNS and the configuration have no scopes.
    for strategy in ["default", "registry", "broadcast"].map(|name| name.parse().unwrap()) {
        let both = vec![endpoint_in("shop", "alpha", 4001), endpoint("alpha", 4002)];
        let fixture = Fixture::with(strategy, "shop", both).await;
        assert_eq!(found(fixture.ask("alpha").await).unwrap().scope, "shop", "{strategy}");

        let fixture = Fixture::with(strategy, "shop", vec![endpoint("alpha", 4002)]).await;
        let alpha = found(fixture.ask("alpha").await).unwrap();
        assert_eq!(alpha.scope, Scope::DEFAULT, "{strategy}");

        for scope in ["default", "other"] {
            let elsewhere = vec![endpoint_in("shop", "alpha", 4001)];
            let fixture = Fixture::with(strategy, scope, elsewhere).await;
            assert_eq!(found(fixture.ask("alpha").await), None, "{strategy} in {scope}");
        }
    }
}

#[tokio::test]
async fn every_strategy_ends_within_its_timeout_if_the_server_is_silent() {
    let registry = FakeRegistry::start().await;
    registry.inject(Fault::Hang);
    let dns = FakeDns::start().await;
    dns.reply(Reply::Nothing);
    let network = MemoryNetwork::new(1);
    for strategy in StrategyName::all() {
        let mut config = crate::testing::config(&[strategy.as_str()]);
        let limit = Duration::from_millis(100);
        for key in ["registry_lookup", "broadcast_wait", "dns_resolution"] {
            assert!(config.timeouts.set(key, limit));
        }
        config.dns.domain = Some("test".to_owned());
        config.dns.servers = vec![dns.address()];
        let client = quiet(&[])
            .config(config)
            .registry_url(registry.url())
            .broadcaster(on(&network, 1))
            .build()
            .unwrap();
        // The overall timeout is ten seconds; a lookup that reaches it fails with `TimedOut`.
        let error = client.discover("alpha").await.unwrap_err();
        assert!(!matches!(error, crate::DiscoverError::TimedOut { .. }), "{strategy}: {error}");
        assert_eq!(error.attempts().len(), 1);
    }
}
