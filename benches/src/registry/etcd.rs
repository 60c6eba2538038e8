//! The store `etcd`, compared with a bare client of the same etcd, and with the store `memory`.

pub(super) mod load;
pub(super) mod peers;
pub(crate) mod server;
