//! What `portolan run` says of its service.

use portolan_core::{Host, ServiceName};
use portolan_supervisor::Service;

use crate::output;

/// Tells the user where the service is.
pub(super) struct Report {
    pub(super) name: ServiceName,
    pub(super) host: Host,
    pub(super) quiet: bool,
}

impl Report {
    /// Prints where the service is, as far as it is known: another user may be faster than a program that has not
    /// listened yet. `before` is whether the service was awaited before the last event.
    pub(super) fn print(&self, service: &Service, before: Option<(bool, u16)>) {
        let Some(port) = service.port().filter(|_| !self.quiet) else { return };
        let now = (service.is_awaited(), port);
        if before == Some(now) {
            return;
        }
        let (name, address) = (&self.name, self.host.with_port(port));
        let named = service.named_ports().into_iter();
        let named: String = named.map(|(name, port)| format!(", {name} at {port}")).collect();
        match now.0 {
            true => output::note(format_args!(
                "{name} has port {port}{named}, and is announced once its program listens"
            )),
            false => output::note(format_args!("{name} at {address}{named}")),
        }
    }
}
