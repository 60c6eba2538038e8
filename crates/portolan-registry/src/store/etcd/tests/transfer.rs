//! Exports and imports, and what an inspection finds.

use super::*;
use crate::store::remote::suite::moves::registry_is_moved_while_servers_run;
use crate::store::{InspectError, inspect};
use portolan_etcd::Transaction;

async fn put(config: &RegistryConfig, key: &str, value: &str) {
    let client = EtcdClient::new(config.etcd.options().unwrap()).unwrap();
    let put = Transaction::default().put(key.to_owned(), value.as_bytes().to_vec(), None);
    client.transact(put).await.unwrap();
}

#[tokio::test]
async fn registry_is_moved_between_prefixes_while_servers_run() {
    let cluster = Cluster::start(1).await;
    let (old, new) = (config(&cluster), config(&cluster));
    registry_is_moved_while_servers_run(&old, &new).await;
}

#[tokio::test]
async fn damage_and_foreign_keys_are_reported_and_nothing_is_written() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    server.register(&registration("api", 8080)).await.unwrap();
    let prefix = config.etcd.prefix.clone();
    put(&config, &format!("{prefix}/v1/endpoints/broken"), "{").await;
    put(&config, &format!("{prefix}/v2/jobs"), "x").await;
    let inspection = inspect(&config).await.unwrap();
    assert_eq!(inspection.records.len(), 1);
    let mut found = inspection.problems.iter().map(|it| (it.place.clone(), it.problem.clone()));
    let (place, problem) = found.next().unwrap();
    assert!(place.ends_with("/v1/endpoints/broken") && problem.contains("cannot be read"));
    let (place, problem) = found.next().unwrap();
    assert!(place.ends_with("/v2/jobs") && problem.contains("does not know"));
    assert_eq!(found.next(), None);
    server.kill().await;
}

#[tokio::test]
async fn prefix_of_something_else_and_unreachable_etcd_are_told_apart() {
    let cluster = Cluster::start(1).await;
    let mut config = config(&cluster);
    put(&config, &format!("{}/jobs/1", config.etcd.prefix), "x").await;
    let error = inspect(&config).await.unwrap_err();
    assert!(matches!(error, InspectError::Unusable { .. }), "{error}");
    assert!(error.with_remedy().contains("etcd.prefix"));
    config.etcd.endpoints = vec!["http://127.0.0.1:1".to_owned()];
    let error = inspect(&config).await.unwrap_err();
    assert!(matches!(error, InspectError::Unreachable { .. }), "{error}");
}
