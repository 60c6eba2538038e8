//! Quotas and rate limits, which all sessions share.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::num::NonZeroU32;

use portolan_core::{PortRange, Remedy};
use portolan_port_allocator::{
    AllocatorError, Depth, LimitSubject, PortAllocator, PortAllocatorConfig, PortLease, PortLimits,
    PortRequest, RejectionReason,
};
use support::{TestEnv, request_for};

fn allocator(env: &TestEnv, change: impl FnOnce(&mut PortAllocatorConfig)) -> PortAllocator {
    let mut config = env.config();
    change(&mut config);
    PortAllocator::new(config).unwrap()
}

fn with_quota(env: &TestEnv, per_service: u32, per_user: u32) -> PortAllocator {
    allocator(env, |config| config.quota = PortLimits::new(per_service, per_user))
}

fn take(allocator: &PortAllocator, service: &str) -> Result<PortLease, AllocatorError> {
    allocator.request(request_for(service, Depth::Claimed))
}

#[test]
fn quota_of_a_service_is_shared_by_all_sessions() {
    let env = TestEnv::with_ports(8);
    let (one, other, third) =
        (with_quota(&env, 2, 0), with_quota(&env, 2, 0), with_quota(&env, 2, 0));
    let (_first, second) = (take(&one, "api").unwrap(), take(&other, "api").unwrap());
    let error = take(&third, "api").unwrap_err();
    let AllocatorError::QuotaExceeded { subject, held, limit, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*subject, *held, *limit), (LimitSubject::Service, 2, 2));
    assert!(error.with_remedy().contains("raise port_allocator.quota.per_service"), "{error}");
    assert!(take(&third, "web").is_ok(), "another service has its own quota");
    assert!(take(&one, "api").is_ok(), "a lease that the session holds is returned again");
    second.release();
    assert!(take(&third, "api").is_ok());
}

#[test]
fn quota_of_the_user_is_shared_by_all_services() {
    let env = TestEnv::with_ports(8);
    let (one, other) = (with_quota(&env, 0, 3), with_quota(&env, 0, 3));
    let _leases: Vec<PortLease> =
        ["a", "b", "c"].map(|service| take(&one, service).unwrap()).into();
    let error = take(&other, "d").unwrap_err();
    assert!(
        matches!(error, AllocatorError::QuotaExceeded { subject: LimitSubject::User, .. }),
        "{error}"
    );
    assert_eq!(one.holders().len(), 3);
}

#[test]
fn orphaned_leases_do_not_count() {
    let env = TestEnv::with_ports(8);
    let observer = with_quota(&env, 2, 3);
    for _ in 0..10 {
        // Ends like a process that is killed, without releasing its leases.
        let owner = with_quota(&env, 2, 3);
        for (name, service) in [("a", "api"), ("b", "api"), ("c", "web")] {
            let request = request_for(service, Depth::Claimed).port_name(name.parse().unwrap());
            owner.request(request).unwrap().leave_to_children();
        }
        assert!(take(&observer, "api").is_err() && take(&observer, "web").is_err());
        drop(owner);
        assert!(take(&observer, "api").is_ok());
    }
}

/// One lease is left in the quota, and so many callers request it at once.
fn request_last_lease(callers: usize, rounds: usize) {
    let env = TestEnv::with_ports(12);
    let _held = take(&with_quota(&env, 2, 0), "api").unwrap();
    for _ in 0..rounds {
        let barrier = std::sync::Barrier::new(callers);
        let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let request = || {
                let allocator = with_quota(&env, 2, 0);
                barrier.wait();
                let lease = take(&allocator, "api");
                // No lease is released before all callers have their results.
                barrier.wait();
                lease.map(drop).map_err(|error| error.to_string())
            };
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(request)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    }
    assert!(take(&with_quota(&env, 2, 0), "api").is_ok());
}

#[test]
fn exactly_one_of_two_concurrent_callers_gets_the_last_lease_of_a_quota() {
    request_last_lease(2, 200);
}

#[test]
fn exactly_one_of_many_concurrent_callers_gets_the_last_lease_of_a_quota() {
    request_last_lease(8, 100);
}

#[test]
fn refused_requests_and_released_leases_do_not_count() {
    let env = TestEnv::with_ports(2);
    let limited = with_quota(&env, 2, 2);
    let _full: Vec<PortLease> =
        ["a", "b"].map(|service| take(&env.allocator(), service).unwrap()).into();
    drop(_full);
    for _ in 0..100 {
        let leases = ["api", "web"].map(|service| take(&limited, service).unwrap());
        let refused = take(&env.allocator(), "api").unwrap_err();
        assert!(matches!(refused, AllocatorError::NoPortsAvailable { .. }), "{refused}");
        drop(leases);
    }
}

#[test]
fn rate_limit_is_shared_by_all_sessions() {
    let env = TestEnv::with_ports(4);
    let slow = || allocator(&env, |config| config.rate_limit = PortLimits::new(3, 0));
    let (one, other) = (slow(), slow());
    for allocator in [&one, &other, &one] {
        drop(take(allocator, "api").unwrap());
    }
    let error = take(&other, "api").unwrap_err();
    let AllocatorError::RateLimited { subject, limit, wait, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*subject, *limit), (LimitSubject::Service, 3));
    assert!(!wait.is_zero() && wait.as_secs() < 1, "{wait:?}");
    assert!(error.with_remedy().contains("port_allocator.rate_limit.per_service"), "{error}");
    assert!(take(&other, "web").is_ok(), "another service has its own rate limit");

    let in_all = allocator(&env, |config| config.rate_limit = PortLimits::new(0, 2));
    assert!(take(&in_all, "x").is_ok() && take(&in_all, "y").is_ok());
    let error = take(&in_all, "z").unwrap_err();
    assert!(
        matches!(error, AllocatorError::RateLimited { subject: LimitSubject::User, .. }),
        "{error}"
    );
}

#[test]
fn limits_are_numbers_or_null() {
    let limits: PortLimits =
        serde_json::from_str(r#"{"per_service": 5, "per_user": null}"#).unwrap();
    assert_eq!(limits, PortLimits { per_service: NonZeroU32::new(5), per_user: None });
    for bad in [r#"{"per_service": 0, "per_user": 1}"#, r#"{"per_servise": 5}"#] {
        assert!(serde_json::from_str::<PortLimits>(bad).is_err(), "{bad}");
    }
}

#[test]
fn http_service_gets_no_port_that_browsers_refuse() {
    let env = TestEnv::with_ports(2);
    let range = PortRange::new(6665, 6667).unwrap();
    let request = || PortRequest::new("web".parse().unwrap()).range(range).http(true);
    let AllocatorError::NoPortsAvailable { candidates, .. } =
        env.allocator().request(request()).unwrap_err()
    else {
        panic!("granted a port that browsers refuse")
    };
    let blocked = |reason: &RejectionReason| *reason == RejectionReason::BlockedByBrowsers;
    assert_eq!(candidates.len(), 3);
    assert!(candidates.iter().all(|refusal| blocked(&refusal.reason)), "{candidates:?}");
    // What is requested explicitly is granted.
    assert_eq!(env.allocator().request(request().preferred(6666)).unwrap().port(), 6666);
}
