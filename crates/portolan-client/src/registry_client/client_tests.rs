use std::time::Duration;

use futures_util::StreamExt;
use portolan_core::{Change, HealthStatus, Remedy, ServiceEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::registry_client::Readiness;
use crate::testing::{FakeRegistry, Fault, endpoint, endpoint_in, vacant};

fn client(url: impl Into<String>) -> RegistryClient {
    RegistryClient::new(RegistryClientConfig::new(url)).unwrap()
}

fn kind(event: &ServiceEvent) -> &'static str {
    event.change.kind()
}

/// Answers one connection with these bytes and closes it.
async fn answering(bytes: &'static [u8]) -> RegistryClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(bytes).await.unwrap();
    });
    client(format!("http://{address}"))
}

#[tokio::test]
async fn clock_is_read_from_the_date_header() {
    let registry = FakeRegistry::start().await;
    assert!(client(registry.url()).clock().await.unwrap().is_some());
    let dated = answering(
        b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 28\r\n\r\n\
          {\"revision\":1,\"services\":[]}",
    );
    let time = "1994-11-06T08:49:37Z".parse().unwrap();
    assert_eq!(dated.await.clock().await, Ok(Some(time)));
    let foreign = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;
    assert!(matches!(foreign.clock().await, Err(RegistryClientError::BadAnswer { .. })));
}

/// A client of several servers, which begins with the first one.
fn client_of(urls: &[String]) -> RegistryClient {
    let client = client(urls.join(","));
    client.servers.use_from_now_on(&urls[0].parse().unwrap());
    client
}

#[tokio::test]
async fn request_goes_to_the_next_server_if_one_does_not_respond() {
    let (absent, registry) = (vacant(), FakeRegistry::start().await);
    registry.put(endpoint("api", 8080));
    let client = client_of(&[absent.url(), registry.url()]);
    let query = ListQuery::named("api".parse().unwrap());
    assert_eq!(client.list(&query).await.unwrap().services.len(), 1);
    // It stays there.
    assert_eq!(client.url(), registry.url());
    let first = FakeRegistry::on(absent.listen());
    client.list(&query).await.unwrap();
    assert_eq!(first.requests(), Vec::<String>::new());
    // A server that is shutting down sends its clients away.
    registry.inject(Fault::Status(503));
    assert_eq!(client.list(&query).await.unwrap().services, []);
    assert_eq!(client.url(), first.url());
}

#[tokio::test]
async fn stale_server_is_used_only_if_all_are() {
    let (one, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    one.put(endpoint("api", 8080));
    one.stale(true);
    let client = client_of(&[one.url(), other.url()]);
    let query = ListQuery::named("api".parse().unwrap());
    let listing = client.list(&query).await.unwrap();
    assert_eq!((listing.stale, listing.services.len()), (false, 0));
    assert_eq!(client.url(), other.url());
    other.stale(true);
    let listing = client.list(&query).await.unwrap();
    assert_eq!((listing.stale, listing.view_age_ms), (true, 12_000));
    assert_eq!(client.url(), other.url(), "it stays");
}

#[tokio::test]
async fn readiness_of_a_server_has_its_reason() {
    let ready =
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"status\":\"ready\"}").await;
    assert_eq!(ready.readiness().await, Ok(Readiness::Ready));
    let read_only = answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n{\"status\":\"ready\",\"read_only\":\"full\"}",
    );
    let reason = "full".to_owned();
    assert_eq!(read_only.await.readiness().await, Ok(Readiness::ReadOnly { reason }));
    let stale = answering(
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 24\r\n\r\n{\"detail\":\"it is stale\"}",
    );
    let reason = "it is stale".to_owned();
    assert_eq!(stale.await.readiness().await, Ok(Readiness::NotReady { reason }));
    let other = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;
    assert!(matches!(other.readiness().await, Err(RegistryClientError::BadAnswer { .. })));
}

#[tokio::test(start_paused = true)]
async fn server_that_hangs_leaves_time_for_the_others() {
    let (hanging, registry) = (FakeRegistry::start().await, FakeRegistry::start().await);
    hanging.inject(Fault::Hang);
    let client = client_of(&[hanging.url(), registry.url()]);
    client.list(&ListQuery::default()).await.unwrap();
    assert_eq!(client.url(), registry.url());
}

#[tokio::test]
async fn error_names_every_server_that_does_not_respond() {
    let (one, other) = (vacant(), vacant());
    let client = client_of(&[one.url(), other.url()]);
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    let RegistryClientError::Unreachable { url, reason } = error else { panic!("{error}") };
    assert_eq!(url, format!("{}, {}", one.url(), other.url()));
    assert!(reason.contains(&one.url()) && reason.contains(&other.url()), "{reason}");
}

#[tokio::test]
async fn watch_continues_with_another_server() {
    let (one, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    other.put(endpoint("api", 8080));
    let client = client_of(&[one.url(), other.url()]);
    let mut watch = client.watch_reconnecting(WatchRequest::default());
    assert_eq!(kind(&watch.next().await.unwrap().unwrap()), "snapshot");
    one.inject(Fault::Status(503));
    one.cut();
    // The connection is lost; the watch resumes from its revision at the other server.
    watch.next().await.unwrap().unwrap_err();
    let next = watch.next().await.unwrap().unwrap();
    assert_eq!(client.url(), other.url());
    assert_eq!(kind(&next), "registered");
}

#[tokio::test]
async fn instance_is_registered_renewed_and_deregistered() {
    let registry = FakeRegistry::start().await;
    let client = client(registry.url());
    let registration = Registration::from(endpoint("api", 8080));

    let first = client.register(&registration).await.unwrap();
    assert!(first.created);
    assert_eq!(first.endpoint.id, "api@127.0.0.1:8080");
    assert!(!client.register(&registration).await.unwrap().created);

    let id = &first.endpoint.id;
    client.heartbeat(id).await.unwrap();
    let report = HealthReport::new(HealthStatus::Passing, "ok");
    client.update_health(id, &report).await.unwrap();
    assert_eq!(client.get(id).await.unwrap().health, HealthStatus::Passing);
    client.deregister(id).await.unwrap();

    let unknown = RegistryClientError::UnknownService { id: id.clone() };
    assert_eq!(client.heartbeat(id).await, Err(unknown.clone()));
    assert_eq!(client.get(id).await.unwrap_err(), unknown);
    assert_eq!(client.deregister(id).await, Err(unknown.clone()));
    assert_eq!(client.update_health(id, &report).await, Err(unknown));
}

#[tokio::test]
async fn list_sends_every_filter() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    registry.put(endpoint_in("shop", "api", 2));
    let mut query = ListQuery::named("api".parse().unwrap());
    query.scopes = vec!["shop".parse().unwrap()];
    let listing = client(registry.url()).list(&query).await.unwrap();
    assert_eq!(listing.services.len(), 1);
    assert_eq!(listing.services[0].port, 2);
    assert_eq!(listing.revision, portolan_core::Revision(102));

    query.scopes.push("default".parse().unwrap());
    query.health = vec![HealthStatus::Passing];
    query.protocol = Some("tcp".parse().unwrap());
    query.version = Some("1 & 2".into());
    query.metadata.insert("zone".into(), "ä".into());
    client(registry.url()).list(&query).await.unwrap();
    let expected = "GET /api/v1/services?name=api&scope=shop%2Cdefault&health=passing&protocol=tcp\
                    &version=1+%26+2&meta.zone=%C3%A4";
    assert_eq!(registry.requests().last().unwrap(), expected);
}

#[tokio::test]
async fn base_path_is_kept_and_id_is_escaped() {
    let registry = FakeRegistry::start().await;
    let client = client(format!("{}/behind/", registry.url()));
    let error = client.get(&"a@[::1]:1".replace(['[', ']'], "").parse().unwrap()).await;
    assert!(matches!(error, Err(RegistryClientError::UnknownService { .. })), "{error:?}");
    assert_eq!(registry.requests(), ["GET /behind/api/v1/services/a@::1:1"]);
}

#[cfg(feature = "tls")]
#[test]
fn https_is_accepted() {
    RegistryClient::new(RegistryClientConfig::new("https://localhost")).unwrap();
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_is_refused_with_the_way_to_get_it() {
    let error = RegistryClient::new(RegistryClientConfig::new("https://localhost")).unwrap_err();
    assert!(error.to_string().contains("--features full"), "{error}");
}

#[test]
fn invalid_url_is_refused_at_once() {
    for (url, expected) in [
        ("localhost:7000", "does not begin with http://"),
        ("https+srv://example.org", "list the https:// URLs of the servers"),
        ("http://", "empty host"),
        ("http://me:secret@localhost:7000", "a token does not belong in the URL"),
        ("http://localhost:7000/?a=b", "has a '?'"),
        ("", "relative URL"),
    ] {
        let error = RegistryClient::new(RegistryClientConfig::new(url)).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let config = RegistryClientConfig { token: Some("a\nb".into()), ..Default::default() };
    assert_eq!(RegistryClient::new(config).unwrap_err(), RegistryClientError::InvalidToken);
}

#[test]
fn token_is_not_in_the_debug_output() {
    let config = RegistryClientConfig { token: Some("s3cret".into()), ..Default::default() };
    let client = RegistryClient::new(config.clone()).unwrap();
    assert!(!format!("{config:?} {client:?}").contains("s3cret"));
}

#[tokio::test]
async fn refused_connection_is_unreachable_and_temporary() {
    let address = vacant();
    let client = client(address.url());
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, RegistryClientError::Unreachable { .. }), "{error:?}");
    assert!(error.is_temporary());
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn missing_response_is_unreachable_after_the_timeout() {
    let registry = FakeRegistry::start().await;
    registry.inject(Fault::Hang);
    let client = client(registry.url()).with_timeout(Duration::from_millis(50));
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    let error = client.watch(&WatchRequest::default()).await.unwrap_err();
    assert!(matches!(error, RegistryClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn unfinished_body_hits_the_same_timeout() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(format!("http://{}", listener.local_addr().unwrap()));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(head).await.unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    });
    let client = client.with_timeout(Duration::from_millis(50));
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    drop(client);
    server.await.unwrap();
}

#[tokio::test]
async fn error_statuses_map_to_errors_with_remedies() {
    let registry = FakeRegistry::start().await;
    let client = client(registry.url());
    let registration = Registration::from(endpoint("api", 8080));
    for (status, temporary, expected) in [
        (401, false, "set PORTOLAN_TOKEN"),
        (403, false, "does not permit this (403): injected"),
        (404, false, "does not speak as a registry"),
        (422, false, "refused (422): injected"),
        (429, true, "refused (429)"),
        (503, true, "refused (503)"),
        (302, false, "it answers 302 Found"),
    ] {
        registry.inject(Fault::Status(status));
        let error = client.register(&registration).await.unwrap_err();
        assert!(error.with_remedy().contains(expected), "{status}: {error}");
        assert_eq!(error.is_temporary(), temporary, "{status}");
    }
}

#[tokio::test]
async fn configured_token_is_sent() {
    let registry = FakeRegistry::start().await;
    registry.demand("s3cret");
    let error = client(registry.url()).list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, RegistryClientError::NotPermitted { status: 401, .. }), "{error:?}");
    let token = Some("s3cret".into());
    let config = RegistryClientConfig { token, ..RegistryClientConfig::new(registry.url()) };
    let client = RegistryClient::new(config).unwrap();
    client.list(&ListQuery::default()).await.unwrap();
}

#[tokio::test]
async fn response_of_another_program_is_a_bad_answer() {
    let registry = FakeRegistry::start().await;
    let client = client(registry.url());
    for body in ["", "<html>", "{\"revision\": 1}", "{\"revision\": 1, \"services\": [{}]}"] {
        registry.inject(Fault::Body(body.to_owned()));
        let error = client.list(&ListQuery::default()).await.unwrap_err();
        assert!(matches!(error, RegistryClientError::BadAnswer { .. }), "{body}: {error:?}");
        let error = client.watch(&WatchRequest::default()).await.unwrap_err();
        assert!(error.to_string().contains("not text/event-stream"), "{error}");
    }
    let error = answering(b"+PONG\r\n").await.list(&ListQuery::default()).await.unwrap_err();
    assert!(error.to_string().contains("invalid HTTP"), "{error}");
}

#[tokio::test]
async fn watch_starts_with_a_snapshot_and_continues_with_changes() {
    let registry = FakeRegistry::start().await;
    let api = endpoint("api", 1);
    registry.put(api.clone());
    let names = vec!["api".parse().unwrap()];
    let query = WatchRequest { names, ..WatchRequest::default() };
    let mut watch = client(registry.url()).watch(&query).await.unwrap();
    let first = watch.next().await.unwrap().unwrap();
    assert!(matches!(&first.change, Change::Snapshot { endpoints, .. } if endpoints.len() == 1));

    registry.put(endpoint("other", 2));
    registry.expire(&api);
    let second = watch.next().await.unwrap().unwrap();
    assert_eq!((kind(&second), second.revision.0), ("expired", 103));

    registry.cut();
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("ended the watch"), "{error}");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn malformed_event_ends_the_watch_and_unknown_kind_is_ignored() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
        event: of-the-future\ndata: ?\n\nevent: health\ndata: {\"revision\":1}\n\n";
    let mut watch = answering(head).await.watch(&WatchRequest::default()).await.unwrap();
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("a \"health\" event"), "{error}");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn reconnecting_watch_reports_each_change_once_across_a_reconnect() {
    let registry = FakeRegistry::start().await;
    let mut watch = client(registry.url()).watch_reconnecting(WatchRequest::default());
    assert_eq!(kind(&watch.next().await.unwrap().unwrap()), "snapshot");
    registry.put(endpoint("api", 1));
    assert_eq!(watch.next().await.unwrap().unwrap().revision.0, 101);

    registry.cut();
    registry.put(endpoint("api", 2));
    registry.put(endpoint("api", 3));
    assert!(watch.next().await.unwrap().unwrap_err().is_temporary());
    assert_eq!(watch.next().await.unwrap().unwrap().revision.0, 102);
    assert_eq!(watch.next().await.unwrap().unwrap().revision.0, 103);

    registry.cut();
    registry.forget();
    assert!(watch.next().await.unwrap().is_err());
    assert_eq!(kind(&watch.next().await.unwrap().unwrap()), "snapshot");
}

#[tokio::test]
async fn reconnecting_watch_resumes_from_a_bookmark() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let snapshot = r#"data: {"revision":5,"type":"snapshot","endpoints":[]}"#;
        let bookmark = r#"data: {"revision":7,"type":"bookmark"}"#;
        let body = format!("event: snapshot\n{snapshot}\n\nevent: bookmark\nid: 7\n{bookmark}\n\n");
        let mut requests = Vec::new();
        for body in [body.as_str(), ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
        requests
    });
    let mut watch = client(url).watch_reconnecting(WatchRequest::default());
    assert_eq!(watch.next().await.unwrap().unwrap().revision.0, 5);
    // A bookmark is no event.
    for _ in 0..2 {
        assert!(watch.next().await.unwrap().unwrap_err().is_temporary());
    }
    let requests = served.await.unwrap();
    assert!(requests[1].starts_with("GET /api/v1/watch?revision=7 "), "{requests:?}");
}

#[tokio::test]
async fn reconnecting_watch_waits_for_a_registry_that_starts_later() {
    let address = vacant();
    let mut watch = client(address.url()).watch_reconnecting(WatchRequest::default());
    assert!(watch.next().await.unwrap().is_err());
    assert!(watch.next().await.unwrap().is_err());
    let _registry = FakeRegistry::on(address.listen());
    let event = loop {
        if let Ok(event) = watch.next().await.unwrap() {
            break event;
        }
    };
    assert_eq!(kind(&event), "snapshot");
}

#[tokio::test]
async fn reconnecting_watch_ends_on_a_permanent_error() {
    let registry = FakeRegistry::start().await;
    registry.inject(Fault::Status(403));
    let mut watch = client(registry.url()).watch_reconnecting(WatchRequest::default());
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error, RegistryClientError::NotPermitted { .. }), "{error:?}");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn many_names_are_filtered_by_the_client() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("other", 1));
    registry.put(endpoint("api7", 2));
    let names = (0..500).map(|n| format!("api{n}").parse().unwrap()).collect();
    let query = WatchRequest { names, ..WatchRequest::default() };
    let mut watch = client(registry.url()).watch_reconnecting(query);
    let event = watch.next().await.unwrap().unwrap();
    let Change::Snapshot { endpoints, .. } = event.change else { panic!("{event:?}") };
    assert_eq!(endpoints.iter().map(|e| e.port).collect::<Vec<_>>(), [2]);
    registry.put(endpoint("other", 3));
    registry.put(endpoint("api8", 4));
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!(event.change.endpoint().unwrap().port, 4);
    assert_eq!(registry.requests(), ["GET /api/v1/watch"]);
}

#[tokio::test]
async fn incarnation_is_sent_with_the_requests_of_an_owner() {
    let registry = FakeRegistry::start().await;
    let client = client(registry.url()).with_incarnation(Incarnation::new(0xBEEF));
    let registration = Registration::from(endpoint("api", 8080));
    let id = client.register(&registration).await.unwrap().endpoint.id;
    client.heartbeat(&id).await.unwrap();
    client.update_health(&id, &HealthReport::default()).await.unwrap();
    client.deregister(&id).await.unwrap();
    let path = "/api/v1/services/api@127.0.0.1:8080";
    let query = "?incarnation=000000000000beef";
    assert_eq!(
        registry.requests()[1..],
        [
            format!("PUT {path}/heartbeat{query}"),
            format!("PUT {path}/health{query}"),
            format!("DELETE {path}{query}"),
        ]
    );
}

#[tokio::test]
async fn conflict_is_permanent_and_has_the_remedy_of_the_registry() {
    let client = answering(
        b"HTTP/1.1 409 Conflict\r\n\r\n\
          {\"detail\": \"owned by 10.0.0.1; end this service\", \"remedy\": \"end this service\"}",
    );
    let client = client.await;
    let error = client.heartbeat(&"api".parse().unwrap()).await.unwrap_err();
    let expected = RegistryClientError::Conflict {
        url: client.url().to_owned(),
        detail: "owned by 10.0.0.1".to_owned(),
        remedy: "the registry says: end this service".to_owned(),
    };
    assert_eq!(error, expected);
    // The remedy is marked as the registry's own text.
    assert!(error.with_remedy().ends_with("; the registry says: end this service"), "{error}");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn instance_out_of_reach_is_not_an_unknown_one() {
    let client = answering(
        b"HTTP/1.1 404 Not Found\r\n\r\n\
          {\"type\": \"urn:portolan:problem:out-of-reach\", \"detail\": \"on loopback\"}",
    );
    let error = client.await.get(&"api".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryClientError::OutOfReach { .. }), "{error:?}");
}
