use hickory_resolver::config::ResolverConfig;
use hickory_resolver::proto::op::ResponseCode;
use portolan_core::ServiceEndpoint;

use super::*;
use crate::dns_resolver::{Domain, MAX_ADDRESSES, MAX_TARGETS, search_list};
use crate::testing::{FakeDns, Reply};

fn dns(server: &FakeDns, domain: Option<&str>) -> Dns {
    let config = DnsConfig { domain: domain.map(str::to_owned), servers: vec![server.address()] };
    Dns {
        config,
        ports: WellKnownPorts::default(),
        scope: Scope::default(),
        timeout: Duration::from_millis(500),
        resolver: Mutex::default(),
    }
}

async fn ask(dns: &Dns, name: &str) -> StrategyOutcome {
    let query = StrategyQuery::new(name.parse().unwrap(), Deadline::after(dns.timeout));
    dns.find(&query).await
}

/// Returns the address, priority and weight of each candidate.
fn found(outcome: StrategyOutcome) -> Vec<(String, u16, u16)> {
    let StrategyOutcome::Found(candidates) = outcome else { panic!("{outcome:?}") };
    let mut found: Vec<_> = candidates
        .iter()
        .map(|Candidate { endpoint, priority, weight, .. }| {
            (endpoint.address(), *priority, *weight)
        })
        .collect();
    found.sort();
    found
}

fn at(address: &str) -> (String, u16, u16) {
    (address.to_owned(), 0, 1)
}

#[tokio::test]
async fn srv_records_yield_every_target_with_priority_and_weight() {
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
async fn address_record_is_enough_if_the_type_has_a_port() {
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
    let StrategyOutcome::NotFound { reason, authoritative: true } = ask(&dns, "worker").await
    else {
        panic!("found")
    };
    assert!(reason.contains("no default port for an address for worker in test."), "{reason}");
}

#[tokio::test]
async fn root_can_be_the_domain() {
    let server = FakeDns::start().await;
    server.host("redis.", "127.0.0.2");
    assert_eq!(found(ask(&dns(&server, Some(".")), "redis").await), [at("127.0.0.2:6379")]);
    assert_eq!(server.asked()[0], "SRV _redis._tcp.");
}

#[tokio::test]
async fn nxdomain_is_not_found_and_servfail_is_a_failure() {
    let server = FakeDns::start().await;
    let dns = dns(&server, Some("test"));
    let outcome = ask(&dns, "redis").await;
    assert!(
        matches!(outcome, StrategyOutcome::NotFound { authoritative: true, .. }),
        "{outcome:?}"
    );
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        server.reply(Reply::Code(code));
        let outcome = ask(&dns, "redis").await;
        let StrategyOutcome::Failed(error) = outcome else { panic!("{code}: {outcome:?}") };
        assert!(error.to_string().contains("for _redis._tcp.test."), "{error}");
    }
}

#[tokio::test]
async fn srv_target_of_the_root_means_not_available() {
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
async fn target_without_a_usable_address_does_not_affect_others() {
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
async fn number_of_records_is_bounded_unless_all_are_requested() {
    let server = FakeDns::start().await;
    for n in 0..40_u16 {
        server.srv("_redis._tcp.test.", (n, 1, 1000 + n, "a.test."));
    }
    for n in 1..=12 {
        server.host("a.test.", &format!("127.0.1.{n}"));
    }
    let dns = dns(&server, Some("test"));
    let some = found(ask(&dns, "redis").await);
    assert_eq!(some.len(), MAX_TARGETS * MAX_ADDRESSES);
    assert!(some.iter().all(|(_, priority, _)| *priority < 16));
    let mut query = StrategyQuery::new("redis".parse().unwrap(), Deadline::after(dns.timeout));
    query.all = true;
    assert_eq!(found(dns.find(&query).await).len(), 40 * MAX_ADDRESSES);
}

#[tokio::test]
async fn malformed_answers_are_failures() {
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
async fn name_that_is_too_long_for_dns_is_not_found() {
    let server = FakeDns::start().await;
    let dns = dns(&server, Some("test"));
    let outcome = ask(&dns, &format!("{}-db", "x".repeat(100))).await;
    assert!(matches!(outcome, StrategyOutcome::NotFound { .. }), "{outcome:?}");
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn search_list_is_bounded_and_excludes_the_root() {
    let names =
        |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Name>>();
    let search = names(&["a.", ".", "b.", "a.", "c.", "d.", "e.", "f.", "g."]);
    let system = ResolverConfig::from_parts(None, search, Vec::new());
    let searched: Vec<Name> = search_list(&system).into_iter().map(|domain| domain.name).collect();
    assert_eq!(searched, names(&["a.", "b.", "c.", "d.", "e.", "f."]));
}

#[tokio::test]
async fn without_a_domain_the_strategy_is_skipped() {
    let server = FakeDns::start().await;
    let dns = dns(&server, None);
    let mut names = DomainResolver::new(&dns.config, dns.timeout).unwrap();
    names.domains.clear();
    *dns.resolver.lock() = Some(Arc::new(names));
    let StrategyOutcome::Skipped(reason) = ask(&dns, "redis").await else { panic!("asked") };
    assert!(reason.contains("(discovery.dns.domain)"), "{reason}");
}

/// A strategy whose only domain is in the search list.
fn searching(server: &FakeDns) -> Dns {
    let dns = dns(server, None);
    let mut resolver = DomainResolver::new(&dns.config, dns.timeout).unwrap();
    resolver.domains = vec![Domain { name: "test.".parse().unwrap(), configured: false }];
    *dns.resolver.lock() = Some(Arc::new(resolver));
    dns
}

#[tokio::test]
async fn wildcard_of_a_search_domain_is_not_an_address_of_the_service() {
    let server = FakeDns::start().await;
    server.host("*.test.", "10.9.9.9");
    let dns = searching(&server);
    let outcome = ask(&dns, "typo-db").await;
    let StrategyOutcome::NotFound { reason, authoritative: false } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("nor an address of its own for typo-db in test."), "{reason}");
    // A record of its own counts beside the wildcard, and a configured domain is trusted.
    server.host("redis.test.", "127.0.0.2");
    assert_eq!(found(ask(&dns, "redis").await), [at("127.0.0.2:6379")]);
    let configured = super::tests::dns(&server, Some("test"));
    assert_eq!(found(ask(&configured, "typo-db").await), [at("10.9.9.9:5432")]);
}

#[tokio::test]
async fn query_that_is_refused_does_not_end_the_others() {
    let server = FakeDns::start().await;
    server.refuse("_redis._tcp.test.", ResponseCode::Refused);
    server.host("redis.test.", "127.0.0.2");
    assert_eq!(found(ask(&searching(&server), "redis").await), [at("127.0.0.2:6379")]);
    server.refuse("_postgres._tcp.test.", ResponseCode::ServFail);
    let outcome = ask(&searching(&server), "postgres").await;
    assert!(matches!(outcome, StrategyOutcome::Failed(_)), "it may exist: {outcome:?}");
}

#[tokio::test]
async fn error_response_for_a_made_up_name_shows_that_there_is_no_wildcard() {
    let server = FakeDns::start().await;
    server.host("redis.test.", "127.0.0.2");
    server.refuse("*.test.", ResponseCode::ServFail);
    assert_eq!(found(ask(&searching(&server), "redis").await), [at("127.0.0.2:6379")]);
}
