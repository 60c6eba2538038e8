use std::net::Ipv4Addr;

use super::*;
use crate::error::DiscoverError;
use crate::strategy::{StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery};
use crate::testing::{config, quiet};

/// Finds every service on its port, or no service without one.
struct Fixed(&'static str, Option<u16>);

impl Strategy for Fixed {
    fn kind(&self) -> StrategyKind {
        StrategyKind::new(self.0)
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(async move {
            match self.1 {
                Some(port) => query.found_at(Ipv4Addr::LOCALHOST.into(), port),
                None => StrategyOutcome::Skipped("it has no port".to_owned()),
            }
        })
    }
}

async fn order(builder: DiscoveryClientBuilder) -> Vec<&'static str> {
    let explanation = builder.build().unwrap().discover("worker").explain().await;
    explanation.attempts.iter().map(|attempt| attempt.strategy.as_str()).collect()
}

#[tokio::test]
async fn added_strategies_are_asked_at_their_positions() {
    let after = Position::After("default".to_owned());
    let before = Position::Before("hosts".to_owned());
    let builder = quiet(&["default", "config"])
        .strategy(after, Fixed("hosts", None))
        .strategy(before, Fixed("zone", None))
        .strategy(Position::Last, Fixed("last", None))
        .strategy(Position::First, Fixed("first", None));
    assert_eq!(order(builder).await, ["first", "config", "default", "zone", "hosts", "last"]);
}

#[tokio::test]
async fn added_strategy_is_cached_counted_and_can_be_named() {
    let metrics = Metrics::new();
    let client = quiet(&["config"])
        .metrics(metrics.clone())
        .strategy(Position::Last, Fixed("hosts", Some(8080)))
        .build()
        .unwrap();
    let found = client.discover("worker").await.unwrap();
    assert_eq!((found.strategy.as_str(), found.port), ("hosts", 8080));
    client.discover("worker").await.unwrap();
    let named = client.discover("worker").strategies(["hosts"]).await.unwrap();
    assert_eq!(named.port, 8080);
    let text = metrics.encode();
    let counted = r#"discovery_requests_total{strategy="hosts",result="success"} 2"#;
    assert!(text.contains(counted), "{text}");

    let error = client.discover("worker").strategies(["host"]).await.unwrap_err();
    assert!(matches!(error, DiscoverError::UnknownStrategy(_)), "{error:?}");
    assert!(error.to_string().contains("config, hosts, default"), "{error}");
}

#[test]
fn duplicate_names_and_unknown_positions_are_refused() {
    for name in ["config", "dns"] {
        let builder = quiet(&["config"]).strategy(Position::First, Fixed(name, None));
        let error = builder.build().unwrap_err();
        assert!(matches!(error, InvalidDiscovery::RepeatedStrategy(_)), "{error:?}");
    }
    let position = Position::After("dns".to_owned());
    let builder = quiet(&["config"]).strategy(position, Fixed("hosts", None));
    let error = builder.build().unwrap_err();
    assert!(matches!(error, InvalidDiscovery::UnknownPosition { .. }), "{error:?}");
}

#[test]
fn explicit_registry_precedes_the_default() {
    let builder = || quiet(&["registry"]);
    assert_eq!(builder().locate_registry(), "http://localhost:7000");
    let configured = || {
        let registry_url = "http://configured:7000".to_owned();
        builder().config(DiscoveryConfig { registry_url, ..config(&["registry"]) })
    };
    assert_eq!(configured().locate_registry(), "http://configured:7000");
    let named = configured().registry_url("http://named:7000");
    assert_eq!(named.locate_registry(), "http://named:7000");
    assert_eq!(named.registry_client().unwrap().url(), "http://named:7000");
}
