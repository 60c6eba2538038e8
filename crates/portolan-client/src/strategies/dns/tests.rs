use hickory_resolver::config::ResolverConfig;
use hickory_resolver::proto::op::ResponseCode;
use portolan_core::ServiceEndpoint;

use super::resolver::{MAX_ADDRESSES, MAX_TARGETS, search_list};
use super::*;
use crate::testing::{FakeDns, Reply};

fn dns(server: &FakeDns, domain: Option<&str>) -> Dns {
    let config = DnsConfig { domain: domain.map(str::to_owned), servers: vec![server.address()] };
    Dns {
        config,
        ports: BTreeMap::new(),
        scope: Scope::default(),
        limit: Duration::from_millis(500),
        resolver: Mutex::default(),
    }
}

async fn ask(dns: &Dns, name: &str) -> StrategyOutcome {
    let query = StrategyQuery {
        name: name.parse().unwrap(),
        scopes: vec![Scope::default()],
        all: false,
        limit: dns.limit,
    };
    dns.ask(&query).await
}

/// What is found: address, priority and weight.
fn found(outcome: StrategyOutcome) -> Vec<(String, u16, u16)> {
    let StrategyOutcome::Found(candidates) = outcome else { panic!("{outcome:?}") };
    let mut found: Vec<_> = candidates
        .iter()
        .map(|Candidate { endpoint, priority, weight }| (endpoint.address(), *priority, *weight))
        .collect();
    found.sort();
    found
}

fn at(address: &str) -> (String, u16, u16) {
    (address.to_owned(), 0, 1)
}

#[tokio::test]
async fn srv_records_give_every_target_with_priority_and_weight() {
    let server = FakeDns::start().await;
    server.srv("_postgres-2._tcp.test.", (10, 5, 5433, "a.test."));
    server.srv("_postgres-2._tcp.test.", (20, 0, 5434, "b.test."));
    server.host("a.test.", "127.0.0.2");
    server.host("b.test.", "127.0.0.3");
    let dns = dns(&server, Some("test"));
    let expected = [("127.0.0.2:5433".to_owned(), 10, 5), ("127.0.0.3:5434".to_owned(), 20, 0)];
    assert_eq!(found(ask(&dns, "postgres-2").await), expected);
}

#[tokio::test]
async fn an_address_is_enough_where_the_type_has_a_port() {
    let server = FakeDns::start().await;
    server.host("postgres-2.test.", "127.0.0.2");
    server.host("worker.test.", "127.0.0.2");
    server.host("v6-api.test.", "::1");
    let dns = dns(&server, Some("test."));
    assert_eq!(found(ask(&dns, "postgres-2").await), [at("127.0.0.2:5432")]);
    let StrategyOutcome::Found(candidates) = ask(&dns, "v6-api").await else { panic!("not found") };
    let ServiceEndpoint { protocol, .. } = &*candidates[0].endpoint;
    assert_eq!(
        (candidates[0].endpoint.address().as_str(), protocol.as_str()),
        ("[::1]:8080", "http")
    );
    let StrategyOutcome::NotFound { reason, sure: true } = ask(&dns, "worker").await else {
        panic!("found")
    };
    assert!(reason.contains("no default port for an address for worker in test."), "{reason}");
}

#[tokio::test]
async fn the_root_can_be_the_domain() {
    let server = FakeDns::start().await;
    server.host("redis.", "127.0.0.2");
    assert_eq!(found(ask(&dns(&server, Some(".")), "redis").await), [at("127.0.0.2:6379")]);
    assert_eq!(server.asked()[0], "SRV _redis._tcp.");
}

#[tokio::test]
async fn there_is_no_such_name_is_an_answer_and_servfail_is_none() {
    let server = FakeDns::start().await;
    let dns = dns(&server, Some("test"));
    let outcome = ask(&dns, "redis").await;
    assert!(matches!(outcome, StrategyOutcome::NotFound { sure: true, .. }), "{outcome:?}");
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        server.reply(Reply::Code(code));
        let outcome = ask(&dns, "redis").await;
        let StrategyOutcome::Failed(error) = outcome else { panic!("{code}: {outcome:?}") };
        assert!(error.to_string().contains("for _redis._tcp.test."), "{error}");
    }
}

#[tokio::test]
async fn a_target_of_the_root_says_that_there_is_no_such_service() {
    let server = FakeDns::start().await;
    server.srv("_redis._tcp.test.", (0, 0, 1, "."));
    server.srv("_api._tcp.test.", (0, 0, 0, "a.test."));
    server.host("a.test.", "127.0.0.2");
    let dns = dns(&server, Some("test"));
    for name in ["redis", "api"] {
        let outcome = ask(&dns, name).await;
        assert!(matches!(outcome, StrategyOutcome::NotFound { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_target_without_a_usable_address_takes_no_other_with_it() {
    let server = FakeDns::start().await;
    server.srv("_redis._tcp.test.", (0, 1, 1, "blocked.test."));
    server.srv("_redis._tcp.test.", (0, 1, 2, "gone.test."));
    server.srv("_redis._tcp.test.", (0, 1, 3, "here.test."));
    server.host("blocked.test.", "0.0.0.0");
    server.host("here.test.", "127.0.0.2");
    let dns = dns(&server, Some("test"));
    assert_eq!(found(ask(&dns, "redis").await), [at("127.0.0.2:3")]);
}

#[tokio::test]
async fn many_records_are_not_all_followed() {
    let server = FakeDns::start().await;
    for n in 0..30_u16 {
        server.srv("_redis._tcp.test.", (n, 1, 1000 + n, "a.test."));
    }
    for n in 1..=12 {
        server.host("a.test.", &format!("127.0.1.{n}"));
    }
    let found = found(ask(&dns(&server, Some("test")), "redis").await);
    assert_eq!(found.len(), MAX_TARGETS * MAX_ADDRESSES);
    assert!(found.iter().all(|(_, priority, _)| *priority < 16));
}

#[tokio::test]
async fn hostile_answers_are_no_answers() {
    let server = FakeDns::start().await;
    let dns = dns(&server, Some("test"));
    let header = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    // A name that points at itself, and one that points ahead.
    let looping = [&header[..], &[0xc0, 0x0c, 0, 33, 0, 1]].concat();
    let ahead = [&header[..], &[0xc0, 0xff, 0, 33, 0, 1]].concat();
    for bytes in [vec![], vec![0xff; 9], vec![0; 600], looping, ahead] {
        server.reply(Reply::Bytes(bytes.clone()));
        let outcome = ask(&dns, "redis").await;
        assert!(matches!(outcome, StrategyOutcome::Failed(_)), "{bytes:?}: {outcome:?}");
    }
    server.reply(Reply::Records);
    server.host("redis.test.", "127.0.0.2");
    assert_eq!(found(ask(&dns, "redis").await), [at("127.0.0.2:6379")]);
}

#[tokio::test]
async fn a_name_that_dns_cannot_carry_is_not_there() {
    let server = FakeDns::start().await;
    let dns = dns(&server, Some("test"));
    let outcome = ask(&dns, &format!("{}-db", "x".repeat(100))).await;
    assert!(matches!(outcome, StrategyOutcome::NotFound { .. }), "{outcome:?}");
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn the_search_list_is_asked_within_bounds_and_never_the_root() {
    let names =
        |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Name>>();
    let search = names(&["a.", ".", "b.", "a.", "c.", "d.", "e.", "f.", "g."]);
    let system = ResolverConfig::from_parts(None, search, Vec::new());
    assert_eq!(search_list(&system), names(&["a.", "b.", "c.", "d.", "e.", "f."]));
}

#[tokio::test]
async fn without_a_domain_there_is_nothing_to_ask() {
    let server = FakeDns::start().await;
    let dns = dns(&server, None);
    let mut names = DomainResolver::new(&dns.config, dns.limit).unwrap();
    names.domains.clear();
    *dns.resolver.lock() = Some(Arc::new(names));
    let StrategyOutcome::Skip(reason) = ask(&dns, "redis").await else { panic!("asked") };
    assert!(reason.contains("set discovery.dns.domain"), "{reason}");
}
