//! How often instances are examined, and how many for one client: reports can be sent by anybody who may read a service, and
//! must make the registry neither a port scanner nor a source of floods.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use portolan_core::ServiceId;
use tokio::time::Instant;

/// How long after a report others about the same instance change nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// How many instances a client can have examined in this time. The programs of the registry's host are one client.
const FOR_CLIENT: usize = 64;
/// How many instances are examined in this time at most.
const IN_ALL: usize = 1024;

/// What was reported in the current period of one second.
#[derive(Debug)]
pub(super) struct Limits {
    since: Instant,
    instances: HashSet<ServiceId>,
    /// How many of them each client reported first; `None` is that of all whose host is hidden by a proxy.
    clients: HashMap<Option<IpAddr>, usize>,
}

/// What becomes of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The instance is to be examined.
    New,
    /// It is being examined, or was a moment ago.
    Repeated,
    /// The client, or all of them, have reported too many.
    TooMany,
}

// === impl Limits ===

impl Limits {
    pub(super) fn admit(&mut self, id: &ServiceId, client: Option<IpAddr>) -> Admission {
        if self.since.elapsed() >= PAUSE {
            *self = Self::default();
        }
        if self.instances.contains(id) {
            return Admission::Repeated;
        }
        let client = client.map(network);
        let count = self.clients.get(&client).copied().unwrap_or_default();
        if count >= FOR_CLIENT || self.instances.len() >= IN_ALL {
            return Admission::TooMany;
        }
        self.clients.insert(client, count + 1);
        self.instances.insert(id.clone());
        Admission::New
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { since: Instant::now(), instances: HashSet::new(), clients: HashMap::new() }
    }
}

/// A host of IPv6 has as many addresses as it likes in its network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ServiceId {
        format!("api-{number}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_reports_and_those_of_one_client_are_limited() {
        let mut limits = Limits::default();
        let client = |text: &str| Some(text.parse().unwrap());
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(limits.admit(&id(0), one), Admission::New);
        assert_eq!(limits.admit(&id(0), other), Admission::Repeated);
        let admitted = |limits: &mut Limits, client, from: usize| {
            let ids = from..from + 5 * IN_ALL;
            ids.filter(|number| limits.admit(&id(*number), client) == Admission::New).count()
        };
        assert_eq!(admitted(&mut limits, one, 1), FOR_CLIENT - 1);
        assert_eq!(admitted(&mut limits, other, 10_000), FOR_CLIENT);
        let all: usize = (1..=100)
            .map(|last| {
                admitted(&mut limits, client(&format!("198.51.100.{last}")), last * 100_000)
            })
            .sum();
        assert_eq!(all, IN_ALL - 2 * FOR_CLIENT);
        tokio::time::advance(PAUSE).await;
        assert_eq!(limits.admit(&id(0), one), Admission::New);
        assert_eq!(limits.clients.len(), 1, "the former ones are forgotten");
        let of_network = |last: u16| client(&format!("2001:db8::{last:x}"));
        let from_network: usize = (1..=70u16)
            .filter(|last| {
                limits.admit(&id(usize::from(*last)), of_network(*last)) == Admission::New
            })
            .count();
        assert_eq!(from_network, FOR_CLIENT);
    }
}
