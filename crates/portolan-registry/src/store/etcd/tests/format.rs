//! Keys that another build has written.

use std::collections::BTreeMap;

use portolan_etcd::Transaction;
use serde::Deserialize;

use super::*;
use portolan_core::Incarnation;

/// A key as it was in etcd.
#[derive(Debug, Deserialize)]
struct Kept {
    /// The revision of etcd that wrote it last.
    revision: i64,
    key: String,
    value: String,
    /// Which lease it is attached to, and the TTL of that.
    lease: Option<u32>,
    lease_ttl: Option<i64>,
}

/// Writes the keys into a fresh etcd, each at the revision that it had.
async fn restore(cluster: &Cluster, keys: &[Kept]) {
    let (client, mut leases) = (cluster.client(), BTreeMap::new());
    let mut revision = 1;
    for written in keys.chunk_by(|a, b| a.revision == b.revision) {
        while revision + 1 < written[0].revision {
            let padding = Transaction::default().put("padding".into(), Vec::new(), None);
            revision = client.transact(padding).await.unwrap().revision;
        }
        let mut transaction = Transaction::default();
        for key in written {
            if let (Some(lease), Some(ttl)) = (key.lease, key.lease_ttl)
                && !leases.contains_key(&lease)
            {
                leases.insert(lease, client.grant(ttl).await.unwrap());
            }
            let lease = key.lease.map(|lease| leases[&lease]);
            transaction = transaction.put(key.key.clone(), key.value.clone().into_bytes(), lease);
        }
        revision = client.transact(transaction).await.unwrap().revision;
        assert_eq!(revision, written[0].revision);
    }
}

/// The file was written by the first version of the format: each later one reads it.
#[tokio::test]
async fn first_version_of_the_format_is_read() {
    let text = include_str!("format-1/keys.jsonl");
    let keys: Vec<Kept> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cluster = Cluster::start(1).await;
    restore(&cluster, &keys).await;
    let etcd = EtcdConfig { endpoints: cluster.endpoints(), ..EtcdConfig::default() };
    let storage_backend = crate::StorageBackend::named("etcd").unwrap();
    let config = RegistryConfig { storage_backend, etcd, ..RegistryConfig::default() };
    let server = Server::start(&config).await;

    let all = server.registry.list();
    let shown: Vec<_> = all
        .iter()
        .map(|it| {
            (it.id.as_str(), it.port, it.health.as_str(), it.health_reason.as_str(), it.revision.0)
        })
        .collect();
    let expected = [
        ("api-1", 8080, "passing", "200 OK in 3 ms", 639),
        ("db-1", 5432, "critical", "refused", 8 * 128 + 127),
        ("new", 9000, "unknown", "", 13 * 128 + 127),
        ("web-1", 81, "unknown", "", 10 * 128 + 127),
    ];
    assert_eq!(shown, expected);
    let find = |id: &str| all.iter().find(|endpoint| endpoint.id.as_str() == id).unwrap();
    let api = find("api-1");
    assert_eq!((api.addresses.len(), api.metadata.get("owner")), (2, Some(r#"team "a""#)));
    assert_eq!(find("db-1").scope.as_str(), "shop");

    // Those that were replaced are still fenced, and the others are alive.
    let heartbeat = async |id: &str, incarnation| {
        let incarnation = Some(Incarnation::new(incarnation));
        let target = crate::CommandTarget { id: id.parse().unwrap(), incarnation };
        server.registry.heartbeat(target).await
    };
    let replaced = heartbeat("db-1", 1).await;
    assert!(matches!(replaced, Err(RegistryError::AnotherIncarnation { .. })), "{replaced:?}");
    let displaced = heartbeat("old", 0xa).await;
    assert!(matches!(displaced, Err(RegistryError::Displaced { .. })), "{displaced:?}");
    for (id, incarnation) in [("db-1", 2), ("new", 0xb)] {
        heartbeat(id, incarnation).await.unwrap();
    }
    // The last change was the end of `gone`; the next one has a higher revision.
    let registered = server.register(&registration("later", 1)).await.unwrap();
    assert!(registered.endpoint.revision.0 > 16 * 128);
}
