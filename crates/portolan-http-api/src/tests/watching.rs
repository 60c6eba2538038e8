use std::time::Duration;

use futures_util::{Stream, StreamExt};
use portolan_http::HttpLimits;
use portolan_registry::{CommandOrigin, RegistryConfig};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::contract;
use super::support::{ApiResponse, Server, TEST_TIMEOUT, api};
use crate::Api;

/// One server-sent event.
#[derive(Debug)]
pub(super) struct SentEvent {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) data: Value,
}

pub(super) struct Events {
    chunks: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>>>>,
    text: String,
}

impl Events {
    async fn open(server: &Server, query: &str, last: Option<&str>) -> Self {
        let mut request = server.request(Method::GET, &format!("/api/v1/watch{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self::of_request(request).await
    }

    pub(super) async fn of_request(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { chunks: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// Returns the next event, or `None` once the stream has ended.
    pub(super) async fn next(&mut self) -> Option<SentEvent> {
        self.next_of("/components/schemas/Event").await
    }

    /// Returns the next event, whose data meets a schema of the document.
    pub(super) async fn next_of(&mut self, schema: &str) -> Option<SentEvent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim().to_owned())
                };
                if let (Some(id), Some(event), Some(data)) =
                    (field("id:"), field("event:"), field("data:"))
                {
                    let data = serde_json::from_str(&data).unwrap();
                    contract::assert_valid(schema, &data);
                    return Some(SentEvent { id, event, data });
                }
                continue;
            }
            let chunk = timeout(TEST_TIMEOUT, self.chunks.next()).await.expect("no event")?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn kinds(&mut self, count: usize) -> Vec<String> {
        let mut kinds = Vec::new();
        while kinds.len() < count {
            kinds.push(self.next().await.unwrap().event);
        }
        kinds
    }
}

#[tokio::test]
async fn watch_sends_a_snapshot_and_then_every_change() {
    let server = Server::start().await;
    server.register(api(1)).await;
    let mut events = Events::open(&server, "", None).await;
    let snapshot = events.next().await.unwrap();
    assert_eq!(snapshot.event, "snapshot");
    assert_eq!(snapshot.data["endpoints"][0]["port"], 1);

    server.register(api(2)).await;
    let newer = json!({"name": "api", "host": "127.0.0.1", "port": 2, "version": "2", "ttl": 1});
    server.register(newer).await;
    let health = json!({"status": "passing"});
    server.send(Method::PUT, "/api/v1/services/api@127.0.0.1:2/health", health).await;
    ApiResponse::read(server.request(Method::DELETE, "/api/v1/services/api@127.0.0.1:1")).await;
    let registered = events.next().await.unwrap();
    assert_eq!(
        (registered.event.as_str(), &registered.data["type"]),
        ("registered", &json!("registered"))
    );
    assert_eq!(registered.id, registered.data["revision"].to_string());
    assert_eq!(registered.data["endpoint"]["id"], "api@127.0.0.1:2");
    assert_eq!(events.kinds(4).await, ["updated", "health", "deregistered", "expired"]);
}

#[tokio::test]
async fn watch_resumes_after_the_last_event_id() {
    let server = Server::start().await;
    let mut first = Events::open(&server, "?name=api", None).await;
    let snapshot = first.next().await.unwrap();
    server.register(api(1)).await;
    let seen = first.next().await.unwrap().id;
    drop(first);
    server.register(api(2)).await;
    server.register(json!({"name": "db", "host": "127.0.0.1", "port": 5})).await;
    server.register(api(3)).await;

    // The URL still has the first revision; Last-Event-ID outranks it.
    let query = format!("?name=api&revision={}", snapshot.id);
    let mut second = Events::open(&server, &query, Some(&seen)).await;
    for port in [2, 3] {
        assert_eq!(second.next().await.unwrap().data["endpoint"]["port"], port);
    }
    let mut third = Events::open(&server, &query, None).await;
    assert_eq!(third.next().await.unwrap().data["endpoint"]["port"], 1);
    let mut too_old = Events::open(&server, "?revision=7", None).await;
    assert_eq!(too_old.next().await.unwrap().event, "snapshot");
}

#[tokio::test]
async fn watch_of_a_quiet_service_gets_a_bookmark_for_each_change_of_others() {
    let config =
        RegistryConfig { ttl_default: Duration::from_secs(1), ..RegistryConfig::default() };
    let often = |api: Api| api.bookmarks(Duration::from_millis(20));
    let server = Server::launch(often, HttpLimits::default(), &config).await;
    let mut events = Events::open(&server, "?name=api", None).await;
    // The second one is complete, and there is no bookmark before it.
    assert_eq!(events.kinds(2).await, ["snapshot", "snapshot"]);
    for port in [5, 6] {
        let other = json!({"name": "db", "host": "127.0.0.1", "port": port});
        let revision = server.register(other).await.json()["revision"].clone();
        let bookmark = events.next().await.unwrap();
        assert_eq!(
            (bookmark.event.as_str(), &bookmark.data["type"]),
            ("bookmark", &"bookmark".into())
        );
        assert_eq!((&bookmark.data["revision"], &bookmark.id), (&revision, &revision.to_string()));
    }
    server.register(api(1)).await;
    assert_eq!(events.next().await.unwrap().event, "registered");
}

#[tokio::test]
async fn watch_is_filtered_by_name_and_scope() {
    let server = Server::start().await;
    let mut events = Events::open(&server, "?name=api,web&scope=shop", None).await;
    assert_eq!(events.next().await.unwrap().data["endpoints"], json!([]));
    for (name, scope, port) in [("api", "default", 1), ("db", "shop", 2), ("web", "shop", 3)] {
        let service = json!({"name": name, "host": "127.0.0.1", "port": port, "scope": scope});
        server.register(service).await;
    }
    assert_eq!(events.next().await.unwrap().data["endpoint"]["port"], 3);
}

#[tokio::test]
async fn watch_from_the_revision_of_a_list_misses_nothing() {
    let server = Server::start().await;
    server.register(api(1)).await;
    let listed = server.get("/api/v1/services?name=api").await.json();
    server.register(api(2)).await;
    let query = format!("?name=api&revision={}", listed["revision"]);
    let mut events = Events::open(&server, &query, None).await;
    let next = events.next().await.unwrap();
    assert_eq!((next.event.as_str(), &next.data["endpoint"]["port"]), ("registered", &json!(2)));
}

#[tokio::test]
async fn watch_ends_at_once_at_shutdown() {
    let drain = Duration::from_secs(3600);
    let mut server = Server::with_limits(HttpLimits { drain, ..HttpLimits::default() }).await;
    let mut events = Events::open(&server, "", None).await;
    events.next().await.unwrap();
    server.stop().await;
    assert!(events.next().await.is_none(), "ended, not cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn resumed_watches_miss_nothing_under_concurrent_writes() {
    const CHANGES: u64 = 240;
    let server = Server::start().await;
    let mut events = Events::open(&server, "", None).await;
    let start = events.next().await.unwrap();
    let start: u64 = start.id.parse().unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let registry = server.registry.clone();
            tokio::spawn(async move {
                for step in 0..CHANGES / 4 {
                    let service = json!({"name": "api", "host": "127.0.0.1", "port": 1 + writer,
                        "version": step.to_string()});
                    let service = serde_json::from_value(service).unwrap();
                    registry.register(service, CommandOrigin::local()).await.unwrap();
                }
            })
        })
        .collect();
    for step in 1..=CHANGES {
        let event = events.next().await.unwrap();
        assert_eq!(event.id, (start + step).to_string(), "each change makes the next revision");
        if step % 7 == 0 {
            events = Events::open(&server, "", Some(&event.id)).await;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn watch_of_another_host_has_reachable_addresses_only() {
    let server = Server::behind_a_proxy().await;
    server.register(api(1)).await;
    let request = server.request(Method::GET, "/api/v1/watch");
    let mut watch = Events::of_request(request.header("x-forwarded-for", "10.0.0.9")).await;
    let snapshot = watch.next().await.unwrap().data;
    assert_eq!((&snapshot["endpoints"], &snapshot["incomplete"]), (&json!([]), &json!(true)));
    server.register(api(2)).await;
    let mut service = api(3);
    service["addresses"] = json!(["10.0.0.1"]);
    let id = server.register(service.clone()).await.json()["id"].clone();
    let registered = watch.next().await.unwrap();
    assert_eq!(
        (&*registered.event, &registered.data["endpoint"]["host"]),
        ("registered", &json!("10.0.0.1"))
    );
    // It listens on loopback only from now on.
    service["addresses"] = json!([]);
    server.register(service).await;
    let gone = watch.next().await.unwrap();
    assert_eq!((&*gone.event, &gone.data["endpoint"]["id"]), ("deregistered", &id));
}
