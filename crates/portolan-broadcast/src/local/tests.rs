use jiff::Timestamp;
use portolan_core::{Host, Registration, Ttl};

use super::*;

const SIZE: usize = 400;

fn endpoint(name: &str, scope: &str, host: &str) -> ServiceEndpoint {
    let host: Host = host.parse().unwrap();
    let mut registration = Registration::new(name.parse().unwrap(), host, 8080);
    registration.scope = scope.parse().unwrap();
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::now())
}

fn query(name: Option<&str>, scopes: &[&str], all: bool) -> ServiceQuery {
    let name = name.map(|name| name.parse().unwrap());
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    ServiceQuery { name, scopes, query_id: "q".into(), page: 0, all }
}

#[test]
fn only_endpoints_that_match_the_query_respond() {
    let mut local = LocalEndpoints::default();
    for (name, scope) in [("api", "default"), ("api", "shop"), ("db", "shop")] {
        assert!(local.publish(endpoint(name, scope, "10.0.0.1"), SIZE));
    }
    let ask = |name, scopes: &[&str]| local.answers(&query(name, scopes, false), true, None);
    assert_eq!(ask(Some("api"), &["shop"]), ["shop:api@10.0.0.1:8080"]);
    assert_eq!(ask(Some("api"), &["shop", "default"]).len(), 2);
    assert_eq!(ask(None, &["shop"]).len(), 2);
    assert_eq!(ask(None, &[]).len(), 3);
    assert!(ask(Some("db"), &["default"]).is_empty());
}

#[test]
fn critical_instances_respond_only_to_queries_for_all() {
    let mut local = LocalEndpoints::default();
    let mut ill = endpoint("api", "default", "10.0.0.1");
    ill.health = HealthStatus::Critical;
    local.publish(ill, SIZE);
    assert!(local.answers(&query(Some("api"), &[], false), true, None).is_empty());
    assert_eq!(local.answers(&query(Some("api"), &[], true), true, None).len(), 1);
}

#[test]
fn loopback_endpoint_does_not_respond_to_another_host() {
    let mut local = LocalEndpoints::default();
    local.publish(endpoint("api", "default", "127.0.0.1"), SIZE);
    assert!(local.answers(&query(Some("api"), &[], false), false, None).is_empty());
    assert_eq!(local.answers(&query(Some("api"), &[], false), true, None).len(), 1);
}

#[test]
fn publishing_again_replaces_and_unpublishing_removes() {
    let mut local = LocalEndpoints::default();
    let first = endpoint("api", "default", "10.0.0.1");
    local.publish(first.clone(), SIZE);
    local.publish(ServiceEndpoint { version: "2".into(), ..first.clone() }, SIZE);
    assert_eq!(local.answers(&query(Some("api"), &[], false), true, None).len(), 1);
    assert_eq!(local.get(&first.id).unwrap().version, "2");
    assert!(local.unpublish(&first.id));
    assert!(!local.unpublish(&first.id));
    assert!(local.answers(&query(None, &[], true), true, None).is_empty());
}

#[test]
fn number_of_published_endpoints_is_bounded_and_replacing_is_possible() {
    let mut local = LocalEndpoints::default();
    for number in 0..MAX_LOCAL {
        assert!(local.publish(endpoint(&format!("s{number}"), "default", "10.0.0.1"), SIZE));
    }
    assert!(!local.publish(endpoint("one-more", "default", "10.0.0.1"), SIZE));
    assert!(local.publish(endpoint("s7", "default", "10.0.0.1"), SIZE));
}

#[test]
fn responses_are_delayed_only_if_many_are_expected() {
    let named = query(Some("api"), &[], false);
    assert_eq!(spread(&named, 1), None);
    assert_eq!(spread(&named, 8), None);
    assert_eq!(spread(&named, 9), Some(MIN_SPREAD));
    assert_eq!(spread(&named, 50), Some(Duration::from_millis(50)));
    assert_eq!(spread(&named, usize::MAX), Some(MAX_SPREAD));
    assert_eq!(spread(&query(None, &[], false), 0), Some(MIN_SPREAD));
}

#[test]
fn limited_response_has_a_part_of_the_instances_and_the_pages_have_all() {
    let mut local = LocalEndpoints::default();
    for number in 0..10 {
        local.publish(endpoint(&format!("s{number}"), "default", "10.0.0.1"), SIZE);
    }
    local.publish(endpoint("large", "default", "10.0.0.1"), 3 * SIZE);
    let page = |page| {
        let query = ServiceQuery { page, ..query(None, &[], true) };
        local.answers(&query, false, Some(2 * SIZE + 1))
    };
    assert!((0..7).all(|number| page(number).len() == 2));
    let mut all: Vec<_> = (0..5).flat_map(page).collect();
    all.dedup();
    assert_eq!(all.len(), 10, "what is larger than the limit does not respond");
    assert_eq!(page(0), page(5));
    assert!(local.answers(&query(None, &[], true), false, Some(SIZE - 1)).is_empty());
}
