//! Follows the interfaces of this host, and reports whether the channel reaches other hosts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::interfaces::InterfaceEvents;
use crate::node::Node;

/// How long a host may be without an interface for the channel before it is logged: short commands do
/// not log it, and neither does a host whose network is just coming up.
const GRACE: Duration = Duration::from_secs(1);

/// The hosts that the channel reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This host only, as configured.
    Loopback,
    /// This host only, because no interface for the channel has an address, or none could be joined.
    CutOff,
    /// Other hosts, too.
    Network,
}

/// Joins the group on new interfaces and reports the reach, until it is dropped.
pub(crate) async fn follow(node: Arc<Node>, reach: watch::Sender<Reach>) {
    if !node.links.iter().any(|link| link.transport.has_networks()) {
        return;
    }
    let mut events = InterfaceEvents::subscribe();
    // What changed before the subscription is not reported.
    node.refresh();
    let mut warned = false;
    loop {
        let now = node.reach();
        reach.send_if_modified(|known| std::mem::replace(known, now) != now);
        match now {
            Reach::CutOff if !warned => {
                if timeout(GRACE, events.changed()).await.is_err() {
                    warned = true;
                    warn!(
                        "No network interface for the broadcast channel, only this host is reached until there is one"
                    );
                    continue;
                }
            }
            _ => {
                if now == Reach::Network && std::mem::take(&mut warned) {
                    info!("Broadcast channel reaches other hosts");
                }
                events.changed().await;
            }
        }
        node.refresh();
    }
}
