//! Commands that several servers commit at the same time.

use super::*;
use crate::store::remote::suite;

#[tokio::test]
async fn concurrent_commands_have_one_history() {
    let cluster = Cluster::start(1).await;
    suite::run(|| config(&cluster)).await;
}

#[tokio::test]
async fn concurrent_commands_have_one_history_over_three_members() {
    let cluster = Cluster::start(3).await;
    suite::run(|| config(&cluster)).await;
}

/// A server that is stopped, or cut off, may have decided to end a lease, and its transaction arrives when the lease
/// was renewed at another server.
#[tokio::test]
async fn late_end_of_a_lease_does_not_remove_an_instance_that_was_renewed_elsewhere() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let id = first.register(&registration("api", 1)).await.unwrap().endpoint.id.clone();
    let (client, key) = (cluster.client(), Keys::new(&config.etcd.prefix).endpoint(&id));
    let written = async || {
        let page = client.range(&portolan_etcd::KeyRange::key(&key), 1, 0).await.unwrap();
        page.keys[0].mod_revision
    };
    let decided = written().await;
    eventually("seen", || second.registry.get(&id).is_some()).await;
    second.registry.heartbeat(&id).await.unwrap();
    let late =
        portolan_etcd::Transaction::default().if_unchanged(&key, decided).delete(key.clone());
    assert!(!client.transact(late).await.unwrap().succeeded);

    // A server that renewed the lease itself within the TTL writes nothing.
    let renewed = written().await;
    for _ in 0..3 {
        second.registry.heartbeat(&id).await.unwrap();
    }
    assert_eq!(written().await, renewed);
}
