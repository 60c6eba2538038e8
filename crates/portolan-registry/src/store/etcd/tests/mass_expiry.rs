//! Leases of many instances that end at once, over several servers.

use super::*;
use crate::store::remote::suite::mass_expiry;

#[tokio::test]
async fn instances_whose_leases_end_at_once_are_kept_by_all_servers() {
    let cluster = Cluster::start(1).await;
    mass_expiry::instances_whose_leases_end_at_once_are_kept_by_all_servers(&config(&cluster))
        .await;
}

/// The first server asks etcd before it keeps the one that is dead.
#[tokio::test]
async fn instances_that_another_server_renews_do_not_protect_a_dead_one() {
    let cluster = Cluster::start(1).await;
    mass_expiry::instances_that_another_server_renews_do_not_protect_a_dead_one(&config(&cluster))
        .await;
}
