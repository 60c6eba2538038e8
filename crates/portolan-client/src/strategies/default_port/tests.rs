use std::time::Duration;

use portolan_core::ServiceId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn query(name: &str, scopes: &[&str]) -> StrategyQuery {
    StrategyQuery {
        name: name.parse().unwrap(),
        scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
        all: false,
        limit: Duration::from_secs(1),
    }
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

/// In which scope the name's default port is its own, given these holders.
fn own(name: &str, scopes: &[&str], holders: &[(&str, &str, u16)]) -> Result<String, String> {
    let query = query(name, scopes);
    let convention = Convention::of(&query.name, &BTreeMap::new()).unwrap();
    belongs(&query, &convention, &held(holders)).map(|scope| scope.to_string())
}

#[test]
fn the_port_belongs_to_whom_the_reservation_names() {
    let both = [("default", "postgres-1", 5432), ("default", "postgres-2", 5433)];
    assert_eq!(own("postgres-1", &["default"], &both).unwrap(), "default");
    let error = own("postgres-2", &["default"], &both).unwrap_err();
    assert!(error.contains("postgres-2 holds port 5433 here, not 5432"), "{error}");
    let error = own("postgres-3", &["default"], &both).unwrap_err();
    assert!(error.contains("port 5432 is held by postgres-1 of scope default"), "{error}");
    // The type's own name means whoever has the port only where nobody says whose it is.
    assert!(own("postgres", &["default"], &both).is_err());
}

#[test]
fn a_service_whose_owner_is_gone_is_found_by_nobody() {
    let mut left = held(&[("default", "postgres", 5432)]);
    left[0].alive = false;
    for name in ["postgres", "postgres-1"] {
        let query = query(name, &["default"]);
        let convention = Convention::of(&query.name, &BTreeMap::new()).unwrap();
        let error = belongs(&query, &convention, &left).unwrap_err();
        assert!(error.contains("the owner of postgres on port 5432 is gone"), "{error}");
    }
}

#[test]
fn without_a_reservation_only_the_types_own_name_has_the_port() {
    assert_eq!(own("postgres", &["default"], &[]).unwrap(), "default");
    assert_eq!(own("redis", &["shop", "default"], &[]).unwrap(), "shop");
    let error = own("postgres-2", &["default"], &[]).unwrap_err();
    assert!(error.contains("nothing says that port 5432 is that of postgres-2"), "{error}");
    let error = own("redis", &["default"], &[("default", "redis", 6380)]).unwrap_err();
    assert!(error.contains("redis holds port 6380 here, not 6379"), "{error}");
}

#[test]
fn the_nearest_scope_says_where_the_service_is() {
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

#[test]
fn a_port_tells_its_type_only_where_one_type_has_it() {
    let of = |name: &str, port: u16| {
        let name: ServiceName = name.parse().unwrap();
        let configured = BTreeMap::from([(name.clone(), NonZeroU16::new(port).unwrap())]);
        let convention = Convention::of(&name, &configured).unwrap();
        assert!(convention.own && convention.port == port);
        convention.pool.map(|pool| pool.name)
    };
    assert_eq!(of("orders", 5432), Some("database"));
    assert_eq!(of("orders", 8085), Some("api"));
    assert_eq!(of("orders", 9090), None);
    assert_eq!(of("orders-grpc", 9090), Some("grpc"));
    assert_eq!(of("orders-db", 3306), None);
    assert!(Convention::of(&"orders".parse().unwrap(), &BTreeMap::new()).is_none());
}

/// What comes of connecting to a listener that says this to whatever it hears.
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
    let pool = pool.map(|name| Pool::named(name).unwrap());
    let convention = Convention { port, pool, own: true };
    let mut query = query("redis", &["shop"]);
    query.limit = Duration::from_millis(400);
    let outcome = connect(&query, &convention, "shop".parse().unwrap()).await;
    server.abort();
    outcome
}

fn reason(outcome: StrategyOutcome) -> String {
    match outcome {
        StrategyOutcome::NotFound { reason, sure: false } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hit_is_the_endpoint_on_this_host() {
    let StrategyOutcome::Found(candidates) = connecting(Some("cache"), Some(b"+PONG\r\n")).await
    else {
        panic!("not found");
    };
    let endpoint = &candidates[0].endpoint;
    let expected: ServiceId = format!("shop:redis@127.0.0.1:{}", endpoint.port).parse().unwrap();
    assert_eq!(endpoint.id, expected);
    assert_eq!(endpoint.health, HealthStatus::Passing);
    assert_eq!(endpoint.protocol, "tcp");
}

#[tokio::test]
async fn a_stranger_on_the_port_is_no_hit_and_is_described() {
    let error = reason(connecting(Some("cache"), Some(b"SSH-2.0-x\r\n")).await);
    assert!(error.contains("does not speak Redis"), "{error}");
    let error = reason(connecting(Some("database"), None).await);
    assert!(error.contains("says nothing within 360ms"), "{error}");
    assert!(matches!(connecting(None, None).await, StrategyOutcome::Found(_)));
}

#[tokio::test]
async fn nobody_on_the_port_is_no_hit() {
    let vacant = crate::testing::nobody();
    let port = vacant.address().port();
    let convention = Convention { port, pool: None, own: true };
    let outcome = connect(&query("x", &["default"]), &convention, Scope::default()).await;
    let error = reason(outcome);
    assert!(error.contains("nothing answers on port"), "{error}");
}

#[tokio::test]
async fn unreadable_reservations_mean_that_it_could_not_ask() {
    let reservations = crate::testing::FakeReservations::default();
    reservations.fail();
    let strategy = DefaultPort { ports: BTreeMap::new(), reservations: Arc::new(reservations) };
    let outcome = strategy.ask(&query("redis", &["default"])).await;
    let StrategyOutcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("told to; see what `portolan ports list` says"), "{error}");
    let outcome = strategy.ask(&query("worker", &["default"])).await;
    assert!(matches!(outcome, StrategyOutcome::Skip(_)));
}
