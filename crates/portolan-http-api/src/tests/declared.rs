use jiff::Timestamp;
use portolan_core::{DeclaredInstance, DeclaredState};
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use super::support::{ApiResponse, Server, api};

fn declared(name: &str, state: DeclaredState) -> DeclaredInstance {
    DeclaredInstance {
        name: name.parse().unwrap(),
        scope: "shop".parse().unwrap(),
        instance: 1,
        state,
        reason: "exit status 1".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        supervisor: 42,
    }
}

#[tokio::test]
async fn list_has_the_declared_instances_that_are_not_ready() {
    let instances =
        vec![declared("api", DeclaredState::Ready), declared("worker", DeclaredState::Crashed)];
    let (declare, known) = watch::channel(instances);
    let server = Server::with(|api| api.declared(Some(known))).await;
    server.register(api(8080)).await;
    let first = server.get("/api/v1/services?scope=shop,default").await;
    let listed = first.json();
    assert_eq!(listed["services"].as_array().unwrap().len(), 1);
    let expected = json!([{
        "name": "worker", "scope": "shop", "instance": 1, "state": "crashed", "reason": "exit status 1",
        "since": "1970-01-01T00:00:00Z", "supervisor": 42,
    }]);
    assert_eq!(listed["declared"], expected);
    for query in ["name=api", "scope=other", "name=worker&health=critical", "meta.zone=a"] {
        let path = format!("/api/v1/services?{query}");
        assert_eq!(server.get(&path).await.json().get("declared"), None, "{query}");
    }

    // The entity tag changes with a state, which has no revision.
    let again = || {
        let request = server.request(Method::GET, "/api/v1/services?scope=shop,default");
        ApiResponse::read(request.header("if-none-match", first.header("etag")))
    };
    assert_eq!(again().await.status, 304);
    declare.send_replace(Vec::new());
    let now = again().await;
    assert_eq!((now.status.as_u16(), now.json().get("declared")), (200, None));
}
