//! Who may do what: every operation by clients with each right, as a table that is also the page `docs/permissions.md`.

use std::fmt::Write;
use std::sync::Arc;

use portolan_access::{Grants, Identities, Right, Rule, digest};
use portolan_core::Revision;
use portolan_http::{AccessControl, Authenticator};
use portolan_registry::{CommandOrigin, SettingsChange, SettingsKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::config::settings;
use super::support::{ApiResponse, Server};
use super::watching::Events;
use crate::routes::ROUTES;

/// The page with the table.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");

const INTRODUCTION: &str = "\
# Permissions

What a request needs. This table is generated from the test `permissions_are_as_the_page_says`, which sends each request with the
token of an identity that has one right for the services `api` and `api-*`, and no other.
[access-control.md](access-control.md) says how identities get rights.

`yes`: the request succeeds. `no`: it is refused with 403 and the name of the missing right. `401`: it needs a token.

";

/// A client.
struct Role {
    name: &'static str,
    rights: &'static [Right],
    token: Option<&'static str>,
}

const ROLES: [Role; 9] = [
    role("none", &[]),
    role("read", &[Right::Read]),
    role("watch", &[Right::Watch]),
    role("register", &[Right::Register]),
    role("heartbeat", &[Right::Heartbeat]),
    role("configure", &[Right::Configure]),
    role("metrics", &[Right::Metrics]),
    role("administer", &[Right::Administer]),
    Role { name: "no token", rights: &[], token: None },
];

const fn role(name: &'static str, rights: &'static [Right]) -> Role {
    Role { name, rights, token: Some(name) }
}

/// A request with the name of a service in place of `NAME`.
struct Operation {
    method: Method,
    path: &'static str,
    /// The path in [`ROUTES`].
    route: &'static str,
    body: Option<Value>,
    label: &'static str,
}

fn operation(
    method: Method,
    route: &'static str,
    path: &'static str,
    body: Option<Value>,
    label: &'static str,
) -> Operation {
    Operation { method, path, route, body, label }
}

fn operations() -> Vec<Operation> {
    let one = "/api/v1/services/{id}";
    let service = || json!({"name": "NAME", "id": "NAME-1", "host": "HOST", "port": 8081});
    let in_batch = |op: Value| Some(json!({"operations": [op]}));
    let on_one = |op: &str| in_batch(json!({"op": op, "id": "NAME-1"}));
    let report = json!({"op": "health", "id": "NAME-1", "status": "warning"});
    let (list, watch, batch) = ("/api/v1/services", "/api/v1/watch", "/api/v1/batch");
    let (config, changes, lock) =
        ("/api/v1/config", "/api/v1/config/history", "/api/v1/config/lock");
    let status = || Some(json!({"status": "warning"}));
    let (get, head, put, post) = (Method::GET, Method::HEAD, Method::PUT, Method::POST);
    let beat = "/api/v1/services/{id}/heartbeat";
    let health = "/api/v1/services/{id}/health";
    let (settings, history) = ("/api/v1/settings/{name}", "/api/v1/settings/{name}/history");
    let (rollback, schema) = ("/api/v1/settings/{name}/rollback", "/api/v1/settings/{name}/schema");
    let (follow, set) = ("/api/v1/settings/{name}/watch", Method::PUT);
    let checks = "/api/v1/checks";
    let session = "/api/v1/services/{id}/session";
    let check = "/api/v1/services/{id}/check";
    #[rustfmt::skip]
    let operations = vec![
        operation(get.clone(), list, "/api/v1/services?name=NAME", None, "list"),
        operation(head.clone(), list, "/api/v1/services?name=NAME", None, "list"),
        operation(get.clone(), one, "/api/v1/services/NAME-1", None, "read"),
        operation(head.clone(), one, "/api/v1/services/NAME-1", None, "read"),
        operation(get.clone(), watch, "/api/v1/watch?name=NAME", None, "watch"),
        operation(head.clone(), watch, "/api/v1/watch?name=NAME", None, "watch"),
        operation(post.clone(), list, "/api/v1/services", Some(service()), "register"),
        operation(put.clone(), one, "/api/v1/services/NAME-1", Some(service()), "register"),
        operation(Method::DELETE, one, "/api/v1/services/NAME-1", None, "deregister"),
        operation(put.clone(), beat, "/api/v1/services/NAME-1/heartbeat", None, "heartbeat"),
        operation(get.clone(), health, "/api/v1/services/NAME-1/health", None, "read health"),
        operation(head.clone(), health, "/api/v1/services/NAME-1/health", None, "read health"),
        operation(get.clone(), checks, "/api/v1/checks?name=NAME", None, "list checks"),
        operation(head.clone(), checks, "/api/v1/checks?name=NAME", None, "list checks"),
        operation(put, health, "/api/v1/services/NAME-1/health", status(), "health"),
        operation(post.clone(), session, "/api/v1/services/NAME-1/session", None, "session"),
        operation(post.clone(), check, "/api/v1/services/NAME-1/check", None, "report a failed connection"),
        operation(post.clone(), batch, batch, in_batch(json!({"op": "register", "service": service()})), "register"),
        operation(post.clone(), batch, batch, on_one("deregister"), "deregister"),
        operation(post.clone(), batch, batch, on_one("heartbeat"), "heartbeat"),
        operation(post, batch, batch, in_batch(report), "health"),
        operation(get.clone(), "/api/v1/settings", "/api/v1/settings", None, "list settings"),
        operation(head.clone(), "/api/v1/settings", "/api/v1/settings", None, "list settings"),
        operation(get.clone(), settings, "/api/v1/settings/NAME", None, "read settings"),
        operation(head.clone(), settings, "/api/v1/settings/NAME", None, "read settings"),
        operation(set, settings, "/api/v1/settings/NAME", Some(json!({"a": 1})), "set"),
        operation(Method::PATCH, settings, "/api/v1/settings/NAME", Some(json!({"a": 1})), "change"),
        operation(Method::DELETE, settings, "/api/v1/settings/NAME", None, "delete"),
        operation(get.clone(), history, "/api/v1/settings/NAME/history", None, "versions"),
        operation(head.clone(), history, "/api/v1/settings/NAME/history", None, "versions"),
        operation(Method::POST, rollback, "/api/v1/settings/NAME/rollback", Some(json!({"version": 1})), "restore"),
        operation(get.clone(), schema, "/api/v1/settings/NAME/schema", None, "read the schema"),
        operation(head.clone(), schema, "/api/v1/settings/NAME/schema", None, "read the schema"),
        operation(Method::PUT, schema, "/api/v1/settings/NAME/schema", Some(json!({})), "set the schema"),
        operation(Method::DELETE, schema, "/api/v1/settings/NAME/schema", None, "remove the schema"),
        operation(get.clone(), follow, "/api/v1/settings/NAME/watch", None, "watch settings"),
        operation(head.clone(), follow, "/api/v1/settings/NAME/watch", None, "watch settings"),
        operation(get.clone(), config, config, None, "read the settings of the server"),
        operation(head.clone(), config, config, None, "read the settings of the server"),
        operation(Method::PATCH, config, config, Some(json!({})), "change the settings of the server"),
        operation(get.clone(), changes, changes, None, "read the history of the settings of the server"),
        operation(head.clone(), changes, changes, None, "read the history of the settings of the server"),
        operation(Method::PUT, lock, lock, Some(json!({"reason": "test"})), "lock the settings of the server"),
        operation(Method::DELETE, lock, lock, None, "unlock the settings of the server"),
        operation(get.clone(), "/metrics", "/metrics", None, "metrics"),
        operation(head.clone(), "/metrics", "/metrics", None, "metrics"),
        operation(get.clone(), "/healthz", "/healthz", None, "liveness"),
        operation(head.clone(), "/healthz", "/healthz", None, "liveness"),
        operation(get.clone(), "/readyz", "/readyz", None, "readiness"),
        operation(head.clone(), "/readyz", "/readyz", None, "readiness"),
        operation(get, "/openapi.json", "/openapi.json", None, "API description"),
        operation(head, "/openapi.json", "/openapi.json", None, "API description"),
    ];
    operations
}

fn rules(rights: &[Right]) -> Vec<Rule> {
    let parse = |text: &str| text.parse().unwrap();
    let services = vec![parse("api"), parse("api-*")];
    let scopes = vec!["default".parse().unwrap()];
    match rights {
        [] => Vec::new(),
        rights => vec![Rule { rights: rights.to_vec(), scopes, services, addresses: Vec::new() }],
    }
}

fn identities() -> Identities {
    ROLES.iter().fold(Identities::default(), |identities, role| match role.token {
        Some(token) => {
            let grants = Grants::new(role.name, rules(role.rights), Revision(0));
            identities.with_token(digest(token), grants)
        }
        None => identities,
    })
}

async fn server() -> (watch::Sender<Arc<AccessControl>>, Server) {
    let access = AccessControl::open().with_identities(identities());
    let access = watch::Sender::new(Arc::new(access));
    let receiver = access.subscribe();
    let server = Server::with(|api| {
        api.authenticator(Authenticator::following(receiver)).config(Some(settings()))
    })
    .await;
    (access, server)
}

impl Operation {
    async fn send(&self, server: &Server, role: &Role, name: &str) -> StatusCode {
        let request = server.request(self.method.clone(), &self.path.replace("NAME", name));
        let request = match &self.body {
            Some(body) => {
                let body: Value = serde_json::from_str(
                    &body.to_string().replace("NAME", name).replace("HOST", &host(name)),
                )
                .unwrap();
                request.json(&body)
            }
            None => request,
        };
        let request = match role.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        // Watches and sessions have no end.
        if self.route.ends_with("/watch") || self.route.ends_with("/session") {
            return request.send().await.unwrap().status();
        }
        let response = ApiResponse::read(request).await;
        match self.route {
            "/api/v1/batch" if response.status == 200 => {
                let status = response.json()["results"][0]["status"].as_u64().unwrap();
                StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap()
            }
            _ => response.status,
        }
    }
}

fn cell(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=204 => "yes",
        401 => "401",
        403 => "no",
        other => panic!("status {other}"),
    }
}

/// An address of this host for each service, so that none displaces another.
fn host(name: &str) -> String {
    format!("127.0.0.{}", name.bytes().fold(0, u8::wrapping_add))
}

/// Registers the instance with the id NAME-1.
async fn prepare(server: &Server, name: &str) {
    let registration =
        json!({"name": name, "id": format!("{name}-1"), "host": host(name), "port": 8080});
    let registration = serde_json::from_value(registration).unwrap();
    server.registry.register(registration, CommandOrigin::local()).await.unwrap();
    let key = SettingsKey { scope: "default".parse().unwrap(), name: name.parse().unwrap() };
    for change in [SettingsChange::Set(json!({"a": 1})), SettingsChange::Schema(Some(json!({})))] {
        let settings = server.registry.settings();
        settings.change(&key, change, None, &CommandOrigin::local()).await.unwrap();
    }
}

#[tokio::test]
async fn permissions_are_as_the_page_says() {
    let (_access, server) = server().await;
    let mut page = INTRODUCTION.to_owned();
    let columns: Vec<_> = ROLES.iter().map(|role| role.name).collect();
    writeln!(page, "| request | operation | service | {} |", columns.join(" | ")).unwrap();
    writeln!(page, "| --- | --- | --- |{}", " --- |".repeat(ROLES.len())).unwrap();
    for operation in operations() {
        let concerns_service = !operation.route.starts_with("/api/v1/config")
            && (operation.path.contains("NAME") || operation.body.is_some());
        let names: &[_] = if concerns_service { &["api", "db"] } else { &["api"] };
        for name in names {
            let mut cells = Vec::new();
            for role in &ROLES {
                prepare(&server, name).await;
                cells.push(cell(operation.send(&server, role, name).await));
            }
            let object = match (concerns_service, *name) {
                (false, _) => "",
                (true, "api") => "of the rule",
                (true, _) => "another",
            };
            let Operation { method, route, label, .. } = &operation;
            writeln!(page, "| `{method} {route}` | {label} | {object} | {} |", cells.join(" | "))
                .unwrap();
        }
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert_eq!(page, written, "run the test with INSTA_UPDATE=always");
}

#[test]
fn every_operation_is_in_the_table() {
    let operations = operations();
    for route in ROUTES {
        for method in route.methods.split(", ") {
            let has = |operation: &Operation| {
                (operation.route, operation.method.as_str()) == (route.path, method)
            };
            assert!(operations.iter().any(has), "{method} {}", route.path);
        }
    }
}

#[tokio::test]
async fn lists_and_watches_show_what_may_be_read() {
    let (_access, server) = server().await;
    prepare(&server, "api").await;
    prepare(&server, "db").await;
    let request = server.request(Method::GET, "/api/v1/services").bearer_auth("read");
    let own = ApiResponse::read(request).await;
    let names = |listing: &Value, member: &str| -> Vec<String> {
        let listed = listing[member].as_array().unwrap();
        listed.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&own.json(), "services"), ["api"]);
    let all = server.request(Method::GET, "/api/v1/services").bearer_auth("administer");
    let all = ApiResponse::read(all.header("if-none-match", own.header("etag"))).await;
    assert_eq!(all.status, 200, "another client's representation");
    assert_eq!(names(&all.json(), "services"), ["api", "db"]);

    let watch = server.request(Method::GET, "/api/v1/watch").bearer_auth("watch");
    let mut events = Events::of_request(watch).await;
    assert_eq!(names(&events.next().await.unwrap().data, "endpoints"), ["api"]);
    for name in ["db-2", "db", "api-2"] {
        prepare(&server, name).await;
    }
    let next = events.next().await.unwrap();
    assert_eq!(
        (next.event.as_str(), &next.data["endpoint"]["name"]),
        ("registered", &json!("api-2"))
    );
}

#[tokio::test]
async fn refusal_names_the_missing_right() {
    let (_access, server) = server().await;
    prepare(&server, "db").await;
    let request = server.request(Method::GET, "/api/v1/services/db-1").bearer_auth("read");
    let problem = ApiResponse::read(request).await.problem(403, "missing-right");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("read may not read db: the right `read` is missing"), "{detail}");
    let request = server.request(Method::DELETE, "/api/v1/services/db-1").bearer_auth("read");
    let problem = ApiResponse::read(request).await.problem(403, "missing-right");
    assert!(problem["detail"].as_str().unwrap().contains("the right `register` is missing"));
    let page = server.request(Method::GET, "/metrics").bearer_auth("metrics");
    let page = ApiResponse::read(page).await.text;
    assert!(page.contains("{reason=\"right\"} 1"), "{page}");
}

#[tokio::test]
async fn watch_ends_when_the_rights_of_its_client_change_and_resumes_with_a_snapshot() {
    let (access, server) = server().await;
    prepare(&server, "api").await;
    prepare(&server, "db").await;
    let watch = |last: Option<&str>| {
        let request = server.request(Method::GET, "/api/v1/watch").bearer_auth("watch");
        match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        }
    };
    let mut events = Events::of_request(watch(None)).await;
    let first = events.next().await.unwrap();

    let since = server.registry.revision();
    let everything = Rule {
        rights: vec![Right::Watch],
        scopes: vec!["*".parse().unwrap()],
        services: vec!["*".parse().unwrap()],
        addresses: Vec::new(),
    };
    let grants = Grants::new("watch", vec![everything], Revision(since.0 + 1));
    let changed = Identities::default().with_token(digest("watch"), grants);
    access.send_replace(Arc::new(AccessControl::open().with_identities(changed)));
    assert!(events.next().await.is_none(), "the stream has ended");

    let mut resumed = Events::of_request(watch(Some(&first.id))).await;
    let snapshot = resumed.next().await.unwrap();
    assert_eq!(snapshot.event, "snapshot");
    assert_eq!(snapshot.data["endpoints"].as_array().unwrap().len(), 2);

    access.send_replace(Arc::new(AccessControl::with_token("another")));
    assert!(resumed.next().await.is_none());
    ApiResponse::read(watch(None)).await.problem(403, "wrong-token");
}
