//! How much one service, and one user, may have: a quota on what is held at once, and a rate of
//! grants. Both are counted by all processes together.

use std::num::NonZeroU32;

use portolan_reservations::{Counted, Quota, Rate, Tally};
use serde::{Deserialize, Serialize};

use crate::error::{AllocatorError, Bearer};
use crate::request::PortRequest;
use crate::view::View;

/// A limit for each service, and one for the user altogether. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of one service, in one scope.
    pub per_service: Option<NonZeroU32>,
    /// Of all services of the user in this network namespace.
    pub per_user: Option<NonZeroU32>,
}

/// The limits in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limiter {
    pub(crate) quota: Limits,
    pub(crate) rate: Limits,
}

// === impl Limits ===

impl Limits {
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
        self.pace(request, view, tally, now)?;
        let table = view.table();
        let quota = self.quota.quota();
        if let Ok(counted) = table.count(tally, quota) {
            return Ok(counted);
        }
        // The counts may be too high. The leases themselves tell, and what is left of owners that
        // ended is cleared away meanwhile.
        let held = view.census(&request.scope, &request.service);
        let over = |limit: Option<NonZeroU32>, held: u32| limit.filter(|limit| held >= limit.get());
        let exceeded = |bearer, limit: NonZeroU32, held| AllocatorError::QuotaExceeded {
            service: request.service.clone(),
            bearer,
            held,
            limit: limit.get(),
        };
        if let Some(limit) = over(self.quota.per_service, held.of_service) {
            return Err(exceeded(Bearer::Service, limit, held.of_service));
        }
        match over(self.quota.per_user, held.of_all) {
            Some(limit) => Err(exceeded(Bearer::User, limit, held.of_all)),
            None => Ok(table.count_anyway(tally)),
        }
    }

    fn pace(
        &self,
        request: &PortRequest,
        view: &View<'_>,
        tally: Tally,
        now: u64,
    ) -> Result<(), AllocatorError> {
        let table = view.table();
        let too_early = |bearer, limit: NonZeroU32| {
            let service = request.service.clone();
            move |wait| AllocatorError::RateLimited { service, bearer, limit: limit.get(), wait }
        };
        if let Some(limit) = self.rate.per_service {
            let paced = table.pace(tally, now, Rate::per_second(limit));
            paced.map_err(too_early(Bearer::Service, limit))?;
        }
        if let Some(limit) = self.rate.per_user {
            let paced = table.pace_all(now, Rate::per_second(limit));
            paced.map_err(too_early(Bearer::User, limit))?;
        }
        Ok(())
    }
}
