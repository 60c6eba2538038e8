use futures_util::future::join_all;
use insta::assert_json_snapshot;
use portolan_registry::RegistryConfig;
use reqwest::Method;
use reqwest::header::{ETAG, IF_MATCH};
use serde_json::{Value, json};

use super::support::{ApiResponse, Server};
use super::watching::Events;

const API: &str = "/api/v1/settings/api";

async fn conditional(
    server: &Server,
    method: Method,
    path: &str,
    condition: (&str, &str),
    body: Value,
) -> ApiResponse {
    let request = server.request(method, path).header(condition.0, condition.1);
    ApiResponse::read(request.json(&body)).await
}

#[tokio::test]
async fn settings_have_versions() {
    let server = Server::start().await;
    server.get(API).await.problem(404, "no-settings");
    let first = server.send(Method::PUT, API, json!({"workers": 4, "log": "info"})).await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (200, "\"1\""));
    let second = server.send(Method::PATCH, API, json!({"log": null, "zone": "a"})).await;
    assert_eq!(second.json()["value"], json!({"workers": 4, "zone": "a"}));
    let read = server.get(API).await;
    assert_eq!((read.header("etag"), read.json()), ("\"2\"", second.json()));
    let again = server.request(Method::GET, API).header("if-none-match", "\"2\"");
    assert_eq!(ApiResponse::read(again).await.status, 304);
    let restored =
        server.send(Method::POST, &format!("{API}/rollback"), json!({"version": 1})).await;
    assert_eq!(restored.json()["value"], first.json()["value"]);
    assert_eq!((&restored.json()["version"], &restored.json()["from"]), (&json!(3), &json!(1)));
    assert_eq!(ApiResponse::read(server.request(Method::DELETE, API)).await.status, 200);
    server.get(API).await.problem(404, "no-settings");
    let history = server.get(&format!("{API}/history")).await.json();
    let versions: Vec<_> = history["versions"].as_array().unwrap().iter().collect();
    let shown: Vec<_> = versions
        .iter()
        .map(|it| (it["version"].as_u64().unwrap(), it["action"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, [(4, "delete"), (3, "rollback"), (2, "patch"), (1, "set")]);
    assert_eq!(server.get("/api/v1/settings").await.json(), json!({"settings": []}));
    server.send(Method::PUT, &format!("{API}?scope=shop"), json!({})).await;
    let listed = server.get("/api/v1/settings?scope=shop,other").await.json();
    let expected = json!([{"name": "api", "scope": "shop", "version": 1, "has_schema": false}]);
    assert_eq!(listed["settings"], expected);
}

/// What is refused changes nothing, and says why.
#[tokio::test]
async fn problems_of_settings() {
    let server = Server::start().await;
    let schema = json!({"properties": {"workers": {"type": "integer", "minimum": 1}}});
    server.send(Method::PUT, API, json!({"workers": 4})).await;
    server.send(Method::PUT, &format!("{API}/schema"), schema.clone()).await;
    assert_eq!(server.get(&format!("{API}/schema")).await.json(), schema);
    let before = server.get(&format!("{API}/history")).await.json();
    let put = |condition: (&'static str, &'static str)| {
        conditional(&server, Method::PUT, API, condition, json!({"workers": 5}))
    };
    let half = server.request(Method::PUT, API).header("content-type", "application/json");
    let deep: Value =
        serde_json::from_str(&format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40))).unwrap();
    let documents = vec![
        put(("if-match", "\"1\"")).await.document(412),
        put(("if-match", "\"3\"")).await.document(412),
        put(("if-none-match", "*")).await.document(412),
        put(("if-match", "2")).await.document(400),
        put(("if-match", "*")).await.document(400),
        put(("if-none-match", "\"2\"")).await.document(400),
        server.send(Method::PUT, API, json!({"workers": 0})).await.document(422),
        server.send(Method::PATCH, API, json!({"workers": "many"})).await.document(422),
        server.send(Method::PUT, API, json!([1])).await.document(422),
        server.send(Method::PUT, API, deep).await.document(422),
        ApiResponse::read(half.body("{\"workers\": 5, ")).await.document(400),
        server
            .send(Method::PUT, &format!("{API}/schema"), json!({"$ref": "#"}))
            .await
            .document(422),
        server
            .send(Method::PUT, &format!("{API}/schema"), json!({"required": ["zone"]}))
            .await
            .document(422),
        server
            .send(Method::POST, &format!("{API}/rollback"), json!({"version": 9}))
            .await
            .document(404),
        server.send(Method::POST, &format!("{API}/rollback"), json!({"to": 1})).await.document(422),
        server.get("/api/v1/settings/other/schema").await.document(404),
        server.get("/api/v1/settings/a%20b").await.document(400),
        server.get("/api/v1/settings/api?version=1").await.document(400),
    ];
    assert_json_snapshot!(documents);
    let long = json!({"workers": 5, "pad": "x".repeat(70_000)});
    server.send(Method::PUT, API, long).await.problem(422, "bad-member");
    assert_eq!(server.get(&format!("{API}/history")).await.json(), before);
}

/// A function of the program sees old and new values, and what it refuses changes nothing.
#[tokio::test]
async fn callback_vetoes_a_change_of_settings() {
    let server = Server::start().await;
    server.send(Method::PUT, API, json!({"workers": 4})).await;
    server.registry.settings().on_change("the scheduler", |change| {
        let workers =
            |value: Option<&Value>| value.map_or(0, |value| value["workers"].as_u64().unwrap_or(0));
        let (old, new) = (workers(change.old), workers(change.new));
        if new > 2 * old { Err(format!("{new} is more than twice {old}")) } else { Ok(()) }
    });
    let vetoed =
        server.send(Method::PATCH, API, json!({"workers": 9})).await.problem(409, "config-veto");
    let detail = "the scheduler refuses the change of the settings of api: 9 is more than twice 4";
    assert!(vetoed["detail"].as_str().unwrap().starts_with(detail), "{vetoed}");
    assert_eq!(server.get(API).await.json()["version"], 1);
    server.send(Method::PATCH, API, json!({"workers": 8})).await;
    assert_eq!(server.get(API).await.json()["value"], json!({"workers": 8}));
    // A change that changes nothing is not asked for, and deleting is a change.
    server.send(Method::PUT, API, json!({"workers": 8})).await;
    server.registry.settings().on_change("the keeper", |change| {
        change.new.map(|_| ()).ok_or_else(|| "settings are kept".to_owned())
    });
    let kept = ApiResponse::read(server.request(Method::DELETE, API)).await;
    kept.problem(409, "config-veto");
}

#[tokio::test]
async fn hundred_concurrent_writers_lose_no_update() {
    let clients =
        portolan_registry::ClientsConfig { requests_per_second: 100_000, ..Default::default() };
    let server =
        Server::with_config(&RegistryConfig { clients, ..RegistryConfig::default() }).await;
    server.send(Method::PUT, API, json!({"count": 0})).await;
    // Thousands of requests, so they are not compared with `openapi.json`.
    let increment = async || loop {
        let known = server.request(Method::GET, API).send().await.unwrap();
        let tag = known.headers()[ETAG].clone();
        let count = known.json::<Value>().await.unwrap()["value"]["count"].as_u64().unwrap();
        let write = server.request(Method::PUT, API).header(IF_MATCH, tag);
        match write.json(&json!({"count": count + 1})).send().await.unwrap().status().as_u16() {
            200 => break,
            refused => assert_eq!(refused, 412),
        }
    };
    join_all((0..100).map(|_| increment())).await;
    assert_eq!(server.get(API).await.json()["value"], json!({"count": 100}));
}

#[tokio::test]
async fn watch_begins_with_the_newest_version_and_resumes_after_one() {
    let server = Server::start().await;
    let watch = |last: &str| {
        let request = server.request(Method::GET, &format!("{API}/watch"));
        Events::of_request(request.header("last-event-id", last.to_owned()))
    };
    let mut events = watch("").await;
    let mut next = async || {
        let event = events.next_of("/components/schemas/SettingsVersion").await.unwrap();
        assert_eq!(event.event, "settings");
        (event.id.parse::<u64>().unwrap(), event.data["value"].clone())
    };
    assert_eq!(next().await, (0, Value::Null));
    server.send(Method::PUT, "/api/v1/settings/other", json!({})).await;
    server.send(Method::PUT, API, json!({"a": 1})).await;
    assert_eq!(next().await, (1, json!({"a": 1})));
    ApiResponse::read(server.request(Method::DELETE, API)).await;
    assert_eq!(next().await, (2, Value::Null));
    server.send(Method::PUT, API, json!({"a": 3})).await;
    let mut resumed = watch("2").await;
    let event = resumed.next_of("/components/schemas/SettingsVersion").await.unwrap();
    assert_eq!((event.id.as_str(), &event.data["value"]), ("3", &json!({"a": 3})));
}
