//! The calls: ranges, transactions and leases.

use crate::client::Repeat;
use crate::keys::end_of_prefix;
use crate::messages::{
    Compare, CompareTarget, Comparison, DeleteRangeRequest, KeyValue, LeaseGrantRequest,
    LeaseGrantResponse, LeaseRequest, LeaseRevokeResponse, LeaseTtlResponse, Operation, PutRequest,
    RangeRequest, RangeResponse, RequestOp, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};
use crate::{EtcdClient, EtcdError, KeyRange};

/// A lease of etcd. The keys that are attached to it are deleted when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtcdLease(pub i64);

/// A page of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct RangePage {
    /// The keys, in order.
    pub keys: Vec<KeyValue>,
    /// Whether there are more keys after the last one.
    pub more: bool,
    /// The revision of the cluster at which it was read.
    pub revision: i64,
    /// The cluster.
    pub cluster: u64,
}

/// A transaction: writes that take effect at once, if all comparisons hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    compares: Vec<Compare>,
    writes: Vec<RequestOp>,
}

/// The result of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionResult {
    /// Whether the comparisons held, so that the writes took effect.
    pub succeeded: bool,
    /// The revision of the cluster after it, which is the one of its writes.
    pub revision: i64,
}

/// The oldest version of etcd that this client works with: older members do not fence a watch by their leader, and
/// answer a request for progress differently.
const OLDEST: (u32, u32) = (3, 4);

// === impl EtcdClient ===

impl EtcdClient {
    /// Checks the version of the member that is used. One that denies the question passes.
    ///
    /// # Errors
    ///
    /// [`EtcdError::TooOld`], or the member does not answer.
    pub async fn check_version(&self) -> Result<(), EtcdError> {
        let method = "/etcdserverpb.Maintenance/Status";
        let answer = self.unary::<_, StatusResponse>(method, StatusRequest {}, Repeat::Safe).await;
        match answer {
            Ok(status) => check_version(&status.version),
            Err(EtcdError::Denied(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads at most `limit` keys of a range, at a revision; 0 is the newest one.
    pub async fn range(
        &self,
        range: &KeyRange,
        limit: i64,
        revision: i64,
    ) -> Result<RangePage, EtcdError> {
        let (key, range_end) = (range.first.clone(), range.end.clone());
        let request = RangeRequest { key, range_end, limit, revision, count_only: false };
        let answer: RangeResponse =
            self.unary("/etcdserverpb.KV/Range", request, Repeat::Safe).await?;
        let header = answer.header.unwrap_or_default();
        let (revision, cluster) = (header.revision, header.cluster_id);
        Ok(RangePage { keys: answer.kvs, more: answer.more, revision, cluster })
    }

    /// Executes a transaction. After an error that [`is_unreachable`](EtcdError::is_unreachable) it is not
    /// known whether it took effect.
    pub async fn transact(&self, transaction: Transaction) -> Result<TransactionResult, EtcdError> {
        let Transaction { compares, mut writes } = transaction;
        let repeat = if writes.is_empty() { Repeat::Safe } else { Repeat::Unsafe };
        if writes.is_empty() {
            // Without an operation, etcd compares with what the member happens to know.
            let key = compares.first().map(|compare| compare.key.clone()).unwrap_or_default();
            let request = RangeRequest { key, count_only: true, ..RangeRequest::default() };
            writes.push(operation(Operation::Range(request)));
        }
        let request = TxnRequest { compare: compares, success: writes };
        let answer: TxnResponse = self.unary("/etcdserverpb.KV/Txn", request, repeat).await?;
        let revision = answer.header.unwrap_or_default().revision;
        Ok(TransactionResult { succeeded: answer.succeeded, revision })
    }

    /// Creates a lease that ends so many seconds after it was kept alive last.
    pub async fn grant(&self, ttl: i64) -> Result<EtcdLease, EtcdError> {
        let request = LeaseGrantRequest { ttl };
        let method = "/etcdserverpb.Lease/LeaseGrant";
        let answer: LeaseGrantResponse = self.unary(method, request, Repeat::Safe).await?;
        Ok(EtcdLease(answer.id))
    }

    /// Ends a lease and deletes its keys. A lease that has ended is no error.
    pub async fn revoke(&self, lease: EtcdLease) -> Result<(), EtcdError> {
        let request = LeaseRequest { id: lease.0 };
        let method = "/etcdserverpb.Lease/LeaseRevoke";
        match self.unary::<_, LeaseRevokeResponse>(method, request, Repeat::Safe).await {
            Ok(_) | Err(EtcdError::LeaseGone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a lease its full TTL again. Returns whether there is such a lease.
    pub async fn keep_alive(&self, lease: EtcdLease) -> Result<bool, EtcdError> {
        let request = LeaseRequest { id: lease.0 };
        let method = "/etcdserverpb.Lease/LeaseKeepAlive";
        let stream = self.stream::<_, LeaseTtlResponse>(method, request).await?;
        Ok(stream.first.ttl > 0)
    }

    /// Returns the seconds that a lease has left, rounded down; `None` if it has ended.
    pub async fn time_to_live(&self, lease: EtcdLease) -> Result<Option<i64>, EtcdError> {
        let request = LeaseRequest { id: lease.0 };
        let method = "/etcdserverpb.Lease/LeaseTimeToLive";
        let answer: LeaseTtlResponse = self.unary(method, request, Repeat::Safe).await?;
        Ok((answer.ttl >= 0).then_some(answer.ttl))
    }
}

/// A text that is no version passes: the calls decide.
fn check_version(version: &str) -> Result<(), EtcdError> {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => {
            Err(EtcdError::TooOld(version.chars().take(40).collect()))
        }
        _ => Ok(()),
    }
}

// === impl Transaction ===

impl Transaction {
    /// Requires that the key was changed last at this revision; 0 means that it does not exist.
    #[must_use]
    pub fn if_unchanged(mut self, key: &str, revision: i64) -> Self {
        self.compares.push(compare(Comparison::Equal, key, revision, Vec::new()));
        self
    }

    /// Requires that no key with the prefix was written after this revision.
    #[must_use]
    pub fn if_none_written_after(mut self, prefix: &str, revision: i64) -> Self {
        let end = end_of_prefix(prefix.as_bytes());
        self.compares.push(compare(Comparison::Less, prefix, revision + 1, end));
        self
    }

    /// Writes a key.
    #[must_use]
    pub fn put(mut self, key: String, value: Vec<u8>, lease: Option<EtcdLease>) -> Self {
        let (key, lease) = (key.into_bytes(), lease.map_or(0, |lease| lease.0));
        self.writes.push(operation(Operation::Put(PutRequest { key, value, lease })));
        self
    }

    /// Deletes a key.
    #[must_use]
    pub fn delete(mut self, key: String) -> Self {
        let key = key.into_bytes();
        self.writes.push(operation(Operation::Delete(DeleteRangeRequest { key })));
        self
    }
}

fn compare(result: Comparison, key: &str, revision: i64, range_end: Vec<u8>) -> Compare {
    Compare {
        result: result.into(),
        target: CompareTarget::Mod.into(),
        key: key.as_bytes().to_vec(),
        mod_revision: Some(revision),
        range_end,
    }
}

fn operation(operation: Operation) -> RequestOp {
    RequestOp { operation: Some(operation) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_3_4_are_refused() {
        for version in ["3.4.0", "3.4.23", "3.5.0-rc.1", "3.6.1", "4.0.0", "", "custom"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["3.3.27", "3.3.0+git", "2.3.8"] {
            assert_eq!(check_version(version), Err(EtcdError::TooOld(version.into())));
        }
    }
}
