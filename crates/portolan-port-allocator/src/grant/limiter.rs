//! The limiter: checks quotas and rate limits, which all processes of the user share.

use std::num::NonZeroU32;

use portolan_reservations::{Claim, LeaseBound, QuotaLock, Rate, ServiceKey, SessionId, Table};

use crate::audit;
use crate::error::{AllocatorError, LimitSubject};
use crate::inspect::lease_snapshot::LeaseSnapshot;
use crate::limits::PortLimits;
use crate::request::PortRequest;

/// The limits in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limiter {
    pub(crate) quota: PortLimits,
    pub(crate) rate: PortLimits,
}

/// Checks the quotas for one request.
#[derive(Debug)]
pub(crate) struct QuotaGuard<'a> {
    pub(crate) limits: PortLimits,
    pub(crate) request: &'a PortRequest,
    pub(crate) key: ServiceKey,
    pub(crate) table: &'a Table,
    pub(crate) own: SessionId,
    /// The result of the session's last scan, if it made one.
    pub(crate) bound: &'a mut Option<LeaseBound>,
    pub(crate) lock: Option<QuotaLock>,
}

/// Whether a claim may become a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// Another session counts leases exactly: withdraw the claim, [wait](QuotaGuard::wait), and claim
    /// again.
    Contended,
}

// === impl Limiter ===

impl Limiter {
    /// Counts a grant against the rate limits, or returns the limit that it exceeds. `now` is in
    /// nanoseconds.
    pub(crate) fn acquire_rate(
        &self,
        request: &PortRequest,
        key: ServiceKey,
        table: &Table,
        now: u64,
    ) -> Result<(), AllocatorError> {
        let limited = |subject, limit: NonZeroU32, wait| {
            let service = request.service.clone();
            AllocatorError::RateLimited { service, subject, limit: limit.get(), wait }
        };
        if let Some(limit) = self.rate.per_user {
            let acquired = table.acquire_user_rate(now, Rate::per_second(limit));
            acquired.map_err(|wait| limited(LimitSubject::User, limit, wait))?;
        }
        if let Some(limit) = self.rate.per_service {
            let acquired = table.acquire_service_rate(key, now, Rate::per_second(limit));
            acquired.map_err(|wait| limited(LimitSubject::Service, limit, wait))?;
        }
        Ok(())
    }
}

// === impl QuotaGuard ===

impl QuotaGuard<'_> {
    /// Decides whether the claim, which is bound already, keeps the quotas. To be called before the
    /// claim is published; the guard is dropped afterwards.
    pub(crate) fn admit(&mut self, claim: &Claim) -> Result<Admission, AllocatorError> {
        // Always, because other sessions may have quotas where this one has none.
        let ticket = self.table.take_ticket(claim);
        let quota = self.limits.quota();
        let known = self.bound.as_ref();
        if quota.is_unlimited()
            || known.is_some_and(|bound| bound.allows_later_claim(self.key, ticket, quota))
        {
            return Ok(Admission::Granted);
        }
        if self.bound.insert(self.table.scan_leases()).allows_scanned_claim(self.key, quota) {
            return Ok(Admission::Granted);
        }
        if self.lock.is_none() {
            self.lock = self.table.try_lock_quota()?;
        }
        match self.lock {
            Some(_) => self.count_exactly().map(|()| Admission::Granted),
            None => Ok(Admission::Contended),
        }
    }

    /// Waits until no other session counts leases exactly. The session must hold no claim.
    pub(crate) fn wait(&mut self) -> Result<(), AllocatorError> {
        self.lock = Some(self.table.lock_quota()?);
        Ok(())
    }

    fn count_exactly(&self) -> Result<(), AllocatorError> {
        let snapshot = LeaseSnapshot::new(self.table, Some(self.own));
        // So that the next scan does not count them.
        for (port, slot, record) in snapshot.orphans() {
            if self.table.release(port, slot) {
                audit::reclaimed(port, &record);
            }
        }
        let held = snapshot.count(&self.request.scope, &self.request.service);
        let limits = [
            (LimitSubject::Service, self.limits.per_service, held.of_service),
            (LimitSubject::User, self.limits.per_user, held.of_user),
        ];
        for (subject, limit, held) in limits {
            if let Some(limit) = limit.filter(|limit| held >= limit.get()) {
                let (service, limit) = (self.request.service.clone(), limit.get());
                return Err(AllocatorError::QuotaExceeded { service, subject, held, limit });
            }
        }
        Ok(())
    }
}
