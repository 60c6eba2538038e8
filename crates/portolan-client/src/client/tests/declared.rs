//! Services that a stack declares and that are not ready.

use super::*;

/// The registry of the stack `shop`, which has the instances of this JSON and a crashed `api`.
async fn stack_registry(services: &str) -> FakeRegistry {
    let registry = FakeRegistry::start().await;
    let declared = r#"[{"name": "api", "scope": "shop", "instance": 1, "state": "crashed",
        "reason": "exit status 1", "since": "2026-01-01T00:00:00Z", "supervisor": 42}]"#;
    let listing = format!(r#"{{"revision": 1, "services": {services}, "declared": {declared}}}"#);
    registry.inject(Fault::Body(listing));
    registry
}

#[tokio::test]
async fn declared_service_is_not_available_and_no_other_strategy_is_asked() {
    let registry = stack_registry("[]").await;
    let scope = "shop".parse().unwrap();
    let client = quiet(&["registry", "dns"]).registry_url(registry.url()).scope(scope);
    let error = client.build().unwrap().discover("api").await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotAvailable { .. }), "{error:?}");
    assert!(error.to_string().contains("`api` of stack `shop` crashed"), "{error}");
    assert!(matches!(error.attempts()[1].outcome, AttemptOutcome::NotAsked), "{error}");
    let remedy = portolan_core::Remedy::remedy(&error).unwrap();
    assert!(remedy.contains("process 42"), "{remedy}");
}

#[tokio::test]
async fn declared_service_of_another_scope_or_name_says_nothing() {
    let registry = stack_registry("[]").await;
    for (scope, name) in [("other", "api"), ("shop", "web")] {
        let scope = scope.parse().unwrap();
        let client = quiet(&["registry"]).registry_url(registry.url()).scope(scope);
        let error = client.build().unwrap().discover(name).await.unwrap_err();
        assert!(matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn registered_instance_of_the_same_scope_is_found_beside_a_declared_one() {
    let api = serde_json::to_string(&[endpoint_in("shop", "api", 8080)]).unwrap();
    let registry = stack_registry(&api).await;
    let scope = "shop".parse().unwrap();
    let client = quiet(&["registry"]).registry_url(registry.url()).scope(scope);
    assert_eq!(client.build().unwrap().discover("api").await.unwrap().port, 8080);
}
