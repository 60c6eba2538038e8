//! Keeps instances although their leases ended, because too many of those that this server ends would end at once.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use portolan_core::ServiceEndpoint;
use portolan_etcd::Transaction;
use tokio::time::Instant;

use super::Shared;
use super::leases::{CONCURRENT, RETRY, ROUNDING, rest};
use super::record::Value;
use super::replica::{Record, Replica};
use crate::store::mass_expiry::Kept;
use crate::store::remote::{self, KeptValue, Written};

/// How long it holds what etcd has said about the leases that appear to end: less than two fifths of a usual TTL, which a lease
/// has at least that does not end.
const VERIFIED: Duration = Duration::from_secs(1);

// === impl Shared ===

impl Shared {
    /// Whether an instance whose lease ended is kept. The others may have been renewed at another server, of which this one
    /// does not know, so etcd is asked before any is kept.
    pub(super) async fn keeps(&self, record: &Record) -> Option<Kept> {
        // One at a time: the others wait for what it finds out.
        let mut verified = self.leases_verified.lock().await;
        let suspected = self.replica.lock().keeps(&record.endpoint)?;
        if verified.is_some_and(|at: Instant| at.elapsed() < VERIFIED) {
            return Some(suspected);
        }
        self.verify_leases().await;
        *verified = Some(Instant::now());
        let mut replica = self.replica.lock();
        replica.mass_expiry.forget();
        replica.keeps(&record.endpoint)
    }

    /// Asks etcd for each lease that appears to end, and starts the timers of those again that do not.
    async fn verify_leases(&self) {
        let suspects = self.replica.lock().suspects();
        let ask = |record: Record| async move {
            let left = self.client.time_to_live(record.lease).await;
            if let Ok(Some(left)) = left
                && let Some(rest) = rest(&record, left)
            {
                self.replica.lock().postpone(&record, rest + ROUNDING);
            }
        };
        stream::iter(suspects).for_each_concurrent(CONCURRENT, ask).await;
    }

    /// Keeps an instance: its health says why, and until when another server keeps it too.
    pub(super) async fn keep(&self, record: Record, kept: Kept) {
        let key = self.keys.endpoint(&record.endpoint.id);
        let keep = kept.keep;
        let (endpoint, kept) = KeptValue::mark(&record.endpoint, kept);
        let Record { owner, server, lease_ttl, .. } = &record;
        let value =
            Value::new(endpoint, owner, Written::Health, *server, *lease_ttl).kept(Some(kept));
        let transaction = Transaction::default().if_unchanged(&key, record.written).put(
            key,
            value.encode(),
            Some(record.lease),
        );
        let result = self.client.transact(transaction).await;
        let is_kept = result.is_ok_and(|result| result.succeeded);
        self.start_again(&record, if is_kept { keep } else { RETRY });
    }
}

// === impl Replica ===

impl Replica {
    fn keeps(&mut self, endpoint: &ServiceEndpoint) -> Option<Kept> {
        let Self { mass_expiry, records, timers, .. } = self;
        remote::keeps(mass_expiry, timers, endpoint, |id| {
            let record = records.get(id)?;
            Some((&*record.endpoint, record.kept.is_some()))
        })
    }

    /// The instances whose leases appear to end, and are not kept yet.
    fn suspects(&self) -> Vec<Record> {
        let own = self.timers.all().filter_map(|(id, left)| Some((self.record(id)?, left)));
        let suspects = own.filter(|(record, left)| {
            record.kept.is_none() && crate::store::mass_expiry::is_ending(&record.endpoint, *left)
        });
        suspects.map(|(record, _)| record.clone()).collect()
    }

    /// A lease has been renewed at another server: starts its timer again, even if it has just fired and etcd is being asked
    /// for this lease too.
    fn postpone(&mut self, record: &Record, after: Duration) {
        let id = &record.endpoint.id;
        let is_known = self.record(id).is_some_and(|known| known.lease == record.lease);
        if is_known {
            self.timers.set(id, after);
        }
    }
}
