//! The end of leases in etcd, and how long etcd takes for any change.

use std::time::Instant;

use anyhow::{Result, ensure};
use portolan_etcd::{EtcdEvent, EtcdWatch, KeyRange, Transaction, WatchItem};

use super::{TRIALS, TTL, killed, micros_since};
use crate::registry::etcd::server::Etcd;

const PREFIX: &str = "/crash/";

/// Stops renewing leases, and returns the times from the kill to the deletion of the key, in microseconds.
pub(super) fn ends(etcd: &Etcd) -> Result<Vec<u32>> {
    block_on(async {
        let client = etcd.client()?;
        let mut watch = client.watch(&KeyRange::with_prefix(PREFIX), 1).await?;
        let mut kills = Vec::with_capacity(TRIALS);
        for number in 0..TRIALS {
            let lease = client.grant(TTL.as_secs().try_into()?).await?;
            ensure!(client.keep_alive(lease).await?, "no lease");
            kills.push(killed(number)?);
            let put = Transaction::default().put(format!("{PREFIX}{number}"), vec![], Some(lease));
            client.transact(put).await?;
        }
        let mut times = Vec::with_capacity(TRIALS);
        while times.len() < TRIALS {
            for key in deleted(&mut watch).await? {
                let number: usize = key.trim_start_matches(PREFIX).parse()?;
                times.push(micros_since(kills[number])?);
            }
        }
        Ok(times)
    })
}

/// Deletes keys one after the other, and returns when a watch of another client saw it, in microseconds.
pub(super) fn changes(etcd: &Etcd) -> Result<Vec<u32>> {
    block_on(async {
        let (writer, reader) = (etcd.client()?, etcd.client()?);
        let mut watch = reader.watch(&KeyRange::with_prefix(PREFIX), 1).await?;
        let mut times = Vec::with_capacity(TRIALS);
        for number in 0..TRIALS {
            let key = format!("{PREFIX}change-{number}");
            writer.transact(Transaction::default().put(key.clone(), vec![], None)).await?;
            let began = Instant::now();
            writer.transact(Transaction::default().delete(key.clone())).await?;
            while !deleted(&mut watch).await?.contains(&key) {}
            times.push(micros_since(began)?);
        }
        Ok(times)
    })
}

/// Returns the keys of the next batch that were deleted.
async fn deleted(watch: &mut EtcdWatch) -> Result<Vec<String>> {
    let WatchItem::Batch(batch) = watch.next().await? else { return Ok(Vec::new()) };
    let keys = batch.events.into_iter().filter_map(|event| match event {
        EtcdEvent::Deleted(deleted) => Some(String::from_utf8(deleted.key)),
        _ => None,
    });
    Ok(keys.collect::<Result<_, _>>()?)
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
