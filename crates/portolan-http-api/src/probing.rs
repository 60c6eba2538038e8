//! Asks the addresses of an instance whether anything listens there: the answer is the proof that an end of a session, or a
//! caller's report, is not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_core::{Host, IpNetwork, ServiceEndpoint};
use portolan_health::{ProbeOutcome, RegistrantReach, probe};
use portolan_registry::Registry;

/// How many addresses of an instance are asked.
const ADDRESSES: usize = 8;
/// How long an address may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// The hosts of an instance, each with its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(Vec<(Host, u16)>);

/// What the addresses of an instance answer together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All refuse.
    Gone,
    /// One accepts.
    Alive,
    /// None accepts, and one does not answer.
    Unknown,
}

/// The addresses of an instance that the registry may connect to: at the host that registered it, and in these networks.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// One list for each host of the instance, its main one first.
    of_hosts: Vec<Vec<SocketAddr>>,
}

// === impl Place ===

impl Place {
    pub(crate) fn of(endpoint: &ServiceEndpoint) -> Self {
        Self(endpoint.hosts().map(|host| (host.clone(), endpoint.port_at(host))).collect())
    }
}

// === impl Addresses ===

impl Addresses {
    pub(crate) async fn of(
        endpoint: &ServiceEndpoint,
        registry: &Registry,
        allowed: &Arc<[IpNetwork]>,
    ) -> Self {
        let reach = RegistrantReach::new(registry.registrant(&endpoint.id), Arc::clone(allowed));
        let authorities = endpoint.hosts().map(|host| host.with_port(endpoint.port_at(host)));
        let of_hosts = join_all(authorities.map(|authority| {
            let reach = &reach;
            async move { reach.addresses(&authority).await }
        }));
        Self { of_hosts: of_hosts.await }
    }

    /// Whether the main host of the instance is among them.
    pub(crate) fn have_main_host(&self) -> bool {
        self.of_hosts.first().is_some_and(|of_main| !of_main.is_empty())
    }

    pub(crate) fn into_list(self) -> Vec<SocketAddr> {
        let mut addresses = self.of_hosts.concat();
        // Those of the main host are asked in any case.
        let main = self.of_hosts.first().map_or(0, Vec::len).min(ADDRESSES);
        addresses[main..].sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES);
        addresses
    }
}

// === impl Verdict ===

impl Verdict {
    /// Asks all of these addresses at once.
    pub(crate) async fn ask(addresses: &[SocketAddr]) -> Self {
        let outcomes: Vec<_> = ask_each(addresses).await;
        Self::of(&outcomes)
    }

    fn of(outcomes: &[ProbeOutcome]) -> Self {
        if outcomes.contains(&ProbeOutcome::Accepted) {
            Self::Alive
        } else if outcomes.contains(&ProbeOutcome::NoAnswer) {
            Self::Unknown
        } else {
            Self::Gone
        }
    }
}

/// Asks all of these addresses at once, and returns what each answers.
pub(crate) async fn ask_each(addresses: &[SocketAddr]) -> Vec<ProbeOutcome> {
    join_all(addresses.iter().map(|address| probe(*address, ANSWER))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_every_address_is_the_end() {
        use ProbeOutcome::{Accepted, NoAnswer, Refused};
        for (outcomes, expected) in [
            (&[Refused][..], Verdict::Gone),
            (&[Refused, Refused], Verdict::Gone),
            (&[Refused, NoAnswer], Verdict::Unknown),
            (&[NoAnswer], Verdict::Unknown),
            (&[NoAnswer, Accepted], Verdict::Alive),
            (&[Refused, Accepted], Verdict::Alive),
        ] {
            assert_eq!(Verdict::of(outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn main_host_is_asked_whatever_else_there_is() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let main = address("192.0.2.9:80");
        let others: Vec<_> = (1..=20).map(|last| address(&format!("192.0.2.{last}:81"))).collect();
        let addresses = Addresses { of_hosts: vec![vec![main], others] };
        assert!(addresses.have_main_host());
        let list = addresses.into_list();
        assert_eq!((list.len(), list[0]), (ADDRESSES, main));
        assert!(!Addresses { of_hosts: vec![Vec::new(), vec![main]] }.have_main_host());
    }
}
