//! Whether the broadcast channel can be joined, and receives its own datagrams.
//!
//! The probe is a query for a service with a random name. It is sent on loopback, and on a network
//! interface only if `broadcast.interface` names it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use portolan_broadcast::transport::udp::UdpTransport;
use portolan_broadcast::transport::{Destination, Receiver, Transport};
use portolan_broadcast::{BroadcastConfig, Broadcaster, QueryMode};
use portolan_core::ServiceName;
use portolan_metrics::Metrics;
use tokio::time::timeout;

use super::Check;
use super::finding::Finding;
use crate::exit::Failure;

pub(super) const CHECK: Check = Check {
    name: "multicast",
    run: |context| check(&context.settings().broadcast).map(|finding| vec![finding]).boxed(),
};

/// The timeout for a datagram to this host, which usually takes microseconds.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum size of a UDP datagram, in bytes.
const MAX_DATAGRAM: usize = 65_536;

async fn check(config: &BroadcastConfig) -> Finding {
    if !config.enabled {
        return Finding::ok("the broadcast channel is disabled", "broadcast.enabled is false");
    }
    match probe(&restricted(config)).await {
        Ok(finding) => finding,
        Err(failure) => Finding::from_failure("the broadcast channel does not work", &failure),
    }
}

/// Returns the configuration restricted to loopback and the interface that the configuration names.
fn restricted(config: &BroadcastConfig) -> BroadcastConfig {
    let interface = match config.interface.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        named => named.to_owned(),
    };
    BroadcastConfig { interface, peers: Vec::new(), ..config.clone() }
}

async fn probe(config: &BroadcastConfig) -> Result<Finding, Failure> {
    let group = config.multicast_address;
    let transport = UdpTransport::new(config)?;
    let channel = transport.open_channel().map_err(|error| {
        Failure::failed(format_args!("cannot join {group}: {error}")).remedy(format!(
            "end the program that uses the port without SO_REUSEADDR (`portolan ports check {}` names it), or set broadcast.multicast_address",
            group.port()
        ))
    })?;
    let wanted = transport.destinations();
    let broadcaster =
        Broadcaster::with_transport(Arc::new(transport.clone()), config, Metrics::new())?;
    let name = random_name()?;
    let mut heard = Vec::new();
    let sent = tokio::select! {
        _ = timeout(TIMEOUT, receive_from_all(&transport, &*channel, &name, &wanted, &mut heard)) => Ok(()),
        // The query gets no response, and must not end the test before its timeout.
        Err(error) = broadcaster.query(Some(&name), &[], TIMEOUT, QueryMode::First) => Err(error),
    };
    broadcaster.stop().await;
    sent.map_err(|error| Failure::failed(format_args!("cannot send to {group}: {error}")))?;
    Ok(evaluate(config, &wanted, &heard))
}

fn random_name() -> Result<ServiceName, Failure> {
    let name = format!("portolan-doctor-{}", uuid::Uuid::new_v4().simple());
    name.parse().map_err(Failure::failed)
}

/// Receives until the query for this name has arrived from every destination.
async fn receive_from_all(
    transport: &UdpTransport,
    channel: &dyn Receiver,
    name: &ServiceName,
    wanted: &[Destination],
    heard: &mut Vec<Destination>,
) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    while !wanted.iter().all(|destination| heard.contains(destination)) {
        let Ok((size, source)) = channel.receive(&mut buffer).await else { continue };
        let ours = String::from_utf8_lossy(&buffer[..size]).contains(name.as_str());
        let is_source = |it: &&Destination| transport.addresses(**it).contains(&source.ip());
        heard.extend(wanted.iter().find(is_source).filter(|_| ours));
    }
}

fn evaluate(config: &BroadcastConfig, wanted: &[Destination], heard: &[Destination]) -> Finding {
    let (group, interface) = (config.multicast_address, &config.interface);
    let missing: Vec<&Destination> =
        wanted.iter().filter(|destination| !heard.contains(destination)).collect();
    let network = wanted.iter().any(|it| matches!(it, Destination::Interface(_)));
    let place = if network { format!("loopback and {interface}") } else { "loopback".to_owned() };
    let evidence = match missing.as_slice() {
        [] => {
            return Finding::ok(
                "the broadcast channel receives its own datagrams",
                format!("{group} on {place}"),
            );
        }
        [Destination::Interface(_)] => {
            format!("no datagram to {group} on {interface} was received")
        }
        _ => format!("no datagram to {group} on loopback was received"),
    };
    Finding::error(
        "datagrams on the broadcast channel are not received",
        evidence,
        "check whether a firewall drops them (`nft list ruleset`); if the network filters multicast, list hosts in broadcast.peers or use a registry",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn probe_uses_loopback_unless_an_interface_is_named() {
        let default = BroadcastConfig::default();
        assert_eq!(restricted(&default).interface, "127.0.0.1");
        let named = BroadcastConfig { interface: "eth0".to_owned(), ..default };
        assert_eq!(restricted(&named).interface, "eth0");
    }

    #[test]
    fn missing_datagram_on_either_interface_is_an_error() {
        let config = BroadcastConfig { interface: "eth0".to_owned(), ..BroadcastConfig::default() };
        let both = [Destination::Loopback, Destination::Interface(2)];
        assert_eq!(evaluate(&config, &both, &both).severity, Severity::Ok);
        for (received, missing) in [(&both[..1], "on eth0"), (&both[1..], "on loopback")] {
            let found = evaluate(&config, &both, received);
            assert_eq!(found.severity, Severity::Error);
            assert!(found.to_text("multicast").contains(missing), "{found:?}");
        }
    }
}
