use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use portolan_core::{HealthStatus, Pools, Remedy, ServiceId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::deadline::Deadline;

fn deadline(millis: u64) -> Deadline {
    Deadline::after(Duration::from_millis(millis))
}

fn query(name: &str, scopes: &[&str]) -> StrategyQuery {
    let mut query = StrategyQuery::new(name.parse().unwrap(), deadline(1_000));
    query.scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    query
}

fn held(holders: &[(&str, &str, u16)]) -> Vec<Reservation> {
    let reservation = |&(scope, service, port): &(&str, &str, u16)| Reservation {
        port,
        service: service.parse().unwrap(),
        scope: scope.parse().unwrap(),
        alive: true,
    };
    holders.iter().map(reservation).collect()
}

/// Returns the scope in which the default port belongs to the name, given these holders.
fn own(name: &str, scopes: &[&str], holders: &[(&str, &str, u16)]) -> Result<String, String> {
    let query = query(name, scopes);
    let ports = WellKnownPorts::default();
    let well_known = ports.get(&query.name).unwrap();
    owning_scope(&query, &well_known, &held(holders)).map(|(scope, _)| scope.to_string())
}

#[test]
fn port_belongs_to_the_service_that_holds_it() {
    let both = [("default", "postgres-1", 5432), ("default", "postgres-2", 5433)];
    assert_eq!(own("postgres-1", &["default"], &both).unwrap(), "default");
    let error = own("postgres-2", &["default"], &both).unwrap_err();
    assert!(error.contains("postgres-2 holds port 5433 here, not 5432"), "{error}");
    let error = own("postgres-3", &["default"], &both).unwrap_err();
    assert!(error.contains("port 5432 is held by postgres-1 of scope default"), "{error}");
    // The type's own name has the port only if no service holds it.
    assert!(own("postgres", &["default"], &both).is_err());
}

#[test]
fn only_the_reservation_proves_which_service_listens() {
    let proof = |holders: &[(&str, &str, u16)]| {
        let query = query("redis", &["default"]);
        let ports = WellKnownPorts::default();
        owning_scope(&query, &ports.get(&query.name).unwrap(), &held(holders)).unwrap().1
    };
    assert_eq!(proof(&[("default", "redis", 6379)]), Proof::Leased);
    assert_eq!(proof(&[]), Proof::WellKnownPort);
}

#[test]
fn service_whose_owner_has_exited_is_not_found() {
    let mut left = held(&[("default", "postgres", 5432)]);
    left[0].alive = false;
    for name in ["postgres", "postgres-1"] {
        let query = query(name, &["default"]);
        let ports = WellKnownPorts::default();
        let well_known = ports.get(&query.name).unwrap();
        let error = owning_scope(&query, &well_known, &left).unwrap_err();
        assert!(error.contains("the owner of postgres on port 5432 has exited"), "{error}");
    }
}

#[test]
fn without_reservation_only_the_own_name_of_the_type_has_the_port() {
    assert_eq!(own("postgres", &["default"], &[]).unwrap(), "default");
    assert_eq!(own("redis", &["shop", "default"], &[]).unwrap(), "shop");
    let error = own("postgres-2", &["default"], &[]).unwrap_err();
    assert!(error.contains("port 5432 cannot be attributed to postgres-2"), "{error}");
    let error = own("redis", &["default"], &[("default", "redis", 6380)]).unwrap_err();
    assert!(error.contains("redis holds port 6380 here, not 6379"), "{error}");
}

#[test]
fn nearest_scope_decides() {
    let scopes = ["shop", "default"];
    let default = ("default", "redis", 6379);
    assert_eq!(own("redis", &scopes, &[default]).unwrap(), "default");
    assert!(own("redis", &scopes, &[default, ("shop", "redis", 6380)]).is_err());
    assert!(own("redis", &scopes, &[("other", "redis", 6379)]).is_err());
    let both = [("shop", "redis", 6379), ("default", "redis", 6380)];
    assert_eq!(own("redis", &scopes, &both).unwrap(), "shop");
    // One that holds the port and others besides is still there.
    let several = [("default", "redis", 6380), default];
    assert_eq!(own("redis", &["default"], &several).unwrap(), "default");
}

/// Connects to a listener that sends this answer to any message.
async fn connecting(pool: Option<&'static str>, answer: Option<&'static [u8]>) -> StrategyOutcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 64];
        if stream.read(&mut greeting).await.unwrap_or(0) > 0 {
            match answer {
                Some(answer) => stream.write_all(answer).await.unwrap(),
                None => std::future::pending().await,
            }
        }
    });
    let pools = Pools::default();
    let pool = pool.map(|name| pools.get(name).unwrap());
    let well_known = WellKnownPort { port, pool, is_own: true };
    let mut query = query("redis", &["shop"]);
    query.deadline = deadline(400);
    let outcome = connect(&query, &well_known, "shop".parse().unwrap()).await;
    server.abort();
    outcome
}

fn reason(outcome: StrategyOutcome) -> String {
    match outcome {
        StrategyOutcome::NotFound { reason, authoritative: false } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn hit_is_an_endpoint_on_this_host() {
    let StrategyOutcome::Found(candidates) = connecting(Some("cache"), Some(b"+PONG\r\n")).await
    else {
        panic!("not found");
    };
    let endpoint = &candidates[0].endpoint;
    let expected: ServiceId = format!("shop:redis@127.0.0.1:{}", endpoint.port).parse().unwrap();
    assert_eq!(endpoint.id, expected);
    assert_eq!(endpoint.health, HealthStatus::Unknown, "a handshake is no health check");
    assert_eq!(endpoint.protocol, "tcp");
}

#[tokio::test]
async fn foreign_listener_is_not_a_hit_and_is_described() {
    let error = reason(connecting(Some("cache"), Some(b"SSH-2.0-x\r\n")).await);
    assert!(error.contains("does not speak Redis"), "{error}");
    let error = reason(connecting(Some("database"), None).await);
    assert!(error.contains("sent no answer within 400ms"), "{error}");
    assert!(matches!(connecting(None, None).await, StrategyOutcome::Found(_)));
}

#[tokio::test]
async fn closed_port_is_not_a_hit() {
    let vacant = crate::testing::vacant();
    let port = vacant.address().port();
    let well_known = WellKnownPort { port, pool: None, is_own: true };
    let outcome = connect(&query("x", &["default"]), &well_known, Scope::default()).await;
    let error = reason(outcome);
    assert!(error.contains("nothing answers on port"), "{error}");
}

#[tokio::test]
async fn unreadable_reservations_are_a_failure() {
    let reservations = crate::testing::FakeReservations::default();
    reservations.fail();
    let strategy = DefaultPort {
        ports: WellKnownPorts::default(),
        reservations: Some(Arc::new(reservations)),
    };
    let outcome = strategy.find(&query("redis", &["default"])).await;
    let StrategyOutcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.with_remedy().contains("injected; run `portolan ports list`"), "{error}");
    let outcome = strategy.find(&query("worker", &["default"])).await;
    assert!(matches!(outcome, StrategyOutcome::Skipped(_)));
}

#[tokio::test]
async fn without_reservations_only_configured_ports_are_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = NonZeroU16::new(listener.local_addr().unwrap().port()).unwrap();
    let configured = BTreeMap::from([("orders".parse().unwrap(), port)]);
    let ports = WellKnownPorts::new(configured, Pools::default());
    let strategy = DefaultPort { ports, reservations: None };
    let outcome = strategy.find(&query("redis", &["default"])).await;
    let StrategyOutcome::Skipped(reason) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("reservations of this host are not available"), "{reason}");
    let outcome = strategy.find(&query("orders", &["default"])).await;
    assert!(matches!(outcome, StrategyOutcome::Found(_)), "{outcome:?}");
}
