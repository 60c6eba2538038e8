//! A registry whose registration belongs to another registrant.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_client::{RegistryClient, RegistryClientConfig};
use portolan_core::{Action, Ttl};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Channel, HEARTBEAT, join, next_with, registration, until};
use crate::{Agent, AgentError};

/// Accepts registrations or refuses them, and answers everything else with 409.
struct Owned {
    client: RegistryClient,
    requests: Arc<Mutex<Vec<String>>>,
    _server: AbortOnDropHandle<()>,
}

impl Owned {
    async fn start(accepts: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::default();
        let app = Router::new().fallback(answer).with_state((accepts, Arc::clone(&requests)));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let client = RegistryClient::new(RegistryClientConfig::new(url)).unwrap();
        Self { client, requests, _server: AbortOnDropHandle::new(server) }
    }

    /// The requests but for those of sessions, which are made beside the others.
    fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock();
        requests.iter().filter(|request| !request.contains("/session?")).cloned().collect()
    }
}

async fn answer(
    State((accepts, requests)): State<(bool, Arc<Mutex<Vec<String>>>)>,
    request: Request,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    requests.lock().push(format!("{method} {uri}"));
    let is_registration = method == Method::PUT && !uri.path().ends_with("/heartbeat");
    if accepts && is_registration {
        let endpoint = registration(80).into_endpoint(Ttl::DEFAULT, Timestamp::now());
        return (StatusCode::CREATED, Json(endpoint)).into_response();
    }
    (StatusCode::CONFLICT, r#"{"detail": "it belongs to another incarnation"}"#).into_response()
}

#[tokio::test]
async fn replaced_agent_neither_renews_nor_deregisters_the_registration_of_the_other() {
    let registry = Owned::start(true).await;
    let agent = Agent::builder(registration(80))
        .registry(registry.client.clone())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    let incarnation = agent.endpoint().incarnation.expect("every agent has one");
    until("a heartbeat", || registry.requests().len() > 1).await;
    let heartbeat =
        format!("PUT /api/v1/services/api@10.0.0.1:80/heartbeat?incarnation={incarnation}");
    assert_eq!(registry.requests()[1..], [heartbeat]);
    // It would register the new version, and renew it ten times.
    agent.update(portolan_core::Registration { version: "2".into(), ..registration(80) }).unwrap();
    assert_eq!(agent.endpoint().incarnation, Some(incarnation), "an update is of the same run");
    tokio::time::sleep(HEARTBEAT * 10).await;
    agent.stop().await;
    assert_eq!(registry.requests().len(), 2, "{:?}", registry.requests());
}

#[tokio::test]
async fn replaced_agent_neither_answers_queries_nor_announces_that_the_instance_is_gone() {
    let (registry, channel) = (Owned::start(true).await, Channel::new());
    let listener = join(&channel.network, 3);
    let mut heard = listener.listen();
    let agent = Agent::builder(registration(80))
        .registry(registry.client.clone())
        .broadcaster(channel.own.clone())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    next_with(&mut heard, Action::Register).await;
    until("a heartbeat", || registry.requests().len() > 1).await;
    let silent = async { while !channel.query().await.is_empty() {} };
    tokio::time::timeout(super::SOON, silent).await.expect("no answers in time");
    agent.stop().await;
    // The newcomer is heard after whatever the replaced agent has sent.
    let other = join(&channel.network, 4);
    let endpoint = registration(81).into_endpoint(Ttl::DEFAULT, Timestamp::now());
    other.announce(Action::Register, &endpoint).await.unwrap();
    loop {
        let received = heard.next().await.expect("the channel is open");
        assert_ne!(received.announcement.action, Action::Deregister);
        if received.announcement.service.port == 81 {
            return;
        }
    }
}

#[tokio::test]
async fn metadata_that_the_agent_sets_is_refused_and_not_replaced() {
    let registry = Owned::start(true).await;
    let mut reserved = registration(80);
    reserved.metadata.insert("checked_by".to_owned(), "me".to_owned());
    let builder = Agent::builder(reserved).registry(registry.client.clone());
    let check: portolan_health::CheckSpec = "tcp".parse().unwrap();
    let error = builder.check(check).start().await.unwrap_err();
    assert!(error.to_string().contains("metadata.checked_by: \"me\" was given"), "{error}");
    assert!(registry.requests().is_empty());
}

#[tokio::test]
async fn agent_does_not_deregister_an_id_that_it_could_not_register() {
    let registry = Owned::start(false).await;
    let started = Agent::builder(registration(80)).registry(registry.client.clone()).start().await;
    assert!(matches!(started, Err(AgentError::Registry(_))), "{started:?}");
    let requests = registry.requests();
    assert!(!requests.iter().any(|request| request.starts_with("DELETE")), "{requests:?}");
}

#[tokio::test]
async fn each_run_of_an_agent_has_an_incarnation_of_its_own() {
    let registry = Owned::start(true).await;
    let mut incarnations = Vec::new();
    for _ in 0..2 {
        let builder = Agent::builder(registration(80)).registry(registry.client.clone());
        incarnations.push(builder.start().await.unwrap().endpoint().incarnation);
    }
    assert_ne!(incarnations[0], incarnations[1]);
}
