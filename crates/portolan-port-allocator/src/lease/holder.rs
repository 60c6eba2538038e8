//! The holder of a lease, as listings show it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::duration::format_duration;
use portolan_core::{PortName, Protocol, Scope, ServiceName};
use portolan_reservations::Depth;
use serde::Serialize;

/// A lease in force on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The leased port.
    pub port: u16,
    /// The leased protocols: `tcp` or `tcp+udp`.
    pub protocol: Protocol,
    /// The service that holds it.
    pub service: ServiceName,
    /// The scope of the service's name.
    pub scope: Scope,
    /// The name of this port of the service; `None` for its main port.
    pub port_name: Option<PortName>,
    /// The id of the process that requested it.
    pub pid: u32,
    /// The name of the user that runs the process; the user id if the user has no name.
    pub user: String,
    /// When it was granted.
    pub since: Timestamp,
    /// Whether that process still runs. If not, a child keeps the lease.
    pub alive: bool,
    /// The hold level.
    pub depth: Depth,
}

// === impl Holder ===

impl Holder {
    /// Returns how long it has been held, in whole seconds; 0 if the clock was set back.
    pub fn age(&self) -> Duration {
        let age = Timestamp::now().duration_since(self.since).as_secs().max(0);
        Duration::from_secs(age.unsigned_abs())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, scope, pid, .. } = self;
        f.write_str(service.as_str())?;
        self.port_name.iter().try_for_each(|name| write!(f, ":{name}"))?;
        write!(f, " (scope {scope}, pid {pid}")?;
        if !self.alive {
            f.write_str(", which has ended and left it to a child")?;
        }
        write!(f, ", {} for {})", self.depth, format_duration(self.age()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            port: 5432,
            protocol: "tcp".parse().unwrap(),
            service: "postgres-1".parse().unwrap(),
            scope: Scope::default(),
            port_name: None,
            pid: 123,
            user: "ann".to_owned(),
            since: Timestamp::now(),
            alive: true,
            depth: Depth::Guarded,
        }
    }

    #[test]
    fn holder_text_has_scope_process_and_age() {
        assert_eq!(holder().to_string(), "postgres-1 (scope default, pid 123, guarded for 0s)");
        let orphan = Holder { alive: false, ..holder() };
        assert!(orphan.to_string().contains("pid 123, which has ended and left it to a child"));
    }

    #[test]
    fn age_is_not_negative_if_the_clock_was_set_back() {
        let tomorrow = Timestamp::now() + jiff::SignedDuration::from_hours(24);
        let holder = Holder { since: tomorrow, ..holder() };
        assert!(holder.to_string().ends_with("for 0s)"), "{holder}");
    }
}
