//! `portolan ports list`: the ports of this host that are leased or in use.

use clap::Args;
use portolan_core::duration::format_duration;
use portolan_port_allocator::{LeasedPort, PortListener, PortUsage};
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit};
use crate::output;

/// Options of `portolan ports list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only leases, without foreign listeners
    #[arg(long)]
    leased: bool,
}

/// The text of an empty column.
const NOTHING: &str = "-";
const HEADER: [&str; 9] =
    ["PORT", "PROTOCOL", "SERVICE", "SCOPE", "DEPTH", "AGE", "PID", "USER", "LISTENING"];

type Row = [String; HEADER.len()];

// === impl List ===

impl List {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let PortUsage { leases, foreign } = context.allocator()?.port_usage();
        match (context.json, self.leased) {
            (true, true) => output::json(&json!({ "ports": leases }))?,
            (true, false) => output::json(&json!({ "ports": leases, "foreign": foreign }))?,
            (false, true) => print(&leases, &[])?,
            (false, false) => print(&leases, &foreign)?,
        }
        Ok(Exit::Done)
    }
}

fn print(leases: &[LeasedPort], foreign: &[PortListener]) -> Result<(), crate::exit::Failure> {
    let foreign = foreign.chunk_by(are_one_process);
    let leases = leases.iter().map(|leased| (leased.holder.port, row_of_lease(leased)));
    let foreign = foreign.map(|sockets| (sockets[0].port, row_of_foreign(sockets)));
    let mut rows: Vec<(u16, Row)> = leases.chain(foreign).collect();
    rows.sort_by_key(|(port, _)| *port);
    let mut table = output::table(HEADER);
    rows.into_iter().for_each(|(_, row)| _ = table.add_row(row));
    output::line(table.trim_fmt())
}

fn row_of_lease(leased: &LeasedPort) -> Row {
    let LeasedPort { holder, listeners } = leased;
    let name = holder.port_name.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
    let listening = listeners.chunk_by(are_one_process).map(|sockets| match &sockets[0].process {
        Some(process) => {
            format!("{} (pid {}) on {}", process.name, process.pid, addresses(sockets))
        }
        None => format!("user {} on {}", sockets[0].user, addresses(sockets)),
    });
    let listening: Vec<String> = listening.collect();
    [
        holder.port.to_string(),
        holder.protocol.to_string(),
        format!("{}{name}", holder.service),
        holder.scope.to_string(),
        holder.depth.to_string(),
        format_duration(holder.age()),
        holder.pid.to_string(),
        holder.user.clone(),
        if listening.is_empty() { NOTHING.to_owned() } else { listening.join(", ") },
    ]
}

fn row_of_foreign(sockets: &[PortListener]) -> Row {
    let PortListener { port, protocol, process, user, .. } = &sockets[0];
    let name = process.as_ref().map_or("a process", |process| &process.name);
    let pid = process.as_ref().map(|process| process.pid.to_string());
    let nothing = || NOTHING.to_owned();
    [
        port.to_string(),
        protocol.to_string(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        pid.unwrap_or_else(nothing),
        user.clone(),
        format!("{name} on {}", addresses(sockets)),
    ]
}

/// A server with a socket for each address has one row.
fn are_one_process(one: &PortListener, other: &PortListener) -> bool {
    let of = |it: &PortListener| (it.port, it.protocol, it.process.clone(), it.user.clone());
    of(one) == of(other)
}

fn addresses(sockets: &[PortListener]) -> String {
    let addresses: Vec<String> = sockets.iter().map(|it| it.address.to_string()).collect();
    addresses.join(" ")
}

#[cfg(test)]
mod tests {
    use portolan_port_allocator::{Process, SocketProtocol};

    use super::*;

    fn listener(address: &str, process: Option<&str>) -> PortListener {
        let (user, address) = ("ann".to_owned(), address.parse().unwrap());
        let process =
            process.map(|name| Process { pid: 7, name: name.to_owned(), user: user.clone() });
        PortListener { port: 80, protocol: SocketProtocol::Tcp, address, process, user }
    }

    #[test]
    fn a_server_on_two_addresses_has_one_row() {
        let sockets = [listener("0.0.0.0", Some("nginx")), listener("::", Some("nginx"))];
        assert_eq!(sockets.chunk_by(are_one_process).count(), 1);
        let row = row_of_foreign(&sockets).join(" ");
        assert_eq!(row, "80 tcp - - - - 7 ann nginx on 0.0.0.0 ::");
    }

    #[test]
    fn listener_of_an_unknown_process_shows_its_user() {
        let row = row_of_foreign(&[listener("127.0.0.1", None)]).join(" ");
        assert_eq!(row, "80 tcp - - - - - ann a process on 127.0.0.1");
    }
}
