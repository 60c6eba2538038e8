//! Recorders of etcd's history: one a member, so that each change is recorded as soon as any member delivers it.

use std::sync::Arc;
use std::time::Duration;

use portolan_etcd::{EtcdClient, EtcdError, EtcdOptions, KeyRange, WatchItem};
use tokio::time::{sleep, timeout};

use crate::cluster::history::PREFIX;
use crate::cluster::record::Recording;

/// The wait between two attempts to reach the member.
const RETRY: Duration = Duration::from_millis(100);
/// The longest silence, after which the watch is opened again. There is always something to record.
const SILENCE: Duration = Duration::from_secs(3);

/// Records what a member delivers from revision 1 on, for ever.
pub(super) async fn record(index: usize, member: String, recording: Arc<Recording>) {
    let options = EtcdOptions { endpoints: vec![member], ..EtcdOptions::default() };
    let client = EtcdClient::new(options).expect("the URL is valid");
    let mut next = 1;
    loop {
        if let Err(error) = follow(index, &client, &mut next, &recording).await {
            assert_ne!(error, EtcdError::Compacted, "the recorder is slower than the compaction");
        }
        sleep(RETRY).await;
    }
}

async fn follow(
    index: usize,
    client: &EtcdClient,
    next: &mut i64,
    recording: &Recording,
) -> Result<(), EtcdError> {
    // `deregistered` and `endpoints/`; `0` follows `/`.
    let (first, end) = (format!("{PREFIX}deregistered"), format!("{PREFIX}endpoints0"));
    let mut watch = client.watch(&KeyRange::between(&first, &end), *next).await?;
    while let Ok(item) = timeout(SILENCE, watch.next()).await {
        let WatchItem::Batch(batch) = item? else { continue };
        let at = recording.now();
        *next = batch.revision + 1;
        recording.members[index].lock().extend(batch.events.into_iter().map(|event| (at, event)));
    }
    Ok(())
}
