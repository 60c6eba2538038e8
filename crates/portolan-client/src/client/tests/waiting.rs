//! Lookups that wait for a service.

use super::*;

const LONG: Duration = Duration::from_secs(60);
/// Long enough for the first lookup.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn discover_waits_for_a_service_that_starts_later() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.discover("api").wait(LONG).await }
    });
    until("a lookup that finds nothing", || lookups(&registry) > 0).await;
    assert!(!waiting.is_finished());
    registry.put(endpoint("api", 8080));
    let found = tokio::time::timeout(LONG, waiting).await.expect("it is found").unwrap().unwrap();
    assert_eq!(found.port, 8080);
    client.close().await;
}

#[tokio::test]
async fn discover_waits_for_an_instance_that_is_not_critical() {
    let registry = FakeRegistry::start().await;
    let critical = ServiceEndpoint { health: HealthStatus::Critical, ..endpoint("api", 8080) };
    registry.put(critical);
    let client = client_of(&registry);
    let error = client.discover("api").wait(SHORT).await.unwrap_err();
    assert!(error.to_string().contains("critical"), "{error}");
    registry.put(endpoint("api", 8080));
    assert_eq!(client.discover("api").wait(LONG).await.unwrap().port, 8080);
    client.close().await;
}

#[tokio::test]
async fn discover_that_has_waited_in_vain_says_what_it_found_last() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    let error = client.discover("api").wait(SHORT).await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    client.close().await;
}
