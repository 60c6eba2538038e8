//! The limits of identities: what all clients with one identity use together, wherever they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_access::{Grants, IdentityLimits};
use portolan_core::TokenBucket;
use tokio::time::Instant;

use crate::{LimitedResource, RequestError};

const MIB: usize = 1024 * 1024;

/// What the identities use. Bounded: identities are those of the policies.
#[derive(Debug, Default)]
pub(crate) struct IdentityUsages(Mutex<HashMap<String, Usage>>);

#[derive(Debug, Default)]
struct Usage {
    streams: usize,
    response_bytes: usize,
    /// The state of the bucket of requests.
    requests: Option<Instant>,
}

/// What an identity uses. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct IdentityPermit {
    usages: Arc<IdentityUsages>,
    identity: String,
    used: Used,
}

#[derive(Debug, Clone, Copy)]
enum Used {
    Stream,
    ResponseBytes(usize),
}

// === impl IdentityUsages ===

impl IdentityUsages {
    /// Admits a request.
    pub(crate) fn request(&self, grants: &Grants) -> Result<(), RequestError> {
        let IdentityLimits { requests_per_second: Some(rate), .. } = grants.limits() else {
            return Ok(());
        };
        let bucket = TokenBucket::new(rate.saturating_mul(4), Duration::from_secs(1) / rate.max(1));
        let mut usages = self.0.lock();
        let usage = usages.entry(grants.identity().to_owned()).or_default();
        let limit = usize::try_from(rate).unwrap_or(usize::MAX);
        let what = LimitedResource::RequestsOfIdentity;
        let too_many = |_| RequestError::TooMany { what, limit, retry_after: 1 };
        bucket.take(&mut usage.requests, Instant::now()).map_err(too_many)
    }

    /// Admits a response without an end.
    pub(crate) fn stream(
        self: &Arc<Self>,
        grants: &Grants,
    ) -> Result<Option<IdentityPermit>, RequestError> {
        let IdentityLimits { watches: Some(limit), .. } = grants.limits() else { return Ok(None) };
        self.take(grants, Used::Stream, |usage| {
            if usage.streams >= limit {
                let what = LimitedResource::StreamsOfIdentity;
                return Err(RequestError::TooMany { what, limit, retry_after: 5 });
            }
            usage.streams += 1;
            Ok(())
        })
    }

    /// Reserves memory for a response. One that is larger than the whole budget is sent alone.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        grants: &Grants,
        bytes: usize,
    ) -> Result<Option<IdentityPermit>, RequestError> {
        let IdentityLimits { response_mib: Some(limit), .. } = grants.limits() else {
            return Ok(None);
        };
        let limit = limit.saturating_mul(MIB);
        self.take(grants, Used::ResponseBytes(bytes), |usage| {
            let total = usage.response_bytes.saturating_add(bytes);
            if total > limit && usage.response_bytes > 0 {
                let what = LimitedResource::ResponseBytesOfIdentity;
                return Err(RequestError::TooMany { what, limit, retry_after: 1 });
            }
            usage.response_bytes = total;
            Ok(())
        })
    }

    fn take(
        self: &Arc<Self>,
        grants: &Grants,
        used: Used,
        admit: impl FnOnce(&mut Usage) -> Result<(), RequestError>,
    ) -> Result<Option<IdentityPermit>, RequestError> {
        let identity = grants.identity().to_owned();
        admit(self.0.lock().entry(identity.clone()).or_default())?;
        Ok(Some(IdentityPermit { usages: Arc::clone(self), identity, used }))
    }
}

impl Drop for IdentityPermit {
    fn drop(&mut self) {
        let mut usages = self.usages.0.lock();
        let Some(usage) = usages.get_mut(&self.identity) else { return };
        match self.used {
            Used::Stream => usage.streams = usage.streams.saturating_sub(1),
            Used::ResponseBytes(bytes) => {
                usage.response_bytes = usage.response_bytes.saturating_sub(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::Revision;

    use super::*;

    fn grants(identity: &str, requests_per_second: Option<u32>, watches: Option<usize>) -> Grants {
        let limits = IdentityLimits { requests_per_second, watches, ..IdentityLimits::default() };
        Grants::new(identity, Vec::new(), Revision(0)).with_limits(limits)
    }

    #[tokio::test(start_paused = true)]
    async fn identity_has_a_burst_and_then_a_rate() {
        let usages = IdentityUsages::default();
        let (limited, other) = (grants("api", Some(5), None), grants("db", Some(5), None));
        let admitted = (0..50).filter(|_| usages.request(&limited).is_ok()).count();
        assert_eq!(admitted, 20);
        usages.request(&other).unwrap();
        usages.request(&grants("free", None, None)).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..50).filter(|_| usages.request(&limited).is_ok()).count(), 5);
    }

    #[test]
    fn streams_of_an_identity_are_limited_while_they_last() {
        let usages = Arc::new(IdentityUsages::default());
        let limited = grants("api", None, Some(2));
        let open: Vec<_> = (0..2).map(|_| usages.stream(&limited).unwrap()).collect();
        let error = usages.stream(&limited).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the client has reached its limit of 2 streams of its identity"
        );
        drop(open);
        assert!(usages.stream(&limited).unwrap().is_some());
        assert!(usages.stream(&grants("free", None, None)).unwrap().is_none());
    }

    #[test]
    fn responses_to_an_identity_are_limited_while_they_are_read() {
        let usages = Arc::new(IdentityUsages::default());
        let limits = IdentityLimits { response_mib: Some(1), ..IdentityLimits::default() };
        let limited = Grants::new("api", Vec::new(), Revision(0)).with_limits(limits);
        let half = usages.reserve(&limited, MIB / 2).unwrap();
        let error = usages.reserve(&limited, MIB / 2 + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the client has reached its limit of 1048576 bytes of responses to its identity"
        );
        let rest = usages.reserve(&limited, MIB / 2).unwrap();
        drop((half, rest));
        let large = usages.reserve(&limited, 2 * MIB).unwrap();
        usages.reserve(&limited, 1).unwrap_err();
        drop(large);
        assert!(usages.reserve(&limited, 1).unwrap().is_some());
        assert!(usages.reserve(&grants("free", None, None), 1000).unwrap().is_none());
    }
}
