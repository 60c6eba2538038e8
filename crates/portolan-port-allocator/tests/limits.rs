//! What one service and one user may have: counted by all sessions together, and counted right.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::num::NonZeroU32;

use portolan_core::PortRange;
use portolan_port_allocator::{
    AllocatorError, Depth, LimitSubject, PortAllocator, PortAllocatorConfig, PortLease, PortLimits,
    PortRequest, RejectionReason,
};
use support::{World, wish};

fn allocator(world: &World, change: impl FnOnce(&mut PortAllocatorConfig)) -> PortAllocator {
    let mut config = world.config();
    change(&mut config);
    PortAllocator::new(config).unwrap()
}

fn with_quota(world: &World, per_service: u32, per_user: u32) -> PortAllocator {
    allocator(world, |config| config.quota = PortLimits::new(per_service, per_user))
}

fn take(allocator: &PortAllocator, service: &str) -> Result<PortLease, AllocatorError> {
    allocator.request(wish(service, Depth::Claimed))
}

#[test]
fn a_service_holds_as_many_ports_as_its_quota_says_whoever_asks_for_it() {
    let world = World::with_ports(8);
    let (one, other, third) =
        (with_quota(&world, 2, 0), with_quota(&world, 2, 0), with_quota(&world, 2, 0));
    let (_first, second) = (take(&one, "api").unwrap(), take(&other, "api").unwrap());
    let error = take(&third, "api").unwrap_err();
    let AllocatorError::QuotaExceeded { subject, held, limit, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*subject, *held, *limit), (LimitSubject::Service, 2, 2));
    assert!(error.to_string().contains("raise port_allocator.quota.per_service"), "{error}");
    assert!(take(&third, "web").is_ok(), "another service has a quota of its own");
    assert!(take(&one, "api").is_ok(), "what it has already it is told again");
    second.release();
    assert!(take(&third, "api").is_ok());
}

#[test]
fn a_user_holds_as_many_ports_as_the_quota_says_in_all() {
    let world = World::with_ports(8);
    let (one, other) = (with_quota(&world, 0, 3), with_quota(&world, 0, 3));
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
fn what_is_left_of_owners_that_ended_counts_for_nothing() {
    let world = World::with_ports(8);
    let observer = with_quota(&world, 2, 3);
    for _ in 0..10 {
        // Ends like a process that is killed: nobody gives the leases back one by one.
        let owner = with_quota(&world, 2, 3);
        for (name, service) in [("a", "api"), ("b", "api"), ("c", "web")] {
            let request = wish(service, Depth::Claimed).port_name(name.parse().unwrap());
            owner.request(request).unwrap().leave_to_children();
        }
        assert!(take(&observer, "api").is_err() && take(&observer, "web").is_err());
        drop(owner);
        assert!(take(&observer, "api").is_ok());
    }
}

#[test]
fn of_many_who_ask_at_once_no_more_get_a_port_than_the_quota_says() {
    let world = World::with_ports(12);
    let _held = take(&with_quota(&world, 2, 0), "api").unwrap();
    for _ in 0..100 {
        let start = std::sync::Barrier::new(8);
        let granted = std::thread::scope(|scope| {
            let ask = || {
                let allocator = with_quota(&world, 2, 0);
                start.wait();
                let lease = take(&allocator, "api");
                // Nobody gives back what it got before all were answered.
                start.wait();
                lease.is_ok()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|ok| *ok).count()
        });
        assert!(granted <= 1, "{granted} were granted beside the one that is held");
    }
    assert!(take(&with_quota(&world, 2, 0), "api").is_ok());
}

#[test]
fn refusals_and_releases_leave_nothing_counted() {
    let world = World::with_ports(2);
    let limited = with_quota(&world, 2, 2);
    let _full: Vec<PortLease> =
        ["a", "b"].map(|service| take(&world.allocator(), service).unwrap()).into();
    drop(_full);
    for _ in 0..100 {
        let leases = ["api", "web"].map(|service| take(&limited, service).unwrap());
        let refused = take(&world.allocator(), "api").unwrap_err();
        assert!(matches!(refused, AllocatorError::NoPortsAvailable { .. }), "{refused}");
        drop(leases);
    }
}

#[test]
fn grants_come_no_faster_than_the_rate_says() {
    let world = World::with_ports(4);
    let slow = || allocator(&world, |config| config.rate_limit = PortLimits::new(3, 0));
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
    assert!(error.to_string().contains("port_allocator.rate_limit.per_service"), "{error}");
    assert!(take(&other, "web").is_ok(), "another service has a rate of its own");

    let in_all = allocator(&world, |config| config.rate_limit = PortLimits::new(0, 2));
    assert!(take(&in_all, "x").is_ok() && take(&in_all, "y").is_ok());
    let error = take(&in_all, "z").unwrap_err();
    assert!(
        matches!(error, AllocatorError::RateLimited { subject: LimitSubject::User, .. }),
        "{error}"
    );
}

#[test]
fn limits_are_written_as_numbers_or_as_none() {
    let limits: PortLimits =
        serde_json::from_str(r#"{"per_service": 5, "per_user": null}"#).unwrap();
    assert_eq!(limits, PortLimits { per_service: NonZeroU32::new(5), per_user: None });
    for bad in [r#"{"per_service": 0, "per_user": 1}"#, r#"{"per_servise": 5}"#] {
        assert!(serde_json::from_str::<PortLimits>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_service_that_speaks_http_gets_no_port_that_browsers_refuse() {
    let world = World::with_ports(2);
    let range = PortRange::new(6665, 6667).unwrap();
    let request = || PortRequest::new("web".parse().unwrap()).range(range).http(true);
    let AllocatorError::NoPortsAvailable { candidates, .. } =
        world.allocator().request(request()).unwrap_err()
    else {
        panic!("a port that browsers refuse was granted")
    };
    let blocked = |reason: &RejectionReason| *reason == RejectionReason::BlockedByBrowsers;
    assert_eq!(candidates.len(), 3);
    assert!(candidates.iter().all(|refusal| blocked(&refusal.reason)), "{candidates:?}");
    let preferred = world.allocator().request(request().preferred(6666)).unwrap_err();
    assert!(matches!(preferred, AllocatorError::PreferredBlocked { port: 6666 }), "{preferred}");
}
