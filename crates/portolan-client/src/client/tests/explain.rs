//! Lookups that report what each strategy answered.

use super::*;

#[tokio::test]
async fn explanation_contains_the_outcome_of_each_strategy() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let strategies = ["default", "config", "registry", "dns"];
    let client = quiet(&strategies).registry_url(registry.url()).build().unwrap();
    client.discover("api").await.unwrap();
    let explanation = client.discover("api").explain().await;
    assert_eq!(explanation.attempts.len(), 4);
    let text = explanation.to_string();
    assert!(
        text.starts_with("api is at 127.0.0.1:1 (registry: registered, unsigned)\n  config "),
        "{text}"
    );
    assert!(text.contains("found 127.0.0.1:1") && text.contains("not asked"), "{text}");

    let explanation = client.discover("db").strategies(["config"]).explain().await;
    assert!(explanation.to_string().contains("no instance of db"), "{explanation}");
    let explanation = client.discover("a b").explain().await;
    assert!(explanation.name.is_none() && explanation.result.is_err());
}

#[tokio::test]
async fn explanation_of_every_instance_contains_the_outcome_of_each_strategy() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    registry.put(endpoint("api", 2));
    let client = quiet(&["registry", "dns"]).registry_url(registry.url()).build().unwrap();
    let explanation = client.discover_all("api").explain().await;
    let text = explanation.to_string();
    assert!(text.starts_with("api is at 127.0.0.1:"), "{text}");
    assert!(text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");
    assert!(text.contains("\n  registry ") && text.contains("\n  dns "), "{text}");
    assert_eq!(explanation.result.unwrap().len(), 2);
    assert!(client.discover_all("a b").explain().await.name.is_none());
}

#[tokio::test]
async fn progress_names_each_strategy_when_it_is_asked() {
    let registry = FakeRegistry::start().await;
    let client = quiet(&["registry", "config"]).registry_url(registry.url()).build().unwrap();
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let request = client.discover("api").progress(move |name| seen.lock().push(name.to_string()));
    request.await.unwrap_err();
    assert_eq!(*asked.lock(), ["config", "registry"]);
}
