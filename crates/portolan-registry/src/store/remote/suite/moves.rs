//! A registry that moves to another prefix of its cluster, while servers work over both.

use jiff::Timestamp;
use portolan_core::{Incarnation, Registration};

use crate::store::inspect;
use crate::store::remote::harness::{Server, eventually};
use crate::store::suite::registration;
use crate::transfer::{Export, import};
use crate::{CommandTarget, RegistryConfig};

/// Moves what is registered in one prefix, which is empty, to another one.
pub(crate) async fn registry_is_moved_while_servers_run(
    old: &RegistryConfig,
    new: &RegistryConfig,
) {
    let empty = inspect(old).await.unwrap();
    assert_eq!((empty.records.len(), empty.servers.len()), (0, 0));
    let (server, other) = (Server::start(old).await, Server::start(new).await);
    let registration =
        Registration { incarnation: Some(Incarnation::new(7)), ..registration("api", 8080) };
    server.register(&registration).await.unwrap();
    let owns = || server.registry.membership().owns(&registration.id());
    eventually("the server is a member", owns).await;
    let inspection = inspect(old).await.unwrap();
    assert_eq!((inspection.records.len(), inspection.servers.len()), (1, 1));
    assert_eq!(inspection.problems, []);
    let report = import(new, Export::new(inspection, Timestamp::now())).await.unwrap();
    assert_eq!((report.imported, report.refused.len()), (1, 0));
    eventually("imported", || other.registry.list().len() == 1).await;
    // The import has left, and the server takes care of its lease.
    eventually("alone", || other.registry.membership().owns(&registration.id())).await;
    assert_eq!(inspect(new).await.unwrap().problems, []);
    let owner = CommandTarget { id: registration.id(), incarnation: registration.incarnation };
    other.registry.heartbeat(owner).await.unwrap();
    server.kill().await;
    other.kill().await;
}
