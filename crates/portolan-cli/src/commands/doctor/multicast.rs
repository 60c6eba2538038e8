//! Whether the broadcast channel can be joined, and hears what is sent on it.
//!
//! What is sent is a question for a service that nobody has, as `portolan discover` sends it, so
//! that it disturbs nobody. It goes out on loopback, and on an interface only where
//! `broadcast.interface` names one.

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
use super::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    name: "multicast",
    run: |context| look(&context.settings().broadcast).map(|finding| vec![finding]).boxed(),
};

/// How long a datagram to oneself may take. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// No datagram of UDP is larger.
const LARGEST: usize = 65_536;

async fn look(config: &BroadcastConfig) -> Finding {
    if !config.enabled {
        return Finding::ok("the broadcast channel is switched off", "broadcast.enabled is false");
    }
    match probe(&quiet(config)).await {
        Ok(finding) => finding,
        Err(reason) => Finding::of(Severity::Error, "the broadcast channel does not work", &reason),
    }
}

/// The same channel, where it reaches nobody that was not named.
fn quiet(config: &BroadcastConfig) -> BroadcastConfig {
    let interface = match config.interface.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        named => named.to_owned(),
    };
    BroadcastConfig { interface, peers: Vec::new(), ..config.clone() }
}

async fn probe(config: &BroadcastConfig) -> Result<Finding, String> {
    let group = config.multicast_address;
    let transport = UdpTransport::new(config).map_err(|error| error.to_string())?;
    let channel = transport.open_channel().map_err(|error| {
        format!(
            "cannot join {group}: {error}; end the program that holds the port without sharing it (`portolan ports check {}` names it), or set broadcast.multicast_address",
            group.port()
        )
    })?;
    let wanted = transport.destinations().to_vec();
    let broadcaster = Broadcaster::with_transport(Arc::new(transport), config, Metrics::new())
        .map_err(|error| error.to_string())?;
    let name = nobody()?;
    let mut heard = Vec::new();
    let asked = tokio::select! {
        _ = timeout(PATIENCE, hear(&*channel, &name, &wanted, &mut heard)) => Ok(()),
        // Without an answer, which is how it should be, this goes on listening.
        Err(error) = broadcaster.query(Some(&name), &[], PATIENCE, QueryMode::First) => Err(error),
    };
    broadcaster.stop().await;
    asked.map_err(|error| format!("cannot send to {group}: {error}"))?;
    Ok(judge(config, &wanted, &heard))
}

fn nobody() -> Result<ServiceName, String> {
    let name = format!("portolan-doctor-{}", uuid::Uuid::new_v4().simple());
    name.parse().map_err(|error| format!("{error}"))
}

/// Listens until what was asked has come from everywhere where it was sent.
async fn hear(
    channel: &dyn Receiver,
    name: &ServiceName,
    wanted: &[Destination],
    heard: &mut Vec<Destination>,
) {
    let mut buffer = vec![0; LARGEST];
    while !wanted.iter().all(|reach| heard.contains(reach)) {
        let Ok((size, source)) = channel.receive(&mut buffer).await else { continue };
        let ours = String::from_utf8_lossy(&buffer[..size]).contains(name.as_str());
        let reach =
            if source.ip().is_loopback() { Destination::Loopback } else { Destination::Network };
        heard.extend(ours.then_some(reach));
    }
}

fn judge(config: &BroadcastConfig, wanted: &[Destination], heard: &[Destination]) -> Finding {
    let (group, interface) = (config.multicast_address, &config.interface);
    let missing: Vec<&Destination> = wanted.iter().filter(|reach| !heard.contains(reach)).collect();
    let network = wanted.contains(&Destination::Network);
    let place = if network { format!("loopback and {interface}") } else { "loopback".to_owned() };
    let evidence = match missing.as_slice() {
        [] => {
            return Finding::ok(
                "the broadcast channel hears itself",
                format!("{group} on {place}"),
            );
        }
        [Destination::Network] => format!("nothing sent to {group} on {interface} came back"),
        _ => format!("nothing sent to {group} on loopback came back"),
    };
    Finding::error(
        "what is sent on the broadcast channel is not heard",
        evidence,
        "see whether a firewall drops it (`nft list ruleset`); where multicast is filtered, list broadcast.peers, or use a registry",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_where_nobody_named_an_interface() {
        let default = BroadcastConfig::default();
        assert_eq!(quiet(&default).interface, "127.0.0.1");
        let named = BroadcastConfig { interface: "eth0".to_owned(), ..default };
        assert_eq!(quiet(&named).interface, "eth0");
    }

    #[test]
    fn silence_on_either_side_is_an_error() {
        let config = BroadcastConfig { interface: "eth0".to_owned(), ..BroadcastConfig::default() };
        let both = [Destination::Loopback, Destination::Network];
        assert_eq!(judge(&config, &both, &both).severity, Severity::Ok);
        for (heard, missing) in [(&both[..1], "on eth0"), (&both[1..], "on loopback")] {
            let found = judge(&config, &both, heard);
            assert_eq!(found.severity, Severity::Error);
            assert!(found.for_people("multicast").contains(missing), "{found:?}");
        }
    }
}
