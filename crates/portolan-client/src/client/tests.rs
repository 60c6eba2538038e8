use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_broadcast::{BroadcastConfig, Broadcaster};
use portolan_core::{Action, HealthStatus, Remedy};
use portolan_metrics::Metrics;
use tokio::time::Instant;

use super::*;
use crate::attempt::AttemptOutcome;
use crate::config::DiscoveryConfig;
use crate::testing::{
    FakeRegistry, FakeReservations, Fault, config, endpoint, endpoint_in, on, quiet, until, vacant,
};

mod declared;
mod explain;
mod restart;
mod waiting;

fn client_of(registry: &FakeRegistry) -> DiscoveryClient {
    quiet(&["registry"]).registry_url(registry.url()).build().unwrap()
}

fn lookups(registry: &FakeRegistry) -> usize {
    registry.requests().iter().filter(|line| line.contains("/services?")).count()
}

#[tokio::test]
async fn result_is_cached() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 8080));
    let metrics = Metrics::new();
    let client =
        quiet(&["registry"]).registry_url(registry.url()).metrics(metrics.clone()).build().unwrap();
    let found = client.discover("api").timeout(Duration::from_secs(5)).retries(3).await.unwrap();
    assert_eq!(found.address(), "127.0.0.1:8080");
    assert_eq!((found.strategy.as_str(), found.stale), ("registry", false));
    assert_eq!(ServiceEndpoint::from(client.discover("api").await.unwrap()).port, 8080);
    assert_eq!(client.discover_all("api").await.unwrap().len(), 1);
    assert_eq!(lookups(&registry), 1);
    let text = metrics.encode();
    assert!(text.contains(r#"discovery_cache_hits_total{service_name="api"} 2"#), "{text}");
    assert!(text.contains(r#"discovery_cache_misses_total{service_name="api"} 1"#), "{text}");
    client.close().await;
}

#[tokio::test]
async fn cached_lookup_is_ready_at_once_and_shares_the_endpoint_until_it_is_suspect_or_the_client_closed()
 {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 8080));
    let client = client_of(&registry);
    let at_once = |client: &DiscoveryClient| client.discover("api").into_future().now_or_never();
    assert!(at_once(&client).is_none(), "not cached yet");
    client.discover("api").await.unwrap();
    let [first, second] = [(), ()].map(|()| at_once(&client).unwrap().unwrap());
    assert!(Arc::ptr_eq(&first.endpoint, &second.endpoint));
    let elsewhere = client.discover("api").strategies(["config"]).into_future().now_or_never();
    assert!(elsewhere.is_none_or(|found| found.is_err()), "other strategies are asked");
    client.report_failure(&first);
    let after = client.discover("api").await.unwrap();
    assert!(
        !Arc::ptr_eq(&first.endpoint, &after.endpoint),
        "all instances are suspect, so it asks again"
    );
    client.close().await;
    assert!(at_once(&client).is_none_or(|found| found.is_err()));
}

#[tokio::test]
async fn concurrent_lookups_share_one_request() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 8080));
    let client = client_of(&registry);
    let all = join_all((0..1000).map(|_| client.discover("api").into_future())).await;
    assert!(all.into_iter().all(|found| found.unwrap().port == 8080));
    assert_eq!(lookups(&registry), 1);
}

#[tokio::test]
async fn negative_result_is_not_cached() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    let error = client.discover("api").await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    registry.put(endpoint("api", 8080));
    assert_eq!(client.discover("api").await.unwrap().port, 8080);
}

#[tokio::test]
async fn passing_instance_is_first_and_critical_instance_last() {
    let registry = FakeRegistry::start().await;
    let with = |port, health| ServiceEndpoint { health, ..endpoint("api", port) };
    registry.put(with(1, HealthStatus::Critical));
    registry.put(with(2, HealthStatus::Passing));
    registry.put(with(3, HealthStatus::Warning));
    let client = client_of(&registry);
    for _ in 0..20 {
        assert_eq!(client.discover("api").await.unwrap().port, 2);
    }
    let all = client.discover_all("api").await.unwrap();
    assert_eq!(all.iter().map(|e| e.port).collect::<Vec<_>>(), [2, 3, 1]);
}

#[tokio::test]
async fn registry_changes_update_the_cache_at_once() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let client = client_of(&registry);
    assert_eq!(client.discover("api").await.unwrap().port, 1);
    until("the watch to open", || registry.watches() == 1).await;
    registry.put(endpoint("api", 2));
    registry.expire(&endpoint("api", 1));
    let known = || client.inner.resolver.cache().get(&"api".parse().unwrap(), true);
    until("the news", || known().unwrap().resolution.candidates[0].endpoint.port == 2).await;
    assert_eq!(client.discover("api").await.unwrap().port, 2);
    assert_eq!(lookups(&registry), 1);

    registry.expire(&endpoint("api", 2));
    until("the end of the last", || known().is_none()).await;
    assert!(client.discover("api").await.is_err());
    client.close().await;
    until("the watch to end", || registry.watches() == 0).await;
}

#[tokio::test]
async fn one_watch_covers_all_cached_names() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    for name in ["a", "b", "c"] {
        registry.put(endpoint(name, 1));
        assert_eq!(client.discover(name).await.unwrap().name, name);
    }
    let watched = |names: &str| registry.requests().iter().any(|line| line.contains(names));
    until("a watch of all", || watched("watch?name=") && watched("b")).await;
    until("one watch", || registry.watches() == 1).await;
}

#[tokio::test]
async fn announcements_update_the_cache_at_once() {
    let network = MemoryNetwork::new(1);
    let holder = on(&network, 1);
    holder.publish(endpoint("api", 1)).unwrap();
    let client = quiet(&["broadcast"]).broadcaster(on(&network, 1)).build().unwrap();
    assert_eq!(client.discover("api").await.unwrap().port, 1);
    let known = || client.inner.resolver.cache().get(&"api".parse().unwrap(), false);
    holder.unpublish(&endpoint("api", 1).id);
    // The feed opens in the background and may miss the first announcements.
    let deadline = Instant::now() + Duration::from_secs(10);
    while known().is_some() && Instant::now() < deadline {
        for action in [Action::Register, Action::Deregister] {
            holder.announce(action, &endpoint("api", 1)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(known().is_none(), "the news did not come");
}

#[tokio::test]
async fn stale_endpoint_is_served_if_no_strategy_can_be_asked_and_refreshed() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let mut config = config(&["registry"]);
    config.cache.ttl = Duration::from_millis(1);
    let metrics = Metrics::new();
    let builder = quiet(&[]).config(config).metrics(metrics.clone());
    let client = builder.registry_url(registry.url()).build().unwrap();
    assert!(!client.discover("api").await.unwrap().stale);
    tokio::time::sleep(Duration::from_millis(5)).await;

    registry.inject(Fault::Status(503));
    let found = client.discover("api").await.unwrap();
    assert!(found.stale && found.port == 1);
    assert!(client.discover("api").await.unwrap().stale);
    let text = metrics.encode();
    assert!(text.contains(r#"discovery_cache_stale_served_total{service_name="api"} 2"#), "{text}");

    // The background refresh runs without another lookup.
    registry.put(endpoint("api", 1));
    registry.inject(None);
    let before = lookups(&registry);
    until("the refresh", || lookups(&registry) > before).await;
    client.close().await;
}

#[tokio::test]
async fn reported_failure_selects_another_instance_at_once() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    registry.put(endpoint("api", 2));
    let client = client_of(&registry);
    let first = client.discover("api").await.unwrap();
    client.report_failure(&first);
    for _ in 0..20 {
        assert_ne!(client.discover("api").await.unwrap().port, first.port);
    }
    assert_eq!(lookups(&registry), 1);
    // When all have failed it is time to ask again.
    let second = client.discover("api").await.unwrap();
    client.report_failure(&second);
    client.discover("api").await.unwrap();
    assert_eq!(lookups(&registry), 2);
}

#[tokio::test]
async fn reported_failure_is_told_to_the_registry_once() {
    let registry = FakeRegistry::start().await;
    let api = endpoint("api", 1);
    registry.put(api.clone());
    let client = client_of(&registry);
    let found = client.discover("api").await.unwrap();
    let checks = || {
        let line = format!("POST /api/v1/services/{}/check", api.id);
        registry.requests().iter().filter(|request| request.contains(&line)).count()
    };
    for _ in 0..1000 {
        client.report_failure(&found);
    }
    until("the report", || checks() > 0).await;
    assert_eq!(checks(), 1);
    client.close().await;
    client.report_failure(&found);
}

#[tokio::test]
async fn not_found_and_could_not_ask_are_different_errors() {
    let registry = FakeRegistry::start().await;
    let down = vacant();
    let all = ["default", "registry", "broadcast", "dns", "config"];
    let client = |url: String| quiet(&all).registry_url(url).build().unwrap();

    let error = client(registry.url()).discover("worker").await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    let text = error.to_string();
    for line in [
        "no instance of worker found in scope default",
        "\n  default ",
        "skipped: no default port is known for worker",
        "\n  registry ",
        "has no instance",
        "\n  broadcast ",
        "skipped: broadcasting is turned off",
        "\n  config ",
        "not found: no discovery.endpoints.worker",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let remedy = error.remedy().unwrap();
    assert!(
        remedy.starts_with("start it with `portolan run --name worker -- COMMAND`"),
        "{remedy}"
    );

    let error = client(down.url()).discover("worker").await.unwrap_err();
    assert!(matches!(error, DiscoverError::CouldNotAsk { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("could not ask for worker\n"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    let remedy = error.remedy().unwrap();
    assert!(remedy.starts_with("check that `portolan serve` is running there, or"), "{remedy}");
    assert_eq!(error.attempts().len(), 5);
}

#[tokio::test]
async fn not_found_without_authoritative_strategies_is_not_found() {
    let client = quiet(&["default", "config"]).build().unwrap();
    let error = client.discover("postgres-2").await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    let error = client.discover("worker").strategies(["broadcast"]).await.unwrap_err();
    assert!(matches!(error, DiscoverError::CouldNotAsk { .. }), "{error:?}");
}

#[tokio::test]
async fn overall_timeout_bounds_the_lookup_and_reports_the_attempts() {
    let registry = FakeRegistry::start().await;
    registry.inject(Fault::Hang);
    let client = quiet(&["config", "registry"]).registry_url(registry.url()).build().unwrap();
    let error = client.discover("api").timeout(Duration::from_millis(50)).await.unwrap_err();
    // No strategy has reported that the service does not exist.
    assert!(!matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    let told = error.attempts().iter().map(|attempt| attempt.strategy.as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["config", "registry"]);
    assert!(matches!(error.attempts()[0].outcome, AttemptOutcome::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn named_strategies_bypass_the_cache() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let mut config = config(&["registry"]);
    let configured = serde_json::from_value(serde_json::json!("127.0.0.1:2")).unwrap();
    config.endpoints.insert("api".parse().unwrap(), configured);
    let client = quiet(&[]).config(config).registry_url(registry.url()).build().unwrap();
    assert_eq!(client.discover("api").await.unwrap().port, 1);
    assert_eq!(client.discover("api").strategies(["config"]).await.unwrap().port, 2);
    assert_eq!(client.discover("api").await.unwrap().port, 1);
    let all = client.discover_all("api").strategies(["config"]).await.unwrap();
    assert_eq!(all[0].port, 2);
    let error = client.discover("api").strategies(["mdns"]).await.unwrap_err();
    assert!(matches!(error, DiscoverError::UnknownStrategy(_)), "{error:?}");
}

#[tokio::test]
async fn invalid_name_is_refused_before_any_request() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    for name in ["", "a b", &"x".repeat(100_000)] {
        let error = client.discover(name).await.unwrap_err();
        assert!(matches!(error, DiscoverError::InvalidName(_)), "{error:?}");
        assert!(client.discover_all(name).await.is_err());
        assert!(client.watch(name).await.is_err());
    }
    assert_eq!(registry.requests(), [""; 0]);
}

#[tokio::test]
async fn own_scope_precedes_default_and_other_scopes_are_ignored() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint_in("other", "api", 3));
    registry.put(endpoint("api", 2));
    let client = quiet(&["registry"]).registry_url(registry.url());
    let client = client.scope("shop".parse().unwrap()).build().unwrap();
    assert_eq!(client.discover("api").await.unwrap().port, 2);
    until("the watch to open", || registry.watches() == 1).await;
    // As soon as the own scope has one, the other no longer counts.
    registry.put(endpoint_in("shop", "api", 1));
    let known = || client.inner.resolver.cache().get(&"api".parse().unwrap(), true);
    until("the news", || !known().unwrap().is_fresh()).await;
    assert_eq!(client.discover("api").await.unwrap().port, 1);
}

#[tokio::test]
async fn disabled_or_closed_client_fails() {
    let config = DiscoveryConfig { enabled: false, ..config(&["config"]) };
    let client = quiet(&[]).config(config).build().unwrap();
    assert!(matches!(client.discover("api").await, Err(DiscoverError::Disabled)));
    assert!(matches!(client.watch("api").await, Err(DiscoverError::Disabled)));

    let registry = FakeRegistry::start().await;
    registry.inject(Fault::Hang);
    let client = client_of(&registry);
    let waiting = tokio::spawn(client.discover("api").into_future());
    until("the question", || lookups(&registry) == 1).await;
    client.close().await;
    assert!(matches!(waiting.await.unwrap(), Err(DiscoverError::Closed)));
    assert!(matches!(client.discover("api").await, Err(DiscoverError::Closed)));
    assert!(matches!(client.watch_all().await, Err(DiscoverError::Closed)));
    client.close().await;
}

#[tokio::test]
async fn tasks_end_with_the_last_clone() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let client = client_of(&registry);
    client.discover("api").await.unwrap();
    until("the watch to open", || registry.watches() == 1).await;
    drop(client);
    until("the watch to end", || registry.watches() == 0).await;
}

#[tokio::test]
async fn registry_on_this_host_is_found_by_its_reservation() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint_in("shop", "api", 1));
    let reservations = FakeReservations::default();
    reservations.hold("shop", "portolan-registry", registry.address().port());
    let builder = || quiet(&["registry"]).reservations(reservations.clone());
    let shop = builder().scope("shop".parse().unwrap()).build().unwrap();
    assert_eq!(shop.discover("api").await.unwrap().port, 1);
    assert!(format!("{shop:?}").contains(&registry.url()));
    // Another scope has another registry, and an explicit URL takes precedence.
    assert!(format!("{:?}", builder().build().unwrap()).contains("localhost:7000"));
    let named = builder().scope("shop".parse().unwrap()).registry_url("http://other:7000");
    assert!(format!("{:?}", named.build().unwrap()).contains("other:7000"));
}

#[tokio::test]
async fn token_is_sent_to_the_registry() {
    let registry = FakeRegistry::start().await;
    registry.demand("s3cret");
    registry.put(endpoint("api", 1));
    let client = quiet(&["registry"]).registry_url(registry.url()).token("s3cret");
    assert_eq!(client.build().unwrap().discover("api").await.unwrap().port, 1);
    let error = client_of(&registry).discover("api").await.unwrap_err();
    assert!(error.with_remedy().contains("set PORTOLAN_TOKEN"), "{error}");
}

#[test]
fn invalid_settings_are_refused_by_the_builder() {
    assert!(quiet(&[]).build().is_err());
    assert!(quiet(&["dns"]).registry_url("ftp://x").build().is_err());
}

#[tokio::test]
async fn client_opens_and_closes_its_own_broadcaster() {
    // A port of this test alone, which both broadcasters share.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let channel = BroadcastConfig {
        multicast_address: ([239, 255, 0, 1], port).into(),
        interface: "127.0.0.1".to_owned(),
        ..BroadcastConfig::default()
    };
    let holder = Broadcaster::new(channel.clone(), Metrics::new()).await.unwrap();
    holder.publish(endpoint("api", 1)).unwrap();
    let client = quiet(&["broadcast"]).broadcast(channel).build().unwrap();
    assert_eq!(client.discover("api").await.unwrap().port, 1);
    let own = client.inner.broadcaster.get().await.unwrap();
    client.close().await;
    assert!(own.announce(Action::Register, &endpoint("api", 1)).await.is_err());
    holder.announce(Action::Register, &endpoint("api", 1)).await.unwrap();
}
