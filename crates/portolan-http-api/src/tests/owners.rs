//! Owners of registrations: who may change one.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::Server;

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const SHARED: &str = "/api/v1/services/shared-1";

fn shared(host: &str, incarnation: &str) -> Value {
    json!({"name": "shared", "host": host, "port": 80, "incarnation": incarnation})
}

#[tokio::test]
async fn second_host_cannot_take_an_id_or_end_the_registration_of_the_first() {
    let server = Server::behind_a_proxy().await;
    let put = |host, body| server.send_from(host, Method::PUT, SHARED, Some(body));
    assert_eq!(put(A, shared(A, "a")).await.status, 201);
    let conflict = put(B, shared(B, "b")).await.problem(409, "owned-by-another");
    for named in [A, B, "10.0.0.1:80", "10.0.0.2:80", "\"replace\": true"] {
        assert!(conflict["detail"].as_str().unwrap().contains(named), "{conflict}");
    }
    let report = json!({"status": "critical"});
    for (method, path, body) in [
        (Method::PUT, "/heartbeat", None),
        (Method::PUT, "/health", Some(report)),
        (Method::DELETE, "", None),
    ] {
        let path = format!("{SHARED}{path}?incarnation=b");
        let conflict = server.send_from(B, method, &path, body).await;
        let conflict = conflict.problem(409, "another-incarnation");
        let detail = conflict["detail"].as_str().unwrap();
        assert!(detail.contains("000000000000000a") && detail.contains("000000000000000b"));
        assert_eq!(conflict["param"], "incarnation");
    }
    let kept = server.get(SHARED).await.json();
    assert_eq!((&kept["host"], &kept["health"]), (&json!(A), &json!("unknown")));

    let mut replacing = shared(B, "b");
    replacing["replace"] = json!(true);
    assert_eq!(put(B, replacing).await.status, 200);
    let late = format!("{SHARED}/heartbeat?incarnation=a");
    let late = server.send_from(A, Method::PUT, &late, None).await;
    late.problem(409, "another-incarnation");
    let own = format!("{SHARED}?incarnation=B");
    assert_eq!(server.send_from(B, Method::DELETE, &own, None).await.status, 204);
}

#[tokio::test]
async fn operation_of_a_batch_has_an_incarnation() {
    let server = Server::start().await;
    let service = json!({"id": "api-1", "name": "api", "host": A, "port": 80, "incarnation": "1"});
    let operation = |op: &str, incarnation: &str| {
        let mut operation = json!({"op": op, "id": "api-1", "incarnation": incarnation});
        if op == "health" {
            operation["status"] = json!("passing");
        }
        operation
    };
    let batch = json!({"operations": [
        {"op": "register", "service": service},
        operation("heartbeat", "2"),
        operation("health", "2"),
        operation("deregister", "2"),
        operation("heartbeat", "one"),
        operation("heartbeat", "1"),
        operation("health", "1"),
        operation("deregister", "1"),
    ]});
    let response = server.send(Method::POST, "/api/v1/batch", batch).await.json();
    let results = response["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64()).collect();
    assert_eq!(statuses, [201, 409, 409, 409, 422, 204, 204, 204].map(Some));
    assert_eq!(results[4]["problem"]["pointer"], "/operations/4/incarnation");
}

#[tokio::test]
async fn reused_address_belongs_to_the_newest_service() {
    let server = Server::start().await;
    let service = |name: &str, incarnation: &str| json!({"name": name, "host": "127.0.0.1", "port": 80, "incarnation": incarnation});
    server.register(service("old", "1")).await;
    assert_eq!(server.register(service("new", "2")).await.status, 201);
    let named = |name: &str| format!("/api/v1/services?name={name}");
    assert_eq!(server.get(&named("old")).await.json()["services"], json!([]));
    // The former owner wakes up.
    let late = "/api/v1/services/old@127.0.0.1:80/heartbeat?incarnation=1";
    let late = server.send(Method::PUT, late, json!({})).await.problem(409, "another-incarnation");
    let detail = late["detail"].as_str().unwrap();
    assert!(detail.contains("new@127.0.0.1:80") && detail.contains("000000000000000"), "{late}");
    assert_eq!(server.get(&named("new")).await.json()["services"][0]["port"], 80);
}

#[tokio::test]
async fn unknown_query_parameter_of_a_write_is_rejected() {
    let server = Server::start().await;
    let path = format!("{SHARED}/heartbeat?incarnatoin=1");
    let problem = server.send(Method::PUT, &path, json!({})).await.problem(400, "bad-parameter");
    assert!(problem["detail"].as_str().unwrap().contains("use incarnation"), "{problem}");
    let path = format!("{SHARED}/heartbeat?incarnation=x");
    server.send(Method::PUT, &path, json!({})).await.problem(400, "bad-parameter");
}
