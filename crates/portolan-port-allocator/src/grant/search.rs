//! The search of one request: tries its candidates in order until one is granted.
//!
//! For each candidate it claims the slot in the table, which excludes other Portolan processes; binds
//! the port, which excludes foreign processes; and publishes the lease. Both exclusions are needed.

use portolan_reservations::{Claim, Record, Slot};

use crate::audit;
use crate::error::AllocatorError;
use crate::grant::bind_retry::{RetryBudget, Wait};
use crate::grant::binder::{BindError, Binder, Sockets};
use crate::grant::limiter::{Admission, QuotaGuard};
use crate::grant::policy::{Candidate, Choice, Plan, Policy};
use crate::grant::probe_cache::KernelProbe;
use crate::grant::rejection::Cause;
use crate::request::PortRequest;

/// A search in progress.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) request: &'a PortRequest,
    pub(crate) probe: KernelProbe<'a>,
    pub(crate) binder: &'a mut Binder,
    /// The record of the lease in the table.
    pub(crate) record: Record,
    pub(crate) retry_budget: RetryBudget,
    pub(crate) quota: QuotaGuard<'a>,
}

/// A granted port.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) candidate: Candidate,
    pub(crate) slot: Slot,
    pub(crate) sockets: Sockets,
    pub(crate) record: Record,
}

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) granted: Option<Granted>,
    pub(crate) passed_over: PassedOver,
}

/// The candidates that were not granted.
#[derive(Debug, Default)]
pub(crate) struct PassedOver {
    pub(crate) listed: Vec<(u16, Cause)>,
    pub(crate) unlisted: usize,
    /// Whether the preferred port is one of them.
    pub(crate) preferred: bool,
}

// === impl Search ===

impl Search<'_> {
    /// Tries the candidates in order.
    pub(crate) fn run(mut self, last: Option<u16>) -> Result<Outcome, AllocatorError> {
        let seed = rand::random();
        // With the probe cache first, and without it if no port was granted.
        for uses_cache in [true, false] {
            let mut passed_over = PassedOver::default();
            for candidate in self.plan.candidates(last, seed) {
                self.probe.uses_cache = uses_cache;
                match self.take(candidate)? {
                    Ok((claim, sockets)) => {
                        let granted = self.grant(candidate, claim, sockets);
                        return Ok(Outcome { granted: Some(granted), passed_over });
                    }
                    Err(cause) => passed_over.record(candidate, cause, self.plan),
                }
            }
            if !uses_cache {
                return Ok(Outcome { granted: None, passed_over });
            }
        }
        unreachable!("the second round is the last")
    }

    /// Claims and binds one port that the quotas allow; or returns why the next one is to be tried.
    fn take(
        &mut self,
        candidate: Candidate,
    ) -> Result<Result<(Claim, Sockets), Cause>, AllocatorError> {
        loop {
            let (claim, sockets) = match self.claim_and_bind(candidate)? {
                Ok(bound) => bound,
                Err(cause) => return Ok(Err(cause)),
            };
            let admission = self.quota.admit(&claim);
            if matches!(admission, Ok(Admission::Granted)) {
                return Ok(Ok((claim, sockets)));
            }
            // The port must be free before its slot is.
            drop(sockets);
            self.probe.table.withdraw(claim);
            admission?;
            self.quota.wait()?;
        }
    }

    fn claim_and_bind(
        &mut self,
        candidate: Candidate,
    ) -> Result<Result<(Claim, Sockets), Cause>, AllocatorError> {
        let (port, probe) = (candidate.port, self.probe);
        if let Some(rule) = self.policy.forbids(port, self.plan) {
            return Ok(Err(rule));
        }
        // For the most wanted ports the kernel is always asked.
        let is_wanted = matches!(candidate.choice, Choice::Sticky | Choice::Preferred);
        let requested = Slot::requested(self.request.depth, self.request.udp);
        let is_alive = |session| match is_wanted {
            true => probe.is_alive(session),
            false => probe.was_alive_recently(session),
        };
        let Ok(claim) = probe.table.claim(port, probe.own, requested, is_alive) else {
            return Ok(Err(Cause::Leased));
        };
        // The orphaned lease has ended even if the claim is withdrawn.
        if claim.reclaimed()
            && let Some(former) = probe.table.displaced(&claim)
        {
            audit::reclaimed(port, &former);
        }
        if let Err(error) = probe.table.allocate_record(&claim) {
            probe.table.withdraw(claim);
            return Err(error.into());
        }
        if self.request.is_served(port) {
            return Ok(Ok((claim, Sockets::default())));
        }
        let wait = self.wait_for(candidate, &claim);
        match self.retry_budget.bind(self.binder, port, self.request, wait) {
            Ok(sockets) => Ok(Ok((claim, sockets))),
            Err(error) => {
                if matches!(error, BindError::InUse) && wait == Wait::UnlessServed {
                    probe.record_in_vain(port);
                }
                probe.table.withdraw(claim);
                self.cause_of(error, port).map(Err)
            }
        }
    }

    /// Returns whether to wait for a port that is in use.
    ///
    /// While others are left, only for what the request names or the service had before, and not again for what was waited for in
    /// vain.
    fn wait_for(&self, candidate: Candidate, claim: &Claim) -> Wait {
        let Candidate { port, choice } = candidate;
        let is_wanted = matches!(choice, Choice::Sticky | Choice::Preferred);
        let is_last_round = !self.probe.uses_cache;
        let is_named = choice == Choice::Sticky || self.plan.names(port);
        match () {
            () if claim.reclaimed() => Wait::ForSockets,
            () if is_last_round => Wait::UnlessServed,
            () if !is_wanted && self.probe.is_known_foreign(port) => Wait::KnownForeign,
            () if is_named && !self.probe.was_in_vain(port) => Wait::UnlessServed,
            () => Wait::Never,
        }
    }

    fn grant(self, candidate: Candidate, claim: Claim, sockets: Sockets) -> Granted {
        let (table, record) = (self.probe.table, self.record);
        let slot = table.publish(claim, &record, self.quota.key);
        audit::granted(candidate.port, slot.depth(), &record);
        Granted { candidate, slot, sockets, record }
    }

    fn cause_of(&self, error: BindError, port: u16) -> Result<Cause, AllocatorError> {
        match error {
            BindError::InUse | BindError::Served => {
                self.probe.record_foreign(port);
                Ok(Cause::InUse)
            }
            BindError::NotPermitted => Ok(Cause::NotPermitted),
            BindError::AddressNotHere(address) => Err(AllocatorError::AddressNotHere { address }),
            BindError::System(source) => Err(AllocatorError::Socket { port, source }),
        }
    }
}

// === impl PassedOver ===

impl PassedOver {
    fn record(&mut self, candidate: Candidate, cause: Cause, plan: &Plan<'_>) {
        let Candidate { port, choice } = candidate;
        self.preferred |= plan.preferred.first() == Some(&port);
        let is_listed = choice != Choice::Ephemeral;
        match is_listed && self.listed.len() < AllocatorError::MAX_CANDIDATES {
            true => self.listed.push((port, cause)),
            false => self.unlisted += 1,
        }
    }
}
