//! Leases for tests: each of a service of its own, which no other call, thread or process asks for.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use portolan_core::name::InvalidName;
use portolan_core::{PortRange, Scope, ServiceName};
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortLimits,
    PortRequest,
};

use crate::error::TestingError;

/// The ports that tests get, tried in random order.
///
/// Above those that services have by convention and every pool by default, so that a test does not
/// take the port of what it is about to start; below 30000, where Kubernetes gives ports to its
/// services, and 32768, where Linux gives them to connections, which nobody can be bound beside.
/// Where the system's own range was made so wide that it begins lower, a port is still chosen here
/// and never by the kernel, and one that a connection has is passed over.
const RANGE: PortRange = PortRange::known(20_000, 29_999);
/// Tells the ports of tests from those of the services that somebody works with.
const SCOPE: &str = "test";
/// How much of a test's name a service's name takes.
const SHOWN: usize = 80;

/// So many leases, through a session of their own: a child that inherits one keeps these, and no
/// port of another test.
pub(crate) fn leases<const N: usize>(depth: Depth) -> Result<[PortLease; N], TestingError> {
    let requests: Result<Vec<PortRequest>, AllocatorError> =
        (0..N).map(|_| Ok(request(depth)?)).collect();
    let leases = PortAllocator::new(config())?.request_all(requests?)?;
    Ok(leases.try_into().unwrap_or_else(|_| unreachable!("as many leases as requests")))
}

/// The defaults, whatever the user's configuration says; no memory: a test's name comes back, and
/// should not wait for a port that another has by now; and no limits, which a test could not raise.
fn config() -> PortAllocatorConfig {
    let unlimited = PortLimits::new(0, 0);
    let default = PortAllocatorConfig::default();
    PortAllocatorConfig { sticky: false, quota: unlimited, rate_limit: unlimited, ..default }
}

fn request(depth: Depth) -> Result<PortRequest, InvalidName> {
    let scope: Scope = SCOPE.parse()?;
    let request = PortRequest::new(unique_name()?).scope(scope).depth(depth);
    Ok(request.range(RANGE).allow_ephemeral(false).address(BindAddress::LOOPBACK))
}

/// The test's name, which is that of its thread, for those who list who has which port; and two
/// numbers that tell it from every other one that lives.
fn unique_name() -> Result<ServiceName, InvalidName> {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let thread = std::thread::current();
    let as_name = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let test: String = thread.name().unwrap_or("thread").chars().take(SHOWN).map(as_name).collect();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
    format!("test-{test}-{process}-{count}").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_test_and_comes_once() {
        let (one, two) = (unique_name().unwrap(), unique_name().unwrap());
        assert_ne!(one, two);
        assert!(one.as_str().contains("a_name_tells_the_test_and_comes_once"), "{one}");
    }

    #[test]
    fn any_thread_has_a_name_that_is_one() {
        for name in ["", "a test: with(everything)…", &"long".repeat(100)] {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(unique_name).unwrap().join().unwrap().unwrap();
        }
    }

    #[test]
    fn no_pool_has_a_port_of_the_range_by_default() {
        let config = config();
        for pool in config.pools().iter() {
            let highest = pool.range.end().max(pool.default_port);
            assert!(highest < RANGE.start(), "{}", pool.name);
        }
        assert!(!config.sticky);
    }

    #[test]
    fn no_lease_is_a_wish_that_can_be_granted() {
        let [] = leases(Depth::Guarded).unwrap();
    }
}
