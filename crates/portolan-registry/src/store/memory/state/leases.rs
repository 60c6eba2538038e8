//! The end of leases, and their extension after a time in which this process did not run.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{HealthReport, HealthStatus, ServiceId, Source};
use tokio::time::Instant;
use tracing::warn;

use super::{Expired, State};
use crate::store::decide::Effect;
use crate::store::mass_expiry::Kept;
use crate::store::memory::extension;
use crate::store::memory::journal::record::{Record as Entry, RemoveKind};

/// How long a lease lasts after its timer fired. If the process was suspended, heartbeats that
/// arrived in time wait beside the timers; they are committed within this time.
const GRACE: Duration = Duration::from_millis(100);
/// How late a timer may be before the scan ends its lease: as late as a lease may end at all.
pub(in crate::store::memory) const OVERDUE: Duration = Duration::from_secs(1);
/// How long this process may not have polled the leases before they are extended: longer than any delay under load.
const PAUSE: Duration = Duration::from_secs(2);
/// The number of leases that end in one step, so that many at once do not block commits.
pub(in crate::store::memory) const EXPIRIES: usize = 256;

impl State {
    /// This server maintains the leases from now on. Marks the instances that are kept although their leases ended
    /// while no server ran.
    pub(in crate::store::memory) fn begin_maintenance(&mut self, now: Instant) {
        self.polled = Some(now);
        for id in std::mem::take(&mut self.overdue) {
            self.keep(&id, "its lease ended while the registry did not run", None);
        }
    }

    /// Ends leases whose timers fired, at most [`EXPIRIES`] at once. Returns the instances that are gone.
    pub(in crate::store::memory) fn poll_expired(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Vec<Expired>> {
        self.extend_after_pause(Instant::now());
        let (mut expired, mut ended) = (Vec::new(), false);
        for _ in 0..EXPIRIES {
            let Poll::Ready(Some(fired)) = self.leases.poll_expired(context) else {
                return if ended { Poll::Ready(expired) } else { Poll::Pending };
            };
            let id = fired.into_inner();
            let Some(record) = self.records.get_mut(&id) else { continue };
            if record.in_grace {
                ended = true;
                expired.extend(self.expire_or_protect(&id));
            } else {
                record.in_grace = true;
                record.lease = self.leases.insert(id, GRACE);
            }
        }
        Poll::Ready(expired)
    }

    /// Whether at most half of the lease of a registered instance is left, or it is kept beyond its lease. An agent sends a
    /// heartbeat in each third of it. The time in which no server ran does not count, as it does not for the lease.
    pub(in crate::store::memory) fn is_heartbeat_late(&self, id: &ServiceId, now: Instant) -> bool {
        let Some(record) = self.records.get(id) else { return false };
        let left = record.ends.saturating_duration_since(now);
        let is_late = record.protected || left <= record.endpoint.ttl.duration() / 2;
        is_late && record.endpoint.source == Source::Registered
    }

    /// Extends every lease if this process did not run for a while: it was stopped, or the machine suspended.
    fn extend_after_pause(&mut self, now: Instant) {
        let Some(polled) = self.polled.replace(now) else { return };
        let pause = now.saturating_duration_since(polled);
        if pause < PAUSE {
            return;
        }
        warn!(?pause, "Registry did not run for a while, leases are extended");
        let mut overdue = Vec::new();
        for record in self.records.values_mut().filter(|record| !record.extended) {
            let left = record.ends.saturating_duration_since(now);
            let past = now.saturating_duration_since(record.ends);
            if left.is_zero() {
                overdue.push(record.endpoint.id.clone());
            }
            record.ends = now + extension(record.endpoint.ttl, left, past, pause);
            record.extended = true;
            record.in_grace = false;
            self.leases.reset_at(&record.lease, record.ends);
        }
        let reason =
            format!("its lease ended while the registry was paused for {} s", pause.as_secs());
        overdue.iter().for_each(|id| self.keep(id, &reason, None));
    }

    /// Marks an instance that is kept although its lease ended: because no server ran, so that it could not be renewed,
    /// or until a moment, because too many leases end at once.
    fn keep(&mut self, id: &ServiceId, reason: &str, until: Option<Instant>) {
        let Some(record) = self.records.get(id) else { return };
        let mut endpoint = (*record.endpoint).clone();
        let health = HealthReport::new(endpoint.health, endpoint.health_reason.as_str());
        let kept = record.kept.clone().unwrap_or(health);
        let owner = record.owner.clone();
        (endpoint.health, endpoint.health_reason) = (HealthStatus::Unknown, reason.to_owned());
        let (endpoint, kind) = self.emit_put(endpoint, Effect::Health);
        let put = Arc::clone(&endpoint);
        let kept_health = Some(kept.clone());
        self.outbox.push(|| {
            let until = until.map(|until| {
                let left = until.saturating_duration_since(Instant::now());
                Timestamp::now().checked_add(left).unwrap_or(Timestamp::MAX)
            });
            Entry::Put { kind, endpoint: put, owner, kept: kept_health, until }
        });
        if let Some(record) = self.records.get_mut(id) {
            record.endpoint = endpoint;
            record.kept = Some(kept);
        }
    }

    /// Ends the leases whose timers should have fired long ago.
    pub(in crate::store::memory) fn expire_overdue(&mut self, now: Instant) -> Vec<Expired> {
        self.extend_after_pause(now);
        let overdue = self.records.iter().filter(|(_, record)| record.ends + OVERDUE <= now);
        let overdue: Vec<_> = overdue.map(|(id, _)| id.clone()).collect();
        overdue.iter().filter_map(|id| self.expire_or_protect(id)).collect()
    }

    /// Ends a lease, unless so many end at once that the instance is kept for a while.
    fn expire_or_protect(&mut self, id: &ServiceId) -> Option<Expired> {
        let record = self.records.get(id)?;
        if record.protected {
            // It was kept long enough.
            return self.expire(id);
        }
        let now = Instant::now();
        let leases = || {
            self.records.values().map(|record| {
                let left = if record.protected { now } else { record.ends };
                (&*record.endpoint, left.saturating_duration_since(now))
            })
        };
        match self.mass_expiry.keeps(&record.endpoint, leases) {
            Some(Kept { reason, keep }) => {
                self.protect(id, &reason, now + keep);
                None
            }
            None => self.expire(id),
        }
    }

    /// Keeps an instance until this moment, and no longer unless it is renewed.
    fn protect(&mut self, id: &ServiceId, reason: &str, until: Instant) {
        self.keep(id, reason, Some(until));
        let Some(record) = self.records.get_mut(id) else { return };
        self.leases.try_remove(&record.lease);
        record.lease = self.leases.insert_at(id.clone(), until);
        (record.ends, record.in_grace) = (until, false);
        (record.extended, record.protected) = (true, true);
        self.protected += 1;
    }

    fn expire(&mut self, id: &ServiceId) -> Option<Expired> {
        self.remove(id, RemoveKind::Expired)
    }
}
