//! How much one service, and one user, may have: a quota on what is held at once, and a rate of
//! grants. Both are counted by all processes together.

use std::num::NonZeroU32;

use portolan_reservations::{Counted, Quota, Rate, SessionId, Table, Tally};
use serde::{Deserialize, Serialize};

use crate::error::{AllocatorError, LimitSubject};
use crate::request::PortRequest;
use crate::view::View;

/// A limit for each service, and one for the user altogether. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortLimits {
    /// Of one service, in one scope.
    pub per_service: Option<NonZeroU32>,
    /// Of all services of the user in this network namespace.
    pub per_user: Option<NonZeroU32>,
}

/// The limits in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limiter {
    pub(crate) quota: PortLimits,
    pub(crate) rate: PortLimits,
}

// === impl PortLimits ===

impl PortLimits {
    /// These many, or no limit where the number is 0.
    pub const fn new(per_service: u32, per_user: u32) -> Self {
        Self { per_service: NonZeroU32::new(per_service), per_user: NonZeroU32::new(per_user) }
    }

    fn quota(self) -> Quota {
        let [per_service, per_user] = [self.per_service, self.per_user].map(|it| it.map(u32::from));
        Quota { per_service, per_user }
    }
}

// === impl Limiter ===

impl Limiter {
    /// Counts a grant that is about to be searched for; or says which limit it would break.
    ///
    /// `now` is in nanoseconds.
    pub(crate) fn admit<'a>(
        &self,
        request: &PortRequest,
        view: &View<'a>,
        now: u64,
    ) -> Result<Counted<'a>, AllocatorError> {
        let tally = Tally::of(&request.scope, &request.service);
        let counted = self.count(request, view, tally)?;
        self.pace(request, view, tally, now)?;
        Ok(counted)
    }

    /// Says which limit a grant broke after all: others that were searching at the same time were
    /// counted, and had no lease yet to be seen. To be called once the lease is there, and then no
    /// two can miss each other.
    pub(crate) fn confirm(
        &self,
        request: &PortRequest,
        tally: Tally,
        table: &Table,
        own: SessionId,
    ) -> Result<(), AllocatorError> {
        match table.is_crowded(tally, self.quota.quota()) {
            // Not with what was seen before the lease was there.
            true => self.expect_room(request, &View::new(table, Some(own)), 0),
            false => Ok(()),
        }
    }

    fn count<'a>(
        &self,
        request: &PortRequest,
        view: &View<'a>,
        tally: Tally,
    ) -> Result<Counted<'a>, AllocatorError> {
        let (table, quota) = (view.table(), self.quota.quota());
        if let Ok(counted) = table.count(tally, quota) {
            return Ok(counted);
        }
        // The counts may be too high. The leases themselves tell, and what is left of owners that
        // ended is cleared away meanwhile.
        self.expect_room(request, view, 1)?;
        Ok(table.count(tally, quota).unwrap_or_else(|_| table.count_anyway(tally)))
    }

    /// Whether there may be so many more than there are.
    fn expect_room(
        &self,
        request: &PortRequest,
        view: &View<'_>,
        more: u32,
    ) -> Result<(), AllocatorError> {
        let held = view.census(&request.scope, &request.service);
        let limits = [
            (LimitSubject::Service, self.quota.per_service, held.of_service),
            (LimitSubject::User, self.quota.per_user, held.of_all),
        ];
        for (subject, limit, held) in limits {
            if let Some(limit) = limit.filter(|limit| held + more > limit.get()) {
                let (service, limit) = (request.service.clone(), limit.get());
                let held = held + more - 1;
                return Err(AllocatorError::QuotaExceeded { service, subject, held, limit });
            }
        }
        Ok(())
    }

    fn pace(
        &self,
        request: &PortRequest,
        view: &View<'_>,
        tally: Tally,
        now: u64,
    ) -> Result<(), AllocatorError> {
        let table = view.table();
        let too_early = |subject, limit: NonZeroU32, wait| {
            let service = request.service.clone();
            AllocatorError::RateLimited { service, subject, limit: limit.get(), wait }
        };
        if let Some(limit) = self.rate.per_user {
            let paced = table.acquire_user_rate(now, Rate::per_second(limit));
            paced.map_err(|wait| too_early(LimitSubject::User, limit, wait))?;
        }
        if let Some(limit) = self.rate.per_service {
            let paced = table.acquire_service_rate(tally, now, Rate::per_second(limit));
            paced.map_err(|wait| too_early(LimitSubject::Service, limit, wait))?;
        }
        Ok(())
    }
}
