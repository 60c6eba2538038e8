use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use portolan_core::{Action, Change, HealthStatus, Host, Registration};

use super::*;

fn endpoint(name: &str) -> ServiceEndpoint {
    let host: Host = "10.0.0.1".parse().unwrap();
    let registration = Registration::new(name.parse().unwrap(), host, 8080);
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::now())
}

fn origin(host: u8, number: Option<Number>) -> Origin {
    Origin { source: IpAddr::from([10, 0, 0, host]), number }
}

fn apply(peers: &Peers, action: Action, service: ServiceEndpoint) {
    apply_from(peers, action, service, None);
}

fn apply_from(peers: &Peers, action: Action, service: ServiceEndpoint, number: Option<Number>) {
    peers
        .apply(action, &Arc::new(service), Ttl::DEFAULT, origin(1, number), Instant::now())
        .unwrap();
}

fn watch(peers: &Arc<Peers>) -> PeerEvents {
    PeerEvents::new(Arc::clone(peers))
}

/// What the stream has ready, as kinds of change.
fn kinds(events: &mut PeerEvents) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        kinds.push(event.change.kind());
    }
    kinds
}

fn number(sequence: u64) -> Option<Number> {
    Some(Number { sender: "a".into(), sequence, is_signed: true })
}

#[tokio::test(start_paused = true)]
async fn each_change_is_reported_once() {
    let peers = Arc::new(Peers::new(10));
    let mut events = watch(&peers);
    let mut api = endpoint("api");
    apply(&peers, Action::Register, api.clone());
    apply(&peers, Action::Heartbeat, api.clone());
    apply(&peers, Action::Update, api.clone());
    api.version = "2".into();
    apply(&peers, Action::Heartbeat, api.clone());
    api.health = HealthStatus::Critical;
    apply(&peers, Action::Heartbeat, api.clone());
    apply(&peers, Action::Deregister, api.clone());
    apply(&peers, Action::Deregister, api.clone());
    let expected = ["snapshot", "registered", "updated", "health", "deregistered"];
    assert_eq!(kinds(&mut events), expected);
    assert!(peers.find(None, &[]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn instance_expires_unless_a_heartbeat_renews_its_ttl() {
    let peers = Arc::new(Peers::new(10));
    let mut events = watch(&peers);
    let expiring = tokio::spawn({
        let peers = Arc::clone(&peers);
        async move { peers.keep_expiring().await }
    });
    apply(&peers, Action::Register, endpoint("api"));
    tokio::time::sleep(Duration::from_secs(59)).await;
    apply(&peers, Action::Heartbeat, endpoint("api"));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(kinds(&mut events), ["snapshot", "registered"]);
    assert_eq!(peers.count(Some(&"api".parse().unwrap())), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(kinds(&mut events), ["expired"]);
    assert_eq!(peers.count(None), 0);
    expiring.abort();
}

#[tokio::test(start_paused = true)]
async fn heartbeat_after_a_deregistration_does_not_restore_the_instance() {
    let peers = Arc::new(Peers::new(10));
    apply_from(&peers, Action::Register, endpoint("api"), number(1));
    apply_from(&peers, Action::Deregister, endpoint("api"), number(3));
    apply_from(&peers, Action::Heartbeat, endpoint("api"), number(2));
    assert!(peers.find(None, &[]).is_empty());
    apply_from(&peers, Action::Register, endpoint("api"), number(4));
    assert_eq!(peers.find(None, &[]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tombstone_expires_without_an_event() {
    let peers = Arc::new(Peers::new(10));
    let mut events = watch(&peers);
    apply(&peers, Action::Register, endpoint("api"));
    apply(&peers, Action::Deregister, endpoint("api"));
    tokio::time::sleep(Duration::from_secs(6)).await;
    peers.expire(Instant::now());
    assert_eq!(kinds(&mut events), ["snapshot", "registered", "deregistered"]);
    assert_eq!(peers.inner.lock().state.next_expiry(), None);
}

#[tokio::test(start_paused = true)]
async fn number_of_instances_is_bounded_and_known_ones_stay() {
    let peers = Arc::new(Peers::new(2));
    apply(&peers, Action::Register, endpoint("a"));
    apply(&peers, Action::Register, endpoint("b"));
    let service = endpoint("c");

    assert_eq!(
        peers.apply(
            Action::Register,
            &Arc::new(service),
            Ttl::DEFAULT,
            origin(1, None),
            Instant::now()
        ),
        Err(Full)
    );
    apply(&peers, Action::Heartbeat, endpoint("b"));
    assert_eq!(peers.count(None), 2);
}

#[tokio::test(start_paused = true)]
async fn watcher_that_missed_changes_gets_a_snapshot() {
    let peers = Arc::new(Peers::new(10));
    let mut events = watch(&peers);
    assert_eq!(kinds(&mut events), ["snapshot"]);
    for _ in 0..BACKLOG {
        apply(&peers, Action::Register, endpoint("api"));
        apply(&peers, Action::Deregister, endpoint("api"));
    }
    apply(&peers, Action::Register, endpoint("api"));
    let event = events.next().await.unwrap();
    let Change::Snapshot { endpoints, .. } = event.change else { panic!("{event:?}") };
    assert_eq!(endpoints.len(), 1);
    assert_eq!(kinds(&mut events), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn instances_are_found_by_name_and_scope() {
    let peers = Arc::new(Peers::new(10));
    let mut shop = endpoint("api");
    shop.scope = "shop".parse().unwrap();
    shop.id = "shop-api".parse().unwrap();
    apply(&peers, Action::Register, shop.clone());
    apply(&peers, Action::Register, endpoint("api"));
    apply(&peers, Action::Register, endpoint("db"));
    let api = "api".parse().unwrap();
    assert_eq!(peers.find(Some(&api), &[]).len(), 2);
    let found = peers.find(Some(&api), std::slice::from_ref(&shop.scope));
    assert_eq!(found.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["shop-api"]);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_streams() {
    let peers = Arc::new(Peers::new(10));
    let mut before = watch(&peers);
    peers.close();
    assert_eq!(before.next().await.unwrap().change.kind(), "snapshot");
    assert_eq!(before.next().await, None);
    assert_eq!(watch(&peers).next().await, None);
    assert_eq!(format!("{before:?}"), "PeerEvents { .. }");
}

#[tokio::test(start_paused = true)]
async fn unsigned_sequence_number_does_not_mute_its_sender() {
    let peers = Arc::new(Peers::new(10));
    let unsigned = |sequence| Some(Number { sender: "a".into(), sequence, is_signed: false });
    apply_from(&peers, Action::Register, endpoint("api"), unsigned(u64::MAX));
    let moved = || ServiceEndpoint { version: "2".into(), ..endpoint("api") };
    apply_from(&peers, Action::Heartbeat, moved(), unsigned(7));
    assert_eq!(peers.find(None, &[])[0].version, "", "a reordered message is older");
    tokio::time::advance(Duration::from_secs(6)).await;
    apply_from(&peers, Action::Heartbeat, moved(), unsigned(8));
    assert_eq!(peers.find(None, &[])[0].version, "2");
}

#[tokio::test(start_paused = true)]
async fn source_with_made_up_instances_makes_room_for_others() {
    let peers = Arc::new(Peers::new(1_000));
    let announce = |host, name: String| {
        let service = ServiceEndpoint { id: name.parse().unwrap(), ..endpoint(&name) };
        let action = Action::Register;
        peers.apply(action, &Arc::new(service), Ttl::DEFAULT, origin(host, None), Instant::now())
    };
    announce(1, "honest-before".into()).unwrap();
    let made_up = (0..10_000).filter(|number| announce(66, format!("made-up-{number}")).is_ok());
    assert_eq!(made_up.count(), 999, "only as many as fit");
    for number in 0..100 {
        announce(2, format!("honest-{number}")).unwrap();
    }
    assert_eq!(announce(66, "one-more".into()), Err(Full));
    let found = peers.find(None, &[]);
    assert_eq!(found.iter().filter(|it| it.name.as_str().starts_with("honest")).count(), 101);
    assert_eq!(found.len(), 1_000);
}
