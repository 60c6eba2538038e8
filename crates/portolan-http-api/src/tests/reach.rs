//! What callers on different hosts get: addresses that they can reach.

use std::time::Duration;

use portolan_registry::RegistryConfig;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{ApiResponse, Server, TEST_TIMEOUT, api};

/// An instance on each interface of the registry's host.
fn everywhere() -> Value {
    json!({
        "name": "web", "host": "127.0.0.1", "port": 80,
        "addresses": ["10.0.0.1", "192.168.7.1", "fd00:7::1"],
    })
}

fn hosts(listing: &Value) -> Vec<&str> {
    let services = listing["services"].as_array().unwrap();
    services.iter().map(|service| service["host"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn caller_behind_a_tunnel_is_not_on_the_host_of_the_registry() {
    let server = Server::with(|api| api.network_id(Some("own"))).await;
    assert_eq!(server.register(everywhere()).await.status, 201);
    let list = |id| {
        let request = server.request(Method::GET, "/api/v1/services");
        ApiResponse::read(request.header("portolan-network", id))
    };
    assert_eq!(hosts(&list("own").await.json()), ["127.0.0.1"]);
    assert_eq!(hosts(&list("other").await.json()), ["10.0.0.1"]);
    let register = server.request(Method::POST, "/api/v1/services").json(&api(1));
    let refused = ApiResponse::read(register.header("portolan-network", "other")).await;
    assert_eq!(refused.status, 422);
}

#[tokio::test]
async fn caller_on_another_host_gets_no_loopback_address() {
    let server = Server::behind_a_proxy().await;
    assert_eq!(server.register(api(1)).await.status, 201);
    assert_eq!(server.register(everywhere()).await.status, 201);
    let list = |host| server.send_from(host, Method::GET, "/api/v1/services", None);
    for (caller, expected) in [
        ("127.0.0.1", &["127.0.0.1", "127.0.0.1"][..]),
        ("192.168.7.9", &["192.168.7.1"]),
        ("10.0.0.9", &["10.0.0.1"]),
        ("fd00:7::9", &["fd00:7::1"]),
    ] {
        assert_eq!(hosts(&list(caller).await.json()), expected, "{caller}");
    }
    let web = "/api/v1/services/web@127.0.0.1:80";
    let seen = server.send_from("192.168.7.9", Method::GET, web, None).await.json();
    assert_eq!((&seen["host"], &seen["id"]), (&json!("192.168.7.1"), &json!("web@127.0.0.1:80")));

    let path = "/api/v1/services/api@127.0.0.1:1";
    let problem = server.send_from("192.168.7.9", Method::GET, path, None).await;
    let problem = problem.problem(404, "out-of-reach");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("127.0.0.1:1") && detail.contains("192.168.7.9"), "{detail}");
    assert_eq!(server.get(path).await.status, 200);

    // Nor what its checks have resulted in.
    let results = json!({
        "checked_at": "2026-01-02T03:04:05Z", "result": "passing", "latency_ms": 1.5,
        "consecutive_successes": 1, "consecutive_failures": 0, "successes": 1, "failures": 0,
    });
    let mut checked = api(2);
    checked["metadata"] = json!({"checked_by": "agent"});
    server.register(checked).await;
    let path = "/api/v1/services/api@127.0.0.1:2";
    let beat = format!("{path}/heartbeat");
    assert_eq!(server.send(Method::PUT, &beat, json!({"checks": results})).await.status, 204);
    let path = format!("{path}/health");
    let health = server.send_from("192.168.7.9", Method::GET, &path, None).await;
    health.problem(404, "out-of-reach");
    let checks = |host| server.send_from(host, Method::GET, "/api/v1/checks", None);
    assert_eq!(checks("192.168.7.9").await.json(), json!({"checks": {}}));
    assert_eq!(checks("127.0.0.1").await.json()["checks"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn caller_behind_an_unknown_proxy_is_on_another_host() {
    let server = Server::start().await;
    server.register(api(1)).await;
    let proxied = |method, path: &str| server.request(method, path).header("via", "1.1 nginx");
    let listing = ApiResponse::read(proxied(Method::GET, "/api/v1/services")).await;
    assert!(hosts(&listing.json()).is_empty());
    let one = ApiResponse::read(proxied(Method::GET, "/api/v1/services/api@127.0.0.1:1")).await;
    let detail = one.problem(404, "out-of-reach")["detail"].to_string();
    assert!(detail.contains("service_registry.trusted_proxies"), "{detail}");

    for body in [api(2), json!({"name": "x", "host": "10.0.0.9", "port": 1, "addresses": ["::1"]})]
    {
        let request = proxied(Method::POST, "/api/v1/services").json(&body);
        let problem = ApiResponse::read(request).await.problem(422, "bad-member");
        assert!(problem["detail"].as_str().unwrap().contains("behind a proxy"), "{problem}");
    }
    let batch = json!({"operations": [{"op": "register", "service": api(2)}]});
    let batch = ApiResponse::read(proxied(Method::POST, "/api/v1/batch").json(&batch)).await.json();
    assert_eq!(batch["results"][0]["problem"]["pointer"], "/operations/0/service/host");
    assert_eq!(server.registry.list().len(), 1);
}

#[tokio::test]
async fn caller_behind_a_trusted_proxy_that_adds_no_header_is_on_another_host() {
    let proxies = vec![std::net::IpAddr::from([127, 0, 0, 1]).into()];
    let server = Server::with(|api| api.trusted_proxies(proxies)).await;
    let problem = server.register(api(1)).await.problem(422, "bad-member");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("a host behind a proxy") && detail.contains("X-Forwarded-For"));
    let own = server.request(Method::POST, "/api/v1/services").header("portolan-network", "own");
    assert_eq!(ApiResponse::read(own.json(&api(1))).await.status, 201);
    assert!(hosts(&server.get("/api/v1/services").await.json()).is_empty());
}

#[tokio::test]
async fn etag_of_one_host_does_not_match_for_another() {
    let server = Server::behind_a_proxy().await;
    server.register(everywhere()).await;
    for path in ["/api/v1/services", "/api/v1/services/web@127.0.0.1:80"] {
        let request = |host: &str| {
            server.request(Method::GET, path).header("x-forwarded-for", host.to_owned())
        };
        let mut tags = Vec::new();
        for host in ["127.0.0.1", "192.168.7.9", "10.0.0.9"] {
            let tag = ApiResponse::read(request(host)).await.header("etag").to_owned();
            for other in &tags {
                let response =
                    ApiResponse::read(request(host).header("if-none-match", other)).await;
                assert_eq!(response.status, 200, "{host} has {other}");
            }
            let same = ApiResponse::read(request(host).header("if-none-match", &tag)).await;
            assert_eq!(same.status, 304);
            tags.push(tag);
        }
    }
}

#[tokio::test]
async fn source_cannot_be_set_by_a_client() {
    let server = Server::start().await;
    let mut service = api(1);
    service["source"] = json!("broadcast");
    assert_eq!(server.register(service).await.json()["source"], "registered");
}

#[tokio::test]
async fn registry_that_has_just_started_says_that_lists_are_incomplete() {
    let ttl_default = Duration::from_secs(1);
    let server = Server::with_config(&RegistryConfig { ttl_default, ..Default::default() }).await;
    let mut first = None;
    let complete = async {
        loop {
            let response = server.get("/api/v1/services").await;
            if response.json().get("incomplete").is_none() {
                return response;
            }
            assert_eq!(response.json()["incomplete"], true);
            assert_eq!(response.header("portolan-incomplete"), "true");
            first.get_or_insert(response.header("etag").to_owned());
        }
    };
    let complete = tokio::time::timeout(TEST_TIMEOUT, complete).await.unwrap();
    assert_eq!(complete.header("portolan-incomplete"), "");
    assert_ne!(first.expect("it began incomplete"), complete.header("etag"));
}
