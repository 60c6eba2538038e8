use portolan_core::{PortRange, Remedy, ServiceName};
use proptest::prelude::*;

use super::*;

fn policy(change: impl FnOnce(&mut PortAllocatorConfig)) -> Policy {
    let mut config = PortAllocatorConfig::default();
    change(&mut config);
    let policy = Policy::new(&config).unwrap();
    policy.system_ports.set(SystemPorts::parse("40000 40009", "40003", "")).unwrap();
    policy
}

fn default_policy() -> Policy {
    policy(|_| ())
}

fn request(service: &str) -> PortRequest {
    PortRequest::new(service.parse().unwrap())
}

fn range(start: u16, end: u16) -> PortRange {
    PortRange::new(start, end).unwrap()
}

fn ports(plan: &Plan<'_>, sticky: Option<u16>) -> Vec<u16> {
    plan.candidates(sticky, 1).map(|candidate| candidate.port).collect()
}

#[test]
fn default_port_is_tried_before_range() {
    let policy = default_policy();
    let plan = policy.plan(&request("postgres-primary")).unwrap();
    assert_eq!(plan.label(), "database");
    assert!(ports(&plan, None).into_iter().eq(5432..=5442));
}

#[test]
fn sticky_port_is_tried_first_if_allowed() {
    let policy = default_policy();
    let plan = policy.plan(&request("postgres").preferred(5440)).unwrap();
    assert_eq!(ports(&plan, Some(5435))[..3], [5435, 5440, 5433]);
    assert_eq!(ports(&plan, Some(8080))[..2], [5440, 5433], "8080 is not in the database pool");
    assert_eq!(ports(&plan, Some(5440)).len(), 10, "each port is tried once");
}

#[test]
fn candidates_state_their_choice() {
    let policy = default_policy();
    let plan = policy.plan(&request("redis").allow_ephemeral(true)).unwrap();
    let choices: Vec<Choice> = plan.candidates(Some(6385), 1).map(|c| c.choice).collect();
    assert_eq!(choices[..3], [Choice::Sticky, Choice::Preferred, Choice::Range]);
    assert_eq!(choices.len(), 11 + 4);
    assert!(choices[11..].iter().all(|choice| *choice == Choice::Ephemeral));
}

#[test]
fn pools_with_same_default_port_have_own_ranges() {
    let policy = default_policy();
    let (grpc, metrics) =
        (policy.plan(&request("my-grpc")).unwrap(), policy.plan(&request("my-metrics")).unwrap());
    assert_eq!(ports(&grpc, None)[..2], [9090, 9091]);
    assert_eq!(ports(&metrics, None)[..2], [9090, 9100]);
    assert_eq!(policy.pools_with(9105), ["grpc", "metrics"]);
}

#[test]
fn pool_is_from_request_then_configuration_then_name() {
    let policy = policy(|config| {
        config.services.insert("postgres-odd".to_owned(), "cache".to_owned());
    });
    let label = |request| policy.plan(&request).unwrap().label().to_owned();
    assert_eq!(label(request("postgres-odd").pool("api")), "api");
    assert_eq!(label(request("postgres-odd")), "cache");
    assert_eq!(label(request("postgres")), "database");
    assert_eq!(label(request("worker").preferred(8080)), "none");
}

#[test]
fn requested_range_replaces_pool() {
    let policy = default_policy();
    let plan = policy.plan(&request("postgres").range(range(21_000, 21_002))).unwrap();
    assert_eq!(ports(&plan, None), [21_000, 21_001, 21_002]);
    assert_eq!(ports(&plan, Some(5432)), [21_000, 21_001, 21_002]);
    let preferred = request("worker").range(range(7000, 7001)).preferred(7001);
    assert_eq!(ports(&policy.plan(&preferred).unwrap(), None), [7001, 7000]);
}

#[test]
fn invalid_preferred_port_is_refused() {
    let policy = default_policy();
    let refusal = |port| policy.plan(&request("api").preferred(port)).unwrap_err();
    assert!(matches!(refusal(0), AllocatorError::PreferredZero { .. }));
    assert!(matches!(refusal(443), AllocatorError::PreferredReserved { port: 443 }));
    assert!(matches!(
        policy.plan(&request("api").preferred_ports([8080, 443])).unwrap_err(),
        AllocatorError::PreferredReserved { port: 443 }
    ));
}

#[test]
fn requested_port_outside_every_pool_is_allowed() {
    let policy = default_policy();
    for port in [3000, 5173, 9229, 40_003, 1, 65_535] {
        let plan = policy.plan(&request("api").preferred(port)).unwrap();
        assert_eq!(ports(&plan, None)[..2], [port, 8081], "the search continues in the pool");
        assert_eq!(policy.forbids(port, &plan), None);
    }
    // Browsers refuse 6000; who names it has a reason.
    let plan = policy.plan(&request("web").pool("api").preferred(6000)).unwrap();
    assert_eq!(policy.forbids(6000, &plan), None);
}

#[test]
fn service_without_pool_continues_in_the_hundred_ports_above() {
    let policy = default_policy();
    let tried = |port| ports(&policy.plan(&request("worker").preferred(port)).unwrap(), None);
    assert!(tried(3000).into_iter().eq(3000..=3100));
    assert_eq!(tried(65_530), [65_530, 65_531, 65_532, 65_533, 65_534, 65_535]);
    assert_eq!(tried(65_535), [65_535]);
    let plan = policy.plan(&request("worker").preferred(3000)).unwrap();
    assert_eq!(ports(&plan, Some(3050))[..2], [3050, 3000]);
    assert_eq!(ports(&plan, Some(3101))[0], 3000, "a last port elsewhere does not count");
}

#[test]
fn search_continues_above_the_pool_if_it_may() {
    let policy = default_policy();
    let plan = policy.plan(&request("postgres").beyond_pool(true)).unwrap();
    assert!(ports(&plan, None).into_iter().eq(5432..=5542));
    assert_eq!(ports(&plan, Some(5500))[..2], [5500, 5432], "a last port there counts");
    let strict = request("postgres").beyond_pool(true).preferred(5432).strict(true);
    assert_eq!(ports(&policy.plan(&strict).unwrap(), None), [5432]);
    let ranged = request("postgres").beyond_pool(true).range(range(7100, 7101));
    assert_eq!(ports(&policy.plan(&ranged).unwrap(), None), [7100, 7101]);
}

#[test]
fn preferred_ports_are_tried_in_their_order_and_once() {
    let policy = default_policy();
    let listed = request("worker").preferred_ports([3005, 3000, 3005]);
    let tried = ports(&policy.plan(&listed).unwrap(), None);
    assert_eq!(tried[..4], [3005, 3000, 3006, 3007]);
    assert_eq!(ports(&policy.plan(&listed).unwrap(), Some(3000))[..2], [3000, 3005]);
}

#[test]
fn strict_request_has_no_other_candidates() {
    let policy = policy(|config| config.allow_ephemeral = true);
    let strict = request("api").preferred_ports([3000, 3001]).strict(true);
    let plan = policy.plan(&strict.clone().allow_ephemeral(true)).unwrap();
    assert_eq!(ports(&plan, Some(8085)), [3000, 3001]);
    assert_eq!(ports(&plan, Some(3001)), [3001, 3000]);
    for incomplete in [request("api").strict(true), strict.range(range(3000, 3010))] {
        let error = policy.plan(&incomplete).unwrap_err();
        assert!(matches!(error, AllocatorError::StrictWithoutPort { .. }), "{error}");
    }
}

#[test]
fn restricted_allocator_grants_ports_of_pools_only() {
    let policy = policy(|config| config.restrict_to_ranges = true);
    let refusal = policy.plan(&request("api").preferred(3000)).unwrap_err();
    assert!(matches!(refusal, AllocatorError::PreferredOutside { port: 3000, .. }));
    let text = refusal.with_remedy();
    assert!(text.contains("database 5432 and 5433-5442"), "{text}");
    assert!(text.contains("set port_allocator.restrict_to_ranges to false"), "{text}");
    assert!(policy.plan(&request("api").preferred(40_001).allow_ephemeral(true)).is_ok());
    // A range of its own, and the ports above a requested one, count as far as they are in a pool.
    let plan = policy.plan(&request("worker").preferred(8098)).unwrap();
    let allowed =
        ports(&plan, None).into_iter().filter(|port| policy.forbids(*port, &plan).is_none());
    assert_eq!(allowed.take(3).collect::<Vec<_>>(), [8098, 8099]);
    let plan = policy.plan(&request("worker").range(range(3000, 3010))).unwrap();
    assert!(
        ports(&plan, None).iter().all(|it| policy.forbids(*it, &plan) == Some(Cause::Restricted))
    );
}

#[test]
fn remedy_for_request_without_ports_names_three_options() {
    let policy = default_policy();
    let error = policy.plan(&request("worker")).unwrap_err().with_remedy();
    for way in ["a pool (api, cache", "a preferred port", "allow ephemeral ports"] {
        assert!(error.contains(way), "{error}");
    }
    let anywhere = policy.plan(&request("worker").allow_ephemeral(true)).unwrap();
    assert_eq!(ports(&anywhere, None).len(), 4);
}

#[test]
fn error_for_unknown_pool_lists_known_pools() {
    let error = default_policy().plan(&request("x").pool("databse")).unwrap_err().to_string();
    assert!(error.contains("\"databse\"") && error.contains("cache, database"), "{error}");
    let mut config = PortAllocatorConfig::default();
    config.services.insert("x".to_owned(), "nowhere".to_owned());
    assert!(matches!(Policy::new(&config), Err(AllocatorError::UnknownPool { .. })));
}

#[test]
fn disabled_allocation_is_an_error() {
    let policy = policy(|config| config.enabled = false);
    assert!(matches!(policy.plan(&request("api")), Err(AllocatorError::Disabled)));
}

#[test]
fn restricted_port_is_allowed_in_a_pool_or_as_ephemeral_port() {
    assert!(default_policy().allows(3000));
    let restricted = policy(|config| config.restrict_to_ranges = true);
    assert!(restricted.allows(8080) && restricted.allows(8099) && !restricted.allows(40_001));
    assert!(restricted.is_reserved(22) && !restricted.is_reserved(8080));
    let open = policy(|config| (config.allow_ephemeral, config.restrict_to_ranges) = (true, true));
    assert!(open.allows(40_001) && !open.allows(40_003) && !open.allows(3000));
}

/// The expected order: the first ports, and the set of the others.
fn model(plan: &Plan<'_>, sticky: Option<u16>) -> (Vec<u16>, HashSet<u16>) {
    let mut first: Vec<u16> = sticky.filter(|port| plan.allows(*port)).into_iter().collect();
    let preferred = plan.preferred.iter().filter(|port| !first.contains(port));
    let preferred: Vec<u16> = preferred.copied().collect();
    first.extend(preferred);
    let range = plan.range.into_iter().flat_map(PortRange::ports);
    let ephemeral = [40_001, 40_005, 40_007, 40_009];
    let ephemeral = ephemeral.into_iter().filter(|_| plan.ephemeral.is_some());
    let rest = range.chain(ephemeral).filter(|port| !first.contains(port)).collect();
    (first, rest)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn candidate_order_matches_model(
        service in prop::sample::select(vec!["postgres", "metrics", "worker", "chat-ws"]),
        preferred in prop::option::of(prop::sample::select(vec![5432_u16, 8085, 9100, 40_005])),
        own_range in prop::option::of((20_000_u16..20_300, 0_u16..300)),
        ephemeral: bool,
        sticky in prop::option::of(prop_oneof![5430_u16..5445, 9090_u16..9200, 20_000_u16..20_600, 40_000_u16..40_012]),
        seed: u64,
    ) {
        let name: ServiceName = service.parse().unwrap();
        let mut it = PortRequest::new(name).allow_ephemeral(ephemeral);
        if let Some(port) = preferred {
            it = it.preferred(port);
        }
        if let Some((start, more)) = own_range {
            it = it.range(range(start, start + more));
        }
        let policy = default_policy();
        let Ok(plan) = policy.plan(&it) else { return Ok(()) };
        let (first, rest) = model(&plan, sticky);
        let tried: Vec<u16> = plan.candidates(sticky, seed).map(|c| c.port).collect();
        prop_assert_eq!(&tried[..first.len()], &first[..]);
        let others: HashSet<u16> = tried[first.len()..].iter().copied().collect();
        prop_assert_eq!(others.len(), tried.len() - first.len(), "a port was tried twice");
        prop_assert_eq!(&others, &rest);
        // A short range is tried in order, and before anything ephemeral.
        if let Some(short) = plan.range.filter(|range| range.count() <= 100) {
            let in_range = short.ports().filter(|port| !first.contains(port));
            prop_assert!(tried[first.len()..].iter().copied().zip(in_range).all(|(a, b)| a == b));
        }
    }
}
