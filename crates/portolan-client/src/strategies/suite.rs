//! What every strategy must do, whichever it is.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_core::{Scope, ServiceEndpoint};
use tokio::net::TcpListener;

use crate::deps::Deps;
use crate::strategy::{Candidate, StrategyName, StrategyOutcome, StrategyQuery};
use crate::testing::{
    FakeDns, FakeRegistry, FakeReservations, Fault, Reply, endpoint, endpoint_in, on, quiet,
};

/// A world in which some instances exist, as one strategy sees it.
struct World {
    strategy: StrategyName,
    deps: Deps,
    /// What keeps the world going.
    _keep: Box<dyn Any>,
}

impl World {
    /// The world of the strategy, with these instances. Ports of 0 become some port.
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
                    // A name has one default port, and the first here is the nearest.
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
            other => panic!("no world for the strategy {other}: add one here"),
        };
        let client = builder.config(config).build().unwrap();
        Self { strategy, deps: client.deps().clone(), _keep: Box::new((keep, client)) }
    }

    async fn ask(&self, name: &str) -> StrategyOutcome {
        let query = StrategyQuery {
            name: name.parse().unwrap(),
            scopes: self.deps.scopes.clone(),
            all: false,
            limit: Duration::from_millis(400),
        };
        let strategy = (self.strategy.kind().build)(&self.deps).unwrap();
        strategy.ask(&query).await
    }
}

fn found(outcome: StrategyOutcome) -> Option<Arc<ServiceEndpoint>> {
    match outcome {
        StrategyOutcome::Found(candidates) => {
            candidates.into_iter().next().map(|c: Candidate| c.endpoint)
        }
        StrategyOutcome::NotFound { reason, .. } | StrategyOutcome::Skip(reason) => {
            assert!(!reason.is_empty());
            None
        }
        StrategyOutcome::Failed(error) => panic!("could not ask: {error}"),
    }
}

#[tokio::test]
async fn every_strategy_finds_what_is_there_by_its_own_name() {
    for strategy in StrategyName::all() {
        let instances = vec![endpoint("alpha", 4001), endpoint("beta", 4002)];
        let world = World::with(strategy, "default", instances).await;
        let alpha = found(world.ask("alpha").await).unwrap();
        let beta = found(world.ask("beta").await).unwrap();
        assert_eq!((alpha.name.as_str(), beta.name.as_str()), ("alpha", "beta"), "{strategy}");
        assert_ne!(alpha.port, beta.port, "{strategy}");
        assert!(alpha.host.is_loopback(), "{strategy}");
    }
}

#[tokio::test]
async fn no_strategy_gives_one_service_for_another() {
    for strategy in StrategyName::all() {
        let instances = vec![endpoint("postgres-1", 4001)];
        let world = World::with(strategy, "default", instances).await;
        for other in ["postgres-2", "postgres-11", "postgres-1.x", "alpha"] {
            assert_eq!(found(world.ask(other).await), None, "{strategy}: {other}");
        }
    }
}

#[tokio::test]
async fn the_own_scope_goes_before_default_and_no_other_scope_counts() {
    // A name server and a configuration know nothing of scopes: they are the asker's own.
    for strategy in ["default", "registry", "broadcast"].map(|name| name.parse().unwrap()) {
        let both = vec![endpoint_in("shop", "alpha", 4001), endpoint("alpha", 4002)];
        let world = World::with(strategy, "shop", both).await;
        assert_eq!(found(world.ask("alpha").await).unwrap().scope, "shop", "{strategy}");

        let world = World::with(strategy, "shop", vec![endpoint("alpha", 4002)]).await;
        let alpha = found(world.ask("alpha").await).unwrap();
        assert_eq!(alpha.scope, Scope::DEFAULT, "{strategy}");

        for scope in ["default", "other"] {
            let elsewhere = vec![endpoint_in("shop", "alpha", 4001)];
            let world = World::with(strategy, scope, elsewhere).await;
            assert_eq!(found(world.ask("alpha").await), None, "{strategy} in {scope}");
        }
    }
}

#[tokio::test]
async fn every_strategy_ends_within_its_limit_though_the_other_side_is_silent() {
    let registry = FakeRegistry::start().await;
    registry.misbehave(Fault::Hang);
    let dns = FakeDns::start().await;
    dns.reply(Reply::Nothing);
    let network = MemoryNetwork::new(1);
    for strategy in StrategyName::all() {
        let mut config = crate::testing::config(&[strategy.as_str()]);
        let limit = Duration::from_millis(100);
        config.timeouts.registry_lookup = limit;
        config.timeouts.broadcast_wait = limit;
        config.timeouts.dns_resolution = limit;
        config.dns.domain = Some("test".to_owned());
        config.dns.servers = vec![dns.address()];
        let client = quiet(&[])
            .config(config)
            .registry_url(registry.url())
            .broadcaster(on(&network, 1))
            .build()
            .unwrap();
        // The overall limit is ten seconds; reaching it would be told as a time-out.
        let error = client.discover("alpha").await.unwrap_err();
        assert!(!matches!(error, crate::DiscoverError::TimedOut { .. }), "{strategy}: {error}");
        assert_eq!(error.attempts().len(), 1);
    }
}
