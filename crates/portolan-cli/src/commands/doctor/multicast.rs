//! Whether the broadcast channel can be joined on each of its interfaces, and receives the datagrams that
//! are sent there.
//!
//! The probe is a query for a service with a random name, sent as every query is.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use portolan_broadcast::transport::udp::UdpTransport;
use portolan_broadcast::transport::{Destination, Receiver, Transport};
use portolan_broadcast::{BroadcastConfig, Broadcaster, QueryMode};
use portolan_core::ServiceName;
use portolan_metrics::Metrics;
use tokio::time::timeout;

use super::Check;
use super::finding::Finding;
use crate::exit::Failure;

pub(super) const CHECK: Check =
    Check { name: "multicast", run: |context| check(&context.settings().broadcast).boxed() };

/// The timeout for a datagram to this host, which usually takes microseconds.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum size of a UDP datagram, in bytes.
const MAX_DATAGRAM: usize = 65_536;

const FIREWALL: &str = "check whether a firewall drops them (`nft list ruleset`); if the network filters multicast, list hosts in broadcast.peers or use a registry";

/// A group under test.
struct Probe {
    transport: UdpTransport,
    receiver: Box<dyn Receiver>,
    /// Where the query is sent.
    sent: Vec<Destination>,
}

/// What the probe has found out about one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tested {
    /// The interface, such as `eth0`.
    interface: String,
    is_loopback: bool,
    is_joined: bool,
    is_heard: bool,
}

async fn check(config: &BroadcastConfig) -> Vec<Finding> {
    if !config.enabled {
        return vec![Finding::ok(
            "the broadcast channel is disabled",
            "broadcast.enabled is false",
        )];
    }
    let config = BroadcastConfig { peers: Vec::new(), ..config.clone() };
    probe(&config).await.unwrap_or_else(|failure| {
        vec![Finding::from_failure("the broadcast channel does not work", &failure)]
    })
}

async fn probe(config: &BroadcastConfig) -> Result<Vec<Finding>, Failure> {
    let transports = UdpTransport::of_every_channel(config)?;
    let is_cut_off = transports.iter().any(Transport::has_networks)
        && transports.iter().all(|it| networks(it).next().is_none());
    // A host without IPv6 does not use the group beside the default one.
    let used = transports.into_iter().filter(|it| !it.destinations().is_empty());
    let probes = used.map(Probe::open).collect::<Result<Vec<_>, Failure>>()?;
    let broadcaster = Broadcaster::new(config.clone(), Metrics::new()).await?;
    let name = random_name()?;
    let heard = join_all(probes.iter().map(|probe| probe.receive(&name)));
    let (heard, sent) = tokio::join!(heard, async {
        // The query gets no response, and ends at its timeout.
        broadcaster.query(Some(&name), &[], TIMEOUT, QueryMode::All).await
    });
    broadcaster.stop().await;
    sent.map_err(|error| Failure::failed(format_args!("cannot send a query: {error}")))?;
    let is_named = config.interface != "0.0.0.0";
    let mut findings = Vec::new();
    for (probe, heard) in probes.iter().zip(&heard) {
        let group = probe.transport.group().to_string();
        findings.extend(evaluate(&group, &probe.tested(heard), is_named));
    }
    findings.extend(is_cut_off.then(cut_off));
    Ok(findings)
}

fn networks(transport: &UdpTransport) -> impl Iterator<Item = Destination> {
    transport.destinations().into_iter().filter(|it| *it != Destination::Loopback)
}

fn cut_off() -> Finding {
    Finding::warning(
        "the broadcast channel reaches this host only",
        "no interface of it has an address; a default route is not needed",
        "give an interface that supports multicast an address, or set broadcast.interface; it is used as soon as it has one",
    )
}

fn random_name() -> Result<ServiceName, Failure> {
    let name = format!("portolan-doctor-{}", uuid::Uuid::new_v4().simple());
    name.parse().map_err(Failure::failed)
}

// === impl Probe ===

impl Probe {
    fn open(transport: UdpTransport) -> Result<Self, Failure> {
        let group = transport.group();
        let receiver = transport.open_channel().map_err(|error| {
            Failure::failed(format_args!("cannot join {group}: {error}")).remedy(format!(
                "end the program that uses the port without SO_REUSEADDR (`portolan ports check {}` names it), or set broadcast.multicast_address",
                group.port()
            ))
        })?;
        let sent = transport.destinations();
        Ok(Self { transport, receiver, sent })
    }

    /// Receives until the query for this name has arrived from every destination, or the timeout.
    async fn receive(&self, name: &ServiceName) -> Vec<Destination> {
        let mut heard = Vec::new();
        let mut buffer = vec![0; MAX_DATAGRAM];
        let receive_from_all = async {
            while !self.sent.iter().all(|destination| heard.contains(destination)) {
                let Ok((size, source)) = self.receiver.receive(&mut buffer).await else { continue };
                let ours = String::from_utf8_lossy(&buffer[..size]).contains(name.as_str());
                let is_source =
                    |it: &&Destination| self.transport.addresses(**it).contains(&source.ip());
                heard.extend(self.sent.iter().find(is_source).filter(|_| ours));
            }
        };
        // At the timeout it has what it has.
        _ = timeout(TIMEOUT, receive_from_all).await;
        heard
    }

    fn tested(&self, heard: &[Destination]) -> Vec<Tested> {
        let test = |destination: &Destination| Tested {
            interface: self.transport.interface_name(*destination).unwrap_or_default(),
            is_loopback: *destination == Destination::Loopback,
            is_joined: self.transport.is_joined(*destination),
            is_heard: heard.contains(destination),
        };
        self.sent.iter().map(test).collect()
    }
}

// === impl Tested ===

impl Tested {
    fn place(&self) -> &str {
        if self.is_loopback { "loopback" } else { &self.interface }
    }

    /// Returns what is wrong. It is an error if the user named the interface, and on loopback.
    fn problem(&self, group: &str, is_named: bool) -> Option<Finding> {
        let place = self.place();
        let (what, evidence, remedy) = if !self.is_joined {
            let what =
                "the broadcast channel cannot be joined on an interface, so that it is deaf there";
            let remedy = "check net.ipv4.igmp_max_memberships and the flag MULTICAST of the interface (`ip link`)";
            (what, format!("{group} on {place}"), remedy)
        } else if !self.is_heard {
            let what = "datagrams on the broadcast channel are not received";
            (what, format!("no datagram to {group} on {place} was received"), FIREWALL)
        } else {
            return None;
        };
        Some(match is_named || self.is_loopback {
            true => Finding::error(what, evidence, remedy),
            false => Finding::warning(what, evidence, remedy),
        })
    }
}

/// Returns a finding for the interfaces that work, and one for each other.
fn evaluate(group: &str, tested: &[Tested], is_named: bool) -> Vec<Finding> {
    let works = tested.iter().filter(|it| it.is_joined && it.is_heard).map(Tested::place);
    let works = works.collect::<Vec<_>>().join(" and ");
    let what = "the broadcast channel receives its own datagrams";
    let good = (!works.is_empty()).then(|| Finding::ok(what, format!("{group} on {works}")));
    let problems = tested.iter().filter_map(|it| it.problem(group, is_named));
    good.into_iter().chain(problems).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn tested(interface: &str, is_joined: bool, is_heard: bool) -> Tested {
        Tested {
            interface: interface.to_owned(),
            is_loopback: interface == "lo",
            is_joined,
            is_heard,
        }
    }

    fn texts(tested: &[Tested], is_named: bool) -> Vec<(Severity, String)> {
        let findings = evaluate("239.255.0.1:7001", tested, is_named);
        findings.iter().map(|it| (it.severity, it.to_text("multicast"))).collect()
    }

    #[test]
    fn every_interface_is_evaluated() {
        let good = texts(&[tested("lo", true, true), tested("eth0", true, true)], false);
        assert_eq!(good.len(), 1);
        assert!(good[0].1.contains("239.255.0.1:7001 on loopback and eth0"), "{good:?}");
        let all =
            [tested("lo", true, true), tested("eth0", true, false), tested("eth1", false, false)];
        for (is_named, severity) in [(false, Severity::Warning), (true, Severity::Error)] {
            let found = texts(&all, is_named);
            let severities: Vec<_> = found.iter().map(|(severity, _)| *severity).collect();
            assert_eq!(severities, [Severity::Ok, severity, severity]);
            assert!(found[1].1.contains("no datagram to 239.255.0.1:7001 on eth0"), "{found:?}");
            assert!(found[2].1.contains("cannot be joined"), "{found:?}");
        }
    }

    #[test]
    fn silence_on_loopback_is_an_error() {
        assert_eq!(texts(&[tested("lo", true, false)], false)[0].0, Severity::Error);
    }
}
