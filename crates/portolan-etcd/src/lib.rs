//! A thin client of etcd: the calls that Portolan's store needs, over gRPC without generated code.
//!
//! [`EtcdClient`] asks one endpoint at a time and turns to the next one if that is unreachable. Each call
//! has a deadline, each message a bound. A call that writes is repeated only if it is idempotent.
//!
//! Knows nothing of the registry. Works with etcd 3.4 and later.

mod calls;
mod client;
mod error;
mod keys;
mod messages;
mod options;
mod watch;

pub use calls::{EtcdLease, RangePage, Transaction, TransactionResult};
pub use client::EtcdClient;
pub use error::EtcdError;
pub use keys::KeyRange;
pub use messages::KeyValue;
pub use options::{EtcdOptions, EtcdTls, EtcdUser};
pub use watch::{EtcdEvent, EtcdWatch, ProgressRequests, WatchBatch, WatchItem};
