//! How a server knows that its view is current.

use tokio::time::Instant;

use super::*;
use crate::store::etcd::probe::Probe;

/// Asks until the view was confirmed at a moment after this call.
async fn confirmed(shared: &Shared, probe: &mut Probe<'_>) {
    let began = Instant::now();
    let asked = async {
        while shared.freshness.age() > began.elapsed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = asked => {}
        () = probe.ask() => unreachable!("for ever"),
        () = tokio::time::sleep(PATIENCE) => panic!("the view is not confirmed"),
    }
}

/// As newer versions of etcd, which do not say how far a watch has come that begins after the newest revision.
#[tokio::test]
async fn view_of_a_quiet_store_is_confirmed_although_the_member_says_nothing() {
    let cluster = Cluster::start(1).await;
    let etcd = Etcd::open(&config(&cluster)).unwrap();
    let shared = &etcd.shared;
    shared.check_format().await.unwrap();
    let position = shared.load().await.unwrap();
    shared.freshness.reach(u64::MAX);
    // Its answers are never read.
    let (range, after) = (shared.keys.watched(), position.revision + 1);
    let watch = shared.client.watch(&range, after).await.unwrap();
    let mut probe = Probe::new(shared, watch.progress_requests());
    confirmed(shared, &mut probe).await;

    // What is committed counts once it is applied.
    cluster.etcdctl(&["put", &format!("{}/v1/deregistered", shared.keys.prefix()), "[]"]);
    let committed = shared.client.range(&range, 1, 0).await.unwrap().revision;
    assert!(committed > position.revision);
    tokio::select! {
        () = confirmed(shared, &mut probe) => panic!("the replica does not show it"),
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    shared.replica.lock().apply(&[], committed);
    probe.applied(committed);
    confirmed(shared, &mut probe).await;
}
