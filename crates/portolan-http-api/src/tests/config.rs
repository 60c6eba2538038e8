//! The settings of the server.

use std::sync::Arc;

use portolan_config_manager::Loader;
use portolan_config_manager::live::{
    ConfigControl, ConfigManager, Effect, SettingRule, SettingRules, Unusable, Veto,
};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::support::{ApiResponse, Server};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    level: u8,
    address: u8,
    token: String,
}

const RULES: SettingRules = SettingRules(&[
    SettingRule { path: "level", effect: Effect::Live { by: "test" } },
    SettingRule { path: "token", effect: Effect::LiveFromFiles { by: "test" } },
]);

/// The settings of a server.
pub(super) fn settings() -> Arc<dyn ConfigControl> {
    let load = |requested: &Value| {
        let loader = Loader::<Settings>::new().requested(requested.clone()).secret("token");
        loader.load().map_err(|error| Unusable { message: error.to_string(), remedy: None })
    };
    let manager = ConfigManager::new(load(&Value::Null).unwrap(), RULES, load);
    manager.on_change("test", |_, new: &Settings| match new.level {
        13 => Err(Veto("13 is unlucky".to_owned())),
        _ => Ok(()),
    });
    Arc::new(manager)
}

async fn server() -> Server {
    Server::with(|api| api.token(Some("secret")).config(Some(settings()))).await
}

async fn send(server: &Server, method: Method, path: &str, body: Option<Value>) -> ApiResponse {
    let request = server.request(method, path).bearer_auth("secret");
    ApiResponse::read(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

async fn patch(server: &Server, version: &str, body: Value) -> ApiResponse {
    let request = server.request(Method::PATCH, "/api/v1/config").bearer_auth("secret");
    ApiResponse::read(request.header("if-match", version).json(&body)).await
}

#[tokio::test]
async fn settings_are_changed_with_the_version_that_was_read() {
    let server = server().await;
    let read = send(&server, Method::GET, "/api/v1/config", None).await;
    let tag = read.header("etag").to_owned();
    let changed = patch(&server, &tag, json!({"level": 2})).await;
    assert_eq!(changed.json()["changed"], json!([{"path": "level", "old": 0, "new": 2}]));
    assert_eq!(changed.header("etag"), "\"2\"");
    patch(&server, &tag, json!({"level": 3})).await.problem(412, "config-version");
    patch(&server, "W/x", json!({"level": 3})).await.problem(400, "bad-parameter");
    let history = send(&server, Method::GET, "/api/v1/config/history", None).await.json();
    assert_eq!(history["versions"][1]["author"], "client token");
}

#[tokio::test]
async fn refused_changes_change_nothing_and_say_why() {
    let server = server().await;
    for (body, status, kind, reason) in [
        (json!({"level": 1, "address": 1}), 422, "setting-refused", "address: it needs a restart"),
        (json!({"level": 1, "token": "x"}), 422, "setting-refused", "token: it is a secret"),
        (json!({"level": 1, "lewel": 1}), 422, "bad-member", "did you mean `level`?"),
        (json!({"level": 300}), 422, "bad-member", "level"),
        (json!({"level": 13}), 409, "config-veto", "13 is unlucky"),
    ] {
        let problem = patch(&server, "*", body).await.problem(status, kind);
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
    }
    let read = send(&server, Method::GET, "/api/v1/config", None).await;
    assert_eq!(read.json()["version"], 1);
}

#[tokio::test]
async fn lock_refuses_changes_and_names_its_holder() {
    let server = server().await;
    let path = "/api/v1/config/lock";
    let locked = send(&server, Method::PUT, path, Some(json!({"reason": "migration"}))).await;
    assert_eq!(locked.json()["holder"], "token");
    let problem = patch(&server, "*", json!({"level": 1})).await.problem(423, "config-locked");
    assert!(problem["detail"].as_str().unwrap().contains("locked by token: migration"));
    send(&server, Method::PUT, path, Some(json!({"reason": ""}))).await.problem(422, "bad-member");
    assert_eq!(send(&server, Method::DELETE, path, None).await.status, 204);
    assert_eq!(patch(&server, "*", json!({"level": 1})).await.status, 200);
}

#[tokio::test]
async fn registry_without_credentials_has_no_administrator() {
    let server = Server::with(|api| api.config(Some(settings()))).await;
    for path in ["/api/v1/config", "/api/v1/config/history"] {
        server.get(path).await.problem(403, "open-registry");
    }
    let request = server.request(Method::PATCH, "/api/v1/config").json(&json!({"level": 1}));
    ApiResponse::read(request).await.problem(403, "open-registry");
}

#[tokio::test]
async fn server_whose_settings_do_not_change_says_so() {
    let server = Server::with(|api| api.token(Some("secret"))).await;
    let response = send(&server, Method::GET, "/api/v1/config", None).await;
    response.problem(404, "fixed-config");
}
