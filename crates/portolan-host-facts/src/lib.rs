//! Facts about this host: which sockets and processes exist, how the kernel assigns ports, and
//! which directories Portolan keeps its files in.
//!
//! Everything is read from Linux when it is asked for: `/proc`, sock_diag(7) and the file system.
//! Each format has one parser, and no content makes a parser panic: unreadable facts are missing
//! facts. The crate changes nothing but the directories that it creates, and knows nothing of
//! leases.

pub mod directories;
mod ephemeral_usage;
mod family;
mod files;
mod listeners;
mod processes;
pub mod registry_socket;
mod sockets;
pub mod sysctl;
mod system_ports;

pub use directories::DirectoryError;
pub use ephemeral_usage::EphemeralUsage;
pub use family::{Deputies, ForeignListener, PortListeners, ProcessFamily};
pub use listeners::{PortListener, SocketProtocol, foreign_listener, port_listeners};
pub use processes::{
    Process, ProcessStat, child_processes, descendants, executable_name, ignored_signals,
    is_group_running, is_private_group, processes_with, socket_owners, user_ids, user_name,
    variable_of,
};
#[cfg(fuzzing)]
pub use sockets::parse_datagram;
pub use sockets::{
    ListenerProbe, Socket, SocketOwner, connected_user, has_connections, has_listener,
    has_udp_socket, is_accepted, is_bound_by_others, is_listening, listening_inodes,
    listening_socket_owner, listening_sockets, listening_users, owners_of_ports,
};
pub use system_ports::SystemPorts;
