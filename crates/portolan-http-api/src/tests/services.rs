use reqwest::Method;
use serde_json::json;

use super::support::{ApiResponse, Server, api};

#[tokio::test]
async fn instance_is_registered_renewed_and_deregistered() {
    let server = Server::start().await;
    let created = server.register(api(8080)).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), "/api/v1/services/api@127.0.0.1:8080");
    let service = created.json();
    assert_eq!(service["id"], "api@127.0.0.1:8080");
    assert_eq!(service["ttl"], 60);
    assert_eq!(service["health"], "unknown");
    assert!(service["revision"].as_u64().unwrap() > 1 << 50);
    assert!(service["registered_at"].as_str().unwrap().ends_with('Z'));

    let path = created.header("location").to_owned();
    assert_eq!(server.register(api(8080)).await.status, 200);
    assert_eq!(server.get(&path).await.json()["revision"], service["revision"]);
    let put = |path: String| server.request(Method::PUT, &path);
    assert_eq!(ApiResponse::read(put(format!("{path}/heartbeat"))).await.status, 204);
    let report = json!({"status": "critical", "reason": "connection refused"});
    let set = server.send(Method::PUT, &format!("{path}/health"), report).await;
    assert_eq!((set.status.as_u16(), set.text.as_str()), (204, ""));
    let now = server.get(&path).await.json();
    assert_eq!(now["health"], "critical");
    assert_eq!(now["health_reason"], "connection refused");

    let delete = || ApiResponse::read(server.request(Method::DELETE, &path));
    assert_eq!(delete().await.status, 204);
    delete().await.problem(404, "unknown-instance");
    let expired = put(format!("{path}/heartbeat"));
    let expired = ApiResponse::read(expired).await.problem(404, "unknown-instance");
    assert!(
        expired["detail"].as_str().unwrap().contains("register the instance again"),
        "{expired}"
    );
}

#[tokio::test]
async fn registry_that_loads_its_state_cannot_tell_whether_an_instance_exists() {
    let server = Server::loading().await;
    server.get("/readyz").await.problem(503, "unavailable");
    let path = "/api/v1/services/api@127.0.0.1:1";
    for (method, path) in [
        (Method::GET, path.to_owned()),
        (Method::GET, format!("{path}/health")),
        (Method::POST, format!("{path}/check")),
    ] {
        let problem = ApiResponse::read(server.request(method, &path)).await;
        let problem = problem.problem(503, "unavailable");
        assert!(problem["detail"].as_str().unwrap().contains("is loading its state"), "{problem}");
    }
    assert_eq!(server.get("/api/v1/services").await.json()["stale"], true);
}

#[tokio::test]
async fn instance_is_registered_under_the_id_of_the_path() {
    let server = Server::start().await;
    // Percent-encoded, as careful clients write it.
    let created = server.send(Method::PUT, "/api/v1/services/api%3A1", api(1)).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["id"], "api:1");
    let same = json!({"id": "api:1", "name": "api", "host": "127.0.0.1", "port": 2});
    let replaced = server.send(Method::PUT, "/api/v1/services/api:1", same.clone()).await;
    assert_eq!((replaced.status.as_u16(), &replaced.json()["port"]), (200, &json!(2)));
    let other = server.send(Method::PUT, "/api/v1/services/another", same).await;
    assert_eq!(other.problem(422, "bad-member")["pointer"], "/id");
    // A response can be sent back as a registration.
    let read = server.get("/api/v1/services/api:1").await.json();
    assert_eq!(server.send(Method::PUT, "/api/v1/services/api:1", read).await.status, 200);
}

#[tokio::test]
async fn list_is_filtered_by_every_condition() {
    let server = Server::start().await;
    for service in [
        json!({"name": "api", "host": "127.0.0.1", "port": 1, "protocol": "http", "version": "1"}),
        json!({"name": "api", "host": "127.0.0.1", "port": 2, "metadata": {"zone": "a", "tier": "x"}}),
        json!({"name": "api", "host": "127.0.0.1", "port": 3, "metadata": {"scope": "shop"}}),
        json!({"name": "db", "host": "127.0.0.1", "port": 4, "scope": "shop", "ttl": "90s"}),
    ] {
        assert_eq!(server.register(service).await.status, 201);
    }
    let critical = json!({"status": "critical"});
    server.send(Method::PUT, "/api/v1/services/api@127.0.0.1:1/health", critical).await;
    for (query, expected) in [
        ("", vec![1, 2, 3, 4]),
        ("?name=api", vec![1, 2, 3]),
        ("?name=api,db&scope=shop", vec![3, 4]),
        ("?name=db&name=api&scope=default", vec![1, 2]),
        ("?name=api&scope=shop,default", vec![1, 2, 3]),
        ("?health=critical", vec![1]),
        ("?health=passing,unknown&name=api", vec![2, 3]),
        ("?protocol=http", vec![1]),
        ("?version=1", vec![1]),
        ("?meta.zone=a&meta.tier=x", vec![2]),
        ("?meta.zone=a&meta.tier=y", vec![]),
        // As in the JSON of an endpoint.
        ("?meta.scope=shop", vec![3, 4]),
        ("?meta.scope=default&name=api", vec![1, 2]),
        ("?name=unknown", vec![]),
    ] {
        let found = server.get(&format!("/api/v1/services{query}")).await.json();
        let services = found["services"].as_array().unwrap();
        let mut ports: Vec<_> =
            services.iter().map(|service| service["port"].as_u64().unwrap()).collect();
        ports.sort_unstable();
        assert_eq!(ports, expected, "{query}");
        assert!(found["revision"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn list_of_everything_but_critical_is_one_request() {
    let server = Server::start().await;
    for (port, status) in [(1, "passing"), (2, "warning"), (3, "critical"), (4, "unknown")] {
        server.register(api(port)).await;
        let path = format!("/api/v1/services/api@127.0.0.1:{port}/health");
        server.send(Method::PUT, &path, json!({"status": status})).await;
    }
    for (query, expected) in
        [("passing,warning,unknown", &[1, 2, 4][..]), ("critical", &[3]), ("passing", &[1])]
    {
        let found = server.get(&format!("/api/v1/services?health={query}")).await.json();
        let services = found["services"].as_array().unwrap();
        let ports: Vec<_> = services.iter().map(|it| it["port"].as_u64().unwrap()).collect();
        assert_eq!(ports, expected, "{query}");
    }
}

#[tokio::test]
async fn matching_etag_is_answered_with_304() {
    let server = Server::start().await;
    server.register(api(1)).await;
    for path in
        ["/api/v1/services?name=api", "/api/v1/services", "/api/v1/services/api@127.0.0.1:1"]
    {
        let first = server.get(path).await;
        let tag = first.header("etag").to_owned();
        let revision = &first.json()["revision"];
        // The registry has just started.
        let incomplete = if path.ends_with(":1") { "" } else { "-incomplete" };
        assert_eq!(tag, format!("W/\"{revision}{incomplete}\""));
        let again = |tags: String| {
            let request = server.request(Method::GET, path).header("if-none-match", tags);
            async { ApiResponse::read(request).await }
        };
        for tags in [tag.clone(), format!("\"1\", {tag}"), tag[2..].to_owned(), "*".into()] {
            let same = again(tags).await;
            assert_eq!((same.status.as_u16(), same.text.as_str()), (304, ""));
            assert_eq!(same.header("etag"), tag);
        }
        assert_eq!(again("W/\"1\"".into()).await.status, 200);
        let health = json!({"status": if path.ends_with('1') { "passing" } else { "critical" }});
        server.send(Method::PUT, "/api/v1/services/api@127.0.0.1:1/health", health).await;
        server
            .send(
                Method::PUT,
                "/api/v1/services/api@127.0.0.1:1/health",
                json!({"status": "warning"}),
            )
            .await;
        assert_eq!(again(tag).await.status, 200, "{path} changed");
    }
}

#[tokio::test]
async fn batch_has_one_result_per_operation() {
    let server = Server::start().await;
    let batch = json!({"operations": [
        {"op": "register", "service": api(1)},
        {"op": "register", "service": {"name": "api", "host": "127.0.0.1", "port": 0}},
        {"op": "heartbeat", "id": "api@127.0.0.1:1"},
        {"op": "health", "id": "api@127.0.0.1:1", "status": "passing", "reason": "ok"},
        {"op": "heartbeat", "id": "unknown"},
        {"op": "register", "service": api(1)},
        {"op": "deregister", "id": "api@127.0.0.1:1"},
        {"op": "dance"},
        7,
        {"op": "deregister", "id": "x", "force": true},
    ]});
    let response = server.send(Method::POST, "/api/v1/batch", batch).await;
    assert_eq!(response.status, 200);
    let results = response.json()["results"].as_array().unwrap().clone();
    let statuses: Vec<_> =
        results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 422, 204, 204, 404, 200, 204, 422, 422, 422]);
    assert_eq!(results[0]["service"]["id"], "api@127.0.0.1:1");
    assert_eq!(results[5]["service"]["health"], "passing");
    let pointers: Vec<_> =
        [1, 4, 7, 8].iter().map(|place| results[*place]["problem"]["pointer"].clone()).collect();
    assert_eq!(
        pointers,
        ["/operations/1/service/port", "/operations/4", "/operations/7/op", "/operations/8"]
    );

    let many = json!({"operations": vec![json!({"op": "heartbeat", "id": "x"}); 1001]});
    let refused = server.send(Method::POST, "/api/v1/batch", many).await;
    let refused = refused.problem(422, "bad-member");
    assert!(refused["detail"].as_str().unwrap().contains("limit is 1000"), "{refused}");
    assert!(server.registry.list().is_empty());
}

#[tokio::test]
async fn server_reports_health_readiness_metrics_and_version() {
    let mut server = Server::with(|api| api.version("9.8.7")).await;
    assert_eq!(server.get("/healthz").await.json(), json!({"status": "ok", "version": "9.8.7"}));
    assert_eq!(server.get("/openapi.json").await.json()["info"]["version"], "9.8.7");
    server.register(api(1)).await;
    assert_eq!(server.get("/readyz").await.json()["status"], "ready");
    let list = server.get("/api/v1/services").await;
    assert_eq!((list.header("portolan-view-age"), &list.json()["view_age_ms"]), ("0", &0.into()));
    let metrics = server.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let counted = r#"discovery_services_registered_total{service_name="api"} 1"#;
    assert!(metrics.text.contains(counted), "{}", metrics.text);
    assert!(metrics.text.contains("discovery_registry_view_age_seconds 0"), "{}", metrics.text);
    let head = server.request(Method::HEAD, "/healthz");
    assert_eq!(ApiResponse::read(head).await.status, 200);

    server.stop_writer().await;
    let closed = server.get("/readyz").await.problem(503, "unavailable");
    let detail = "the registry is shutting down; retry with another server, or after a restart";
    assert_eq!(closed["detail"], detail);
    let refused = server.register(api(2)).await;
    refused.problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
}
