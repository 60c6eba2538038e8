//! `portolan ports wait`: waits until a process listens on a port.

use std::time::Duration;

use clap::Args;
use portolan_client::Deadline;
use portolan_core::duration::format_duration;
use portolan_core::{parse_duration, port};
use portolan_host_facts::{ListenerProbe, SocketProtocol, has_udp_socket};
use portolan_port_allocator::{PortAllocator, PortListener};
use serde_json::json;
use tokio::time::sleep;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

pub(super) const AFTER_HELP: &str = "\
The exit status is 124 if nothing listens in time. It does not connect to the port, and does not wait until the process is ready: \
`portolan exec --wait` and `portolan discover` do so for services.";

/// How often the kernel is asked for the listener: the kernel does not tell when a process begins to listen.
const INTERVAL: Duration = Duration::from_millis(20);

/// Options of `portolan ports wait`.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Port on which a process is to listen
    #[arg(value_parser = port::parse)]
    port: u16,
    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    timeout: Duration,
    /// Wait for a UDP socket on the port
    #[arg(long)]
    udp: bool,
}

// === impl Wait ===

impl Wait {
    pub(super) async fn run(self, context: &Context) -> CommandResult {
        let allocator = context.allocator()?;
        let deadline = Deadline::after(self.timeout);
        let mut probe = ListenerProbe::default();
        loop {
            // Only then is every socket of this host looked at, with its process.
            if self.has_listener(&mut probe) {
                let listeners = self.listeners(&allocator);
                if !listeners.is_empty() {
                    return print(&listeners, context.json);
                }
            }
            if deadline.remaining().is_zero() {
                return Err(self.timed_out(&allocator));
            }
            sleep(INTERVAL.min(deadline.remaining())).await;
        }
    }

    fn has_listener(&self, probe: &mut ListenerProbe) -> bool {
        if self.udp { has_udp_socket(self.port) } else { probe.has_listener(self.port) }
    }

    fn listeners(&self, allocator: &PortAllocator) -> Vec<PortListener> {
        let mut listeners = allocator.listeners(self.port);
        listeners.retain(|listener| listener.protocol == self.protocol());
        listeners
    }

    fn protocol(&self) -> SocketProtocol {
        if self.udp { SocketProtocol::Udp } else { SocketProtocol::Tcp }
    }

    fn timed_out(&self, allocator: &PortAllocator) -> Failure {
        let (port, protocol) = (self.port, self.protocol().as_str());
        let timeout = format_duration(self.timeout);
        let message =
            format!("no process of this host listens on port {port} ({protocol}) within {timeout}");
        let remedy = match allocator.check(port).holder {
            Some(holder) => format!("the port is leased to {holder}: see why it does not listen"),
            None => format!("`portolan ports check {port}` explains the port"),
        };
        Failure::new(Exit::TimedOut, message).remedy(remedy)
    }
}

fn print(listeners: &[PortListener], as_json: bool) -> CommandResult {
    if as_json {
        output::json(&json!({ "listeners": listeners }))?;
        return Ok(Exit::Done);
    }
    for listener in listeners {
        output::line(listener)?;
    }
    Ok(Exit::Done)
}
