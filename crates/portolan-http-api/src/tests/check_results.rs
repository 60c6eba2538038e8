//! The last results of health checks, and late heartbeats.

use std::time::Duration;

use portolan_core::{CheckResults, HealthStatus};
use portolan_health::LastResults;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Server, api};

const PATH: &str = "/api/v1/services/api@127.0.0.1:8080";

fn results() -> Value {
    json!({
        "checked_at": "2026-01-02T03:04:05Z", "result": "warning", "latency_ms": 1.5,
        "consecutive_successes": 7, "consecutive_failures": 0, "successes": 9, "failures": 2,
    })
}

fn checked_by_agent() -> Value {
    let mut service = api(8080);
    service["metadata"] = json!({"checked_by": "agent"});
    service
}

#[tokio::test]
async fn results_that_an_agent_reports_are_shown_and_change_no_revision() {
    let server = Server::start().await;
    let registered = server.register(checked_by_agent()).await.json();
    let health = || server.get("/api/v1/services/api@127.0.0.1:8080/health");
    let before = health().await.json();
    assert_eq!(before, json!({"status": "unknown", "checked_by": "agent"}));

    let beat = format!("{PATH}/heartbeat");
    let body = json!({"checks": results(), "of a later version": 1});
    assert_eq!(server.send(Method::PUT, &beat, body).await.status, 204);
    assert_eq!(health().await.json()["checks"], results());
    let all = server.get("/api/v1/checks?name=api").await.json();
    assert_eq!(all, json!({"checks": {"api@127.0.0.1:8080": results()}}));
    assert_eq!(server.get("/api/v1/checks?name=other").await.json(), json!({"checks": {}}));
    assert_eq!(server.get(PATH).await.json()["revision"], registered["revision"]);

    // With a health report too.
    let mut later = results();
    later["failures"] = 3.into();
    let report = json!({"status": "critical", "reason": "refused", "checks": later});
    assert_eq!(server.send(Method::PUT, &format!("{PATH}/health"), report).await.status, 204);
    let shown = health().await.json();
    assert_eq!((&shown["status"], &shown["checks"]), (&json!("critical"), &later));

    // A heartbeat of another program leaves them as they are.
    assert_eq!(server.request(Method::PUT, &beat).send().await.unwrap().status(), 204);
    assert_eq!(health().await.json()["checks"], later);
    server.request(Method::DELETE, PATH).send().await.unwrap();
    health().await.problem(404, "unknown-instance");
    assert_eq!(server.get("/api/v1/checks").await.json(), json!({"checks": {}}));
}

#[tokio::test]
async fn late_heartbeat_is_shown_with_the_health_until_the_next_one_and_changes_no_revision() {
    let server = Server::start().await;
    let registered = server.register(api(8080)).await.json();
    let late =
        async || server.get(&format!("{PATH}/health")).await.json()["heartbeat_late"].clone();
    assert_eq!(late().await, Value::Null);
    // The clock goes on whenever nothing is left to do, so that the registry is not paused meanwhile.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(late().await, json!(true));
    let all = server.get("/api/v1/checks").await.json();
    assert_eq!(all, json!({"checks": {}, "heartbeat_late": ["api@127.0.0.1:8080"]}));
    assert_eq!(server.get(PATH).await.json()["revision"], registered["revision"]);
    let beat = server.request(Method::PUT, &format!("{PATH}/heartbeat"));
    assert_eq!(beat.send().await.unwrap().status(), 204);
    assert_eq!(late().await, Value::Null);
}

#[tokio::test]
async fn results_of_the_registry_itself_are_not_replaced() {
    let kept = LastResults::default();
    let own = CheckResults { failures: 4, ..serde_json::from_value(results()).unwrap() };
    kept.set("api@127.0.0.1:8080".parse().unwrap(), own);
    let server = Server::with(|api| api.check_results(kept)).await;
    let mut service = api(8080);
    service["health_url"] = "tcp://127.0.0.1:8080".into();
    server.register(service).await;
    let beat = format!("{PATH}/heartbeat");
    let forged = json!({"checks": results()});
    assert_eq!(server.send(Method::PUT, &beat, forged).await.status, 204);
    let shown = server.get(&format!("{PATH}/health")).await.json();
    assert_eq!(
        (&shown["checked_by"], &shown["checks"]["failures"]),
        (&json!("registry"), &json!(4))
    );
    assert_eq!(shown["status"], HealthStatus::Unknown.to_string());
}

#[tokio::test]
async fn wrong_results_are_refused_and_renew_nothing_silently() {
    let server = Server::start().await;
    server.register(checked_by_agent()).await;
    let beat = format!("{PATH}/heartbeat");
    let mut wrong = results();
    wrong["latency_ms"] = (-1).into();
    let refused = server.send(Method::PUT, &beat, json!({"checks": wrong})).await;
    assert_eq!(refused.problem(422, "bad-member")["pointer"], "/checks/latency_ms");
    let refused = server.send(Method::PUT, &beat, json!([1])).await;
    assert_eq!(refused.status, 422);
}

#[tokio::test]
async fn results_of_instances_that_are_gone_are_removed() {
    let kept = LastResults::default();
    for number in 0..5000 {
        kept.set(
            format!("gone-{number}").parse().unwrap(),
            serde_json::from_value(results()).unwrap(),
        );
    }
    let shared = kept.clone();
    let server = Server::with(|api| api.check_results(shared)).await;
    server.register(checked_by_agent()).await;
    let body = json!({"checks": results()});
    server.send(Method::PUT, &format!("{PATH}/heartbeat"), body).await;
    assert_eq!(kept.len(), 1);
}
