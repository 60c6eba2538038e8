//! Leases for tests. Each belongs to its own service name, which no other thread or process uses.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use portolan_core::name::InvalidName;
use portolan_core::{PortRange, Scope, ServiceName};
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortLimits,
    PortRequest,
};

use crate::error::TestingError;

/// The ports of tests, tried in random order.
///
/// The range lies above the well-known ports and the default pools, so that a test does not take
/// the port of the server that it is about to start. It lies below 30000, where Kubernetes assigns
/// node ports, and below 32768, where the ephemeral range of Linux starts by default. If the
/// ephemeral range was extended downwards, ports in use by connections are skipped.
const RANGE: PortRange = PortRange::known(20_000, 29_999);
/// The scope of test leases, separate from that of real services.
const SCOPE: &str = "test";
/// The maximum length of a test name within a service name.
const SHOWN: usize = 80;

/// Returns `N` leases of one session, so that a child process that inherits one keeps only these.
pub(crate) fn leases<const N: usize>(depth: Depth) -> Result<[PortLease; N], TestingError> {
    let requests: Result<Vec<PortRequest>, AllocatorError> =
        (0..N).map(|_| Ok(request(depth)?)).collect();
    let leases = PortAllocator::new(config())?.request_all(requests?)?;
    Ok(leases.try_into().unwrap_or_else(|_| unreachable!("as many leases as requests")))
}

/// Default settings, whatever the user configured. Sticky ports are off, because a test name recurs
/// and must not wait for a port that is leased by now. Quotas are off, because a test could not
/// raise them.
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

/// Returns a service name with the name of the test, which is that of its thread, and two numbers
/// that make it unique.
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
    fn service_name_contains_the_test_name_and_is_unique() {
        let (one, two) = (unique_name().unwrap(), unique_name().unwrap());
        assert_ne!(one, two);
        assert!(
            one.as_str().contains("service_name_contains_the_test_name_and_is_unique"),
            "{one}"
        );
    }

    #[test]
    fn service_name_is_valid_for_any_thread_name() {
        for name in ["", "a test: with(everything)…", &"long".repeat(100)] {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(unique_name).unwrap().join().unwrap().unwrap();
        }
    }

    #[test]
    fn range_overlaps_no_built_in_pool() {
        let config = config();
        for pool in config.pools().iter() {
            let highest = pool.range.end().max(pool.default_port);
            assert!(highest < RANGE.start(), "{}", pool.name);
        }
        assert!(!config.sticky);
    }

    #[test]
    fn zero_leases_are_granted() {
        let [] = leases(Depth::Guarded).unwrap();
    }
}
