use std::path::PathBuf;

use jiff::Timestamp;
use portolan_core::Scope;
use portolan_host_facts::SocketOwner;
use portolan_reservations::Depth;

use super::*;
use crate::grant::rejection::RejectionReason;
use crate::lease::holder::Holder;

/// Every error with its own text, and two that delegate.
fn errors() -> Vec<AllocatorError> {
    let service = || "api".parse::<ServiceName>().unwrap();
    let pools = || "api, database".to_owned();
    let busy = || io::Error::from_raw_os_error(98);
    let range = PortRange::known(8081, 8099);
    let (setting, path) = ("port_allocator.runtime_dir", PathBuf::from("/tmp/file"));
    vec![
        AllocatorError::Disabled,
        AllocatorError::PreferredZero { service: service() },
        AllocatorError::PreferredReserved { port: 22 },
        AllocatorError::StrictWithoutPort { service: service() },
        AllocatorError::PreferredOutside { port: 9, allowed: "api 8080 and 8081-8099".into() },
        AllocatorError::UnknownPool { pool: "\"databse\"".into(), pools: pools() },
        AllocatorError::NoPortsConfigured { service: service(), pools: pools() },
        AllocatorError::HeldElsewhere { service: service(), port: 8080, range },
        AllocatorError::SamePortTwice { service: service(), port_name: None },
        AllocatorError::SamePortTwice { service: service(), port_name: "admin".parse().ok() },
        quota_exceeded(LimitSubject::Service),
        quota_exceeded(LimitSubject::User),
        rate_limited(LimitSubject::Service),
        rate_limited(LimitSubject::User),
        no_ports(Some(range), rejections(), 0),
        no_ports(None, Vec::new(), 28_000),
        AllocatorError::AddressNotHere { address: [192, 0, 2, 1].into() },
        AllocatorError::Socket { port: 8080, source: io::Error::from_raw_os_error(24) },
        AllocatorError::Listen { port: 8080, source: busy() },
        DirectoryError::NotADirectory { path: path.clone(), setting }.into(),
        TableError::NotOwned { path }.into(),
    ]
}

fn quota_exceeded(subject: LimitSubject) -> AllocatorError {
    let service = "api".parse().unwrap();
    AllocatorError::QuotaExceeded { service, subject, held: 1000, limit: 1000 }
}

fn rate_limited(subject: LimitSubject) -> AllocatorError {
    let (service, wait) = ("api".parse().unwrap(), Duration::from_millis(20));
    AllocatorError::RateLimited { service, subject, limit: 10_000, wait }
}

fn no_ports(
    range: Option<PortRange>,
    candidates: Vec<Rejection>,
    unlisted: usize,
) -> AllocatorError {
    let service = "api".parse().unwrap();
    AllocatorError::NoPortsAvailable { service, range, strict: false, candidates, unlisted }
}

fn rejections() -> Vec<Rejection> {
    // A start in the future has the age 0.
    let holder = Holder {
        port: 8081,
        protocol: "tcp".parse().unwrap(),
        service: "web".parse().unwrap(),
        scope: Scope::default(),
        port_name: "admin".parse().ok(),
        pid: 123,
        user: "ann".to_owned(),
        since: Timestamp::MAX,
        alive: false,
        depth: Depth::Guarded,
    };
    [
        RejectionReason::Leased(Box::new(holder)),
        RejectionReason::ForeignProcess(SocketOwner::default()),
        RejectionReason::Reserved,
        RejectionReason::SystemReserved,
        RejectionReason::BlockedByBrowsers,
        RejectionReason::Restricted,
        RejectionReason::NotPermitted,
        RejectionReason::FreeByNow,
    ]
    .into_iter()
    .zip(8081..)
    .map(|(reason, port)| Rejection { port, reason })
    .collect()
}

#[test]
fn texts_and_remedies() {
    let line = |error: AllocatorError| {
        format!("{error}\n  remedy: {}", error.remedy().unwrap_or("none".into()))
    };
    let lines: Vec<String> = errors().into_iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
