use std::collections::BTreeSet;

use futures_util::FutureExt;
use portolan::{DiscoveryClient, DiscoveryConfig};

use super::*;

/// A client of two configured instances.
fn client() -> DiscoveryClient {
    let json = "{\"endpoints\": {\"api\": [\"127.0.0.1:1\", \"127.0.0.1:2\"]}, \"strategies\": [\"config\"]}";
    let config: DiscoveryConfig = serde_json::from_str(json).unwrap();
    DiscoveryClient::builder().config(config).build().unwrap()
}

#[tokio::test]
async fn instances_are_inserted_and_a_failed_one_is_removed() {
    let instances = client().instances("api").await.unwrap();
    let mut changes = InstanceDiscover::new(instances.clone(), |endpoint| endpoint.port);
    let mut inserted = BTreeSet::new();
    for _ in 0..2 {
        match changes.next().await {
            Some(Ok(Change::Insert(_, service))) => inserted.insert(service.endpoint().port),
            _ => panic!("an insertion was expected"),
        };
    }
    assert_eq!(inserted, BTreeSet::from([1, 2]));
    assert!(changes.next().now_or_never().is_none());

    let failed = Arc::clone(&instances.current()[0]);
    instances.report_failure(&failed);
    match changes.next().await {
        Some(Ok(Change::Remove(id))) => assert_eq!(id, failed.id),
        _ => panic!("a removal was expected"),
    }
    assert!(changes.next().now_or_never().is_none());
}
