use serde_json::json;

use super::*;

fn registration(json: serde_json::Value) -> Result<Registration, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

fn minimal() -> Registration {
    registration(json!({"name": "api", "host": "127.0.0.1", "port": 8080})).unwrap()
}

#[test]
fn registration_requires_name_host_and_port() {
    let registration = minimal();
    assert_eq!(registration.protocol, "tcp");
    assert_eq!(registration.scope, "default");
    assert_eq!(registration.ttl, None);
    assert_eq!(registration.id(), "api@127.0.0.1:8080");
}

#[test]
fn array_of_the_members_is_not_a_registration_or_endpoint() {
    let array = json!(["api-1", "api", null, "127.0.0.1", 8080]);
    let error = registration(array).unwrap_err();
    assert_eq!(error, "invalid type: sequence, expected a JSON object");
    let array = json!(["api-1", "api", "127.0.0.1", 8080]);
    let error = serde_json::from_value::<ServiceEndpoint>(array).unwrap_err().to_string();
    assert_eq!(error, "invalid type: sequence, expected a JSON object");
}

#[test]
fn error_names_the_invalid_member() {
    for (body, expected) in [
        (json!({"name": "api", "host": "h", "port": 0}), "integer `0`, expected a port"),
        (json!({"name": "api", "host": "h", "port": 70000}), "integer `70000`, expected a port"),
        (json!({"name": "", "host": "h", "port": 1}), "the service name is empty"),
        (json!({"name": "api", "port": 1}), "missing field `host`"),
        (json!({"name": "api", "host": "h", "port": 1, "prot": "x"}), "unknown field `prot`"),
        (json!({"name": "api", "host": "h", "port": 1, "ttl": 0}), "expected 1s to 24h"),
        (
            json!({"name": "api", "host": "h", "port": 1, "metadata": {"scope": "a b"}}),
            "metadata.scope",
        ),
        (json!({"name": "api", "host": "h", "port": 1, "metadata": {"": "x"}}), "empty key"),
        (json!({"name": "api", "host": "h", "port": 1, "metadata": {"k": "a\nb"}}), "metadata.k"),
        (
            json!({"name": "api", "host": "h", "port": 1, "version": "x".repeat(3000)}),
            "limit is 2048",
        ),
    ] {
        let error = registration(body.clone()).unwrap_err();
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn metadata_with_a_key_twice_are_refused() {
    let text = r#"{"name": "api", "host": "h", "port": 1, "metadata": {"role": "a", "role": "b"}}"#;
    let expected = r#"key "role" is twice in it"#;
    let error = serde_json::from_str::<Registration>(text).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    let error = serde_json::from_str::<ServiceEndpoint>(text).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn stored_endpoint_is_a_valid_registration() {
    let stored = minimal().into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    let again = registration(serde_json::to_value(&stored).unwrap()).unwrap();
    assert_eq!(again, Registration::from(stored));
}

#[test]
fn scope_is_encoded_in_metadata_only() {
    let mut scoped = minimal();
    scoped.scope = "shop".parse().unwrap();
    let json = serde_json::to_value(&scoped).unwrap();
    assert_eq!(json["metadata"], json!({"scope": "shop"}));
    assert_eq!(json.get("scope"), None);

    let endpoint = scoped.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    assert_eq!(endpoint.id, "shop:api@127.0.0.1:8080");
    let json = serde_json::to_value(&endpoint).unwrap();
    let read: ServiceEndpoint = serde_json::from_value(json).unwrap();
    assert_eq!(read, endpoint);
    assert!(read.metadata.is_empty());
}

#[test]
fn unknown_members_of_an_endpoint_are_ignored() {
    let json = json!({"name": "api", "host": "::1", "port": 80, "weight": 3});
    let endpoint: ServiceEndpoint = serde_json::from_value(json).unwrap();
    assert_eq!(endpoint.url(), "tcp://[::1]:80");
    assert_eq!(endpoint.id, "api@::1:80");
}

#[test]
fn longest_names_fit_into_an_id() {
    let mut registration = minimal();
    registration.name = "n".repeat(128).parse().unwrap();
    registration.scope = "s".repeat(128).parse().unwrap();
    registration.host = format!("{}.", vec!["h".repeat(60); 4].join(".")).parse().unwrap();
    registration.port = 65535;
    assert!(registration.id().as_str().ends_with("h:65535"));
}

#[test]
fn same_contents_ignores_timestamps_health_and_revision() {
    let first = minimal().into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    let mut second = first.clone();
    second.health = HealthStatus::Passing;
    second.revision = Revision(7);
    assert!(first.same_contents(&second));
    second.version = "2".into();
    assert!(!first.same_contents(&second));
}

#[test]
fn unknown_health_is_ready_only_without_checks() {
    let mut endpoint = minimal().into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    assert!(endpoint.is_ready());
    endpoint.metadata.insert(CHECKED_BY_AGENT.0.to_owned(), CHECKED_BY_AGENT.1.to_owned());
    assert!(!endpoint.is_ready());
    endpoint.health = HealthStatus::Passing;
    assert!(endpoint.is_ready());
    endpoint.health = HealthStatus::Critical;
    assert!(!endpoint.is_ready());
}

#[test]
fn conflicting_scopes_are_rejected() {
    let with = |scope: &str| {
        registration(json!({
            "name": "api", "host": "h", "port": 1, "scope": scope, "metadata": {"scope": "shop"}
        }))
    };
    assert_eq!(with("shop").unwrap().scope, "shop");
    let error = with("lab").unwrap_err().to_string();
    assert!(error.contains("scope is lab, but metadata.scope is shop"), "{error}");
}

#[test]
fn health_url_is_a_url_with_a_host_and_any_scheme() {
    let with =
        |url: &str| registration(json!({"name": "api", "host": "h", "port": 1, "health_url": url}));
    for url in [
        "http://h:1/health",
        "http://h",
        "https://h/health",
        "tcp://127.0.0.1:5432",
        "tcp://[::1]:5432",
        "grpc://h:9090/orders",
    ] {
        assert_eq!(with(url).unwrap().health_url.as_deref(), Some(url));
    }
    for (url, said) in [
        ("", "relative URL"),
        ("/health", "relative URL"),
        ("http://", "empty host"),
        ("tcp:5432", "the host is missing"),
    ] {
        let error = with(url).unwrap_err().to_string();
        assert!(error.contains("health_url: ") && error.contains(said), "{url}: {error}");
        assert!(error.contains("http://127.0.0.1:8080/health"), "{url}: {error}");
    }
}
