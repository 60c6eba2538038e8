use reqwest::Method;
use serde_json::json;

use super::support::{ApiResponse, Server, api};

/// Sends a body as it stands.
async fn post(
    server: &Server,
    path: &str,
    kind: &str,
    body: impl Into<reqwest::Body>,
) -> ApiResponse {
    let request = server.request(Method::POST, path).header("content-type", kind).body(body);
    ApiResponse::read(request).await
}

#[tokio::test]
async fn invalid_member_is_reported_with_its_pointer() {
    let server = Server::start().await;
    for (body, pointer, expected) in [
        (json!({"name": "api", "host": "h", "port": 0}), "/port", "from 1 to 65535"),
        (json!({"name": "api", "host": "h", "port": 70000}), "/port", "from 1 to 65535"),
        (json!({"name": "", "host": "h", "port": 1}), "/name", "the service name is empty"),
        (json!({"name": "api", "host": "0.0.0.0", "port": 1}), "/host", "every address"),
        (json!({"name": "api", "host": "h", "port": 1, "ttl": 0}), "/ttl", "between 1s and 24h"),
        (json!({"name": "api", "host": "h", "port": 1, "prot": 1}), "/prot", "unknown field"),
        (
            json!({"name": "api", "host": "h", "port": 1, "metadata": {"a/b~c": 1}}),
            "/metadata/a~1b~0c",
            "expected a string",
        ),
    ] {
        let problem = server.register(body.clone()).await.problem(422, "bad-member");
        assert_eq!(problem["pointer"], pointer, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{body}: {problem}");
    }
    let missing = server.register(json!({"name": "api", "port": 1})).await;
    let missing = missing.problem(422, "bad-member");
    assert!(missing["detail"].as_str().unwrap().contains("missing field `host`"), "{missing}");
    let path = "/api/v1/services/x/health";
    for report in
        [json!({"status": "fine"}), json!({"status": "passing", "raeson": "x"}), json!({})]
    {
        server.send(Method::PUT, path, report).await.problem(422, "bad-member");
    }
    assert!(server.registry.list().is_empty());
}

#[tokio::test]
async fn invalid_json_is_reported_with_line_and_column() {
    let server = Server::start().await;
    for (body, place) in [
        (r#"{"name": "api","#, "line 1 column 15"),
        ("{\n  \"name\": api\n}", "line 2 column 11"),
        ("", "line 1 column 0"),
        (
            r#"{"name": "api", "host": "h", "port": 1} {}"#,
            "trailing characters at line 1 column 41",
        ),
        ("\u{0}\u{1}", "line 1 column 1"),
    ] {
        let response = post(&server, "/api/v1/services", "application/json", body).await;
        let problem = response.problem(400, "bad-json");
        assert!(problem["detail"].as_str().unwrap().contains(place), "{body:?}: {problem}");
    }
    let deep = "[".repeat(100_000);
    post(&server, "/api/v1/batch", "application/json", deep).await.problem(400, "bad-json");
    let bytes = vec![b'"', 0xff, 0xfe, b'"'];
    let response = post(&server, "/api/v1/services", "application/json", bytes).await;
    assert!(response.status.is_client_error());
}

#[tokio::test]
async fn other_content_types_are_rejected() {
    let server = Server::start().await;
    for (kind, expected) in [
        ("text/plain; charset=utf-8", "text/plain"),
        ("application/x-www-form-urlencoded", "urlencoded"),
        ("", "\"\""),
    ] {
        let response = post(&server, "/api/v1/services", kind, api(1).to_string()).await;
        let problem = response.problem(415, "not-json");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(expected) && detail.contains("Content-Type: application/json"),
            "{detail}"
        );
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"] {
        let response = post(&server, "/api/v1/services", kind, api(1).to_string()).await;
        assert!(response.status.is_success(), "{response:?}");
    }
}

#[tokio::test]
async fn unknown_route_is_answered_with_the_nearest_one() {
    let server = Server::start().await;
    for (path, nearest) in [
        ("/api/v1/service", "use /api/v1/services,"),
        ("/api/v1/service/api@h:1", "use /api/v1/services/api@h:1,"),
        ("/api/v1/services/x/heartbeet", "use /api/v1/services/x/heartbeat,"),
        ("/v1/catalog/services", "; see /openapi.json"),
        ("/metric", "use /metrics,"),
        ("/", "; see /openapi.json"),
    ] {
        let problem = server.get(path).await.problem(404, "no-such-route");
        assert!(problem["detail"].as_str().unwrap().contains(nearest), "{problem}");
    }
    server.get(&format!("/{}", "a".repeat(20_000))).await.problem(404, "no-such-route");
}

#[tokio::test]
async fn unsupported_method_is_answered_with_the_supported_ones() {
    let server = Server::start().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/services", "GET, HEAD, POST"),
        (Method::POST, "/api/v1/services/x/heartbeat", "PUT"),
        (Method::OPTIONS, "/metrics", "GET, HEAD"),
    ] {
        let response = ApiResponse::read(server.request(method, path)).await;
        let problem = response.problem(405, "method-not-allowed");
        assert_eq!(response.header("allow"), allowed);
        assert!(problem["detail"].as_str().unwrap().contains(allowed), "{problem}");
    }
}

#[tokio::test]
async fn invalid_parameter_is_reported_by_name() {
    let server = Server::start().await;
    for (path, param, expected) in [
        ("/api/v1/services?name=a%20b", "name", "service name"),
        ("/api/v1/services?name=", "name", "empty"),
        ("/api/v1/services?health=fine", "health", "use passing, warning"),
        ("/api/v1/services?protocol=tcp&protocol=udp", "protocol", "give it once"),
        ("/api/v1/services?meta.zone=a&meta.zone=b", "meta.zone", "give it once"),
        ("/api/v1/services?meta.=a", "meta.", "the metadata key is empty"),
        ("/api/v1/services?meta.scope=a%20b", "meta.scope", "the scope"),
        ("/api/v1/services?meta.scope=a&scope=a", "meta.scope", "omit one of them"),
        ("/api/v1/services?scpoe=shop", "scpoe", "use scope"),
        ("/api/v1/watch?revision=latest", "revision", "is not a revision"),
        ("/api/v1/watch?health=passing", "health", "unknown parameter"),
        ("/api/v1/services/a%20b", "id", "service id"),
        ("/api/v1/services/%ff", "id", "UTF-8"),
    ] {
        let problem = server.get(path).await.problem(400, "bad-parameter");
        assert_eq!(problem["param"], param, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{path}: {problem}");
    }
    let many = vec!["a"; 1001].join(",");
    let problem = server.get(&format!("/api/v1/services?name={many}")).await;
    problem.problem(400, "bad-parameter");
}
