//! The end of leases, and their extension after a time in which this process did not run.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use portolan_core::{HealthReport, HealthStatus, ServiceId};
use tokio::time::Instant;
use tracing::warn;

use super::{Expired, State};
use crate::store::decide::Effect;
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
            self.keep(&id, "its lease ended while the registry did not run");
        }
    }

    /// Ends leases whose timers fired, at most [`EXPIRIES`] at once.
    pub(in crate::store::memory) fn poll_expired(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Vec<Expired>> {
        self.extend_after_pause(Instant::now());
        let mut expired = Vec::new();
        for _ in 0..EXPIRIES {
            let Poll::Ready(Some(fired)) = self.leases.poll_expired(context) else {
                return if expired.is_empty() { Poll::Pending } else { Poll::Ready(expired) };
            };
            let id = fired.into_inner();
            let Some(record) = self.records.get_mut(&id) else { continue };
            if record.in_grace {
                expired.extend(self.expire(&id));
            } else {
                record.in_grace = true;
                record.lease = self.leases.insert(id, GRACE);
            }
        }
        Poll::Ready(expired)
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
        overdue.iter().for_each(|id| self.keep(id, &reason));
    }

    /// Marks an instance whose lease ended while no server ran, so that it could not be renewed.
    fn keep(&mut self, id: &ServiceId, reason: &str) {
        let Some(record) = self.records.get(id) else { return };
        let mut endpoint = (*record.endpoint).clone();
        let health = HealthReport::new(endpoint.health, endpoint.health_reason.as_str());
        let kept = record.kept.clone().unwrap_or(health);
        let owner = record.owner.clone();
        (endpoint.health, endpoint.health_reason) = (HealthStatus::Unknown, reason.to_owned());
        let (endpoint, kind) = self.emit_put(endpoint, Effect::Health);
        let put = Arc::clone(&endpoint);
        let kept_health = Some(kept.clone());
        self.outbox.push(|| Entry::Put { kind, endpoint: put, owner, kept: kept_health });
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
        overdue.iter().filter_map(|id| self.expire(id)).collect()
    }

    fn expire(&mut self, id: &ServiceId) -> Option<Expired> {
        self.remove(id, RemoveKind::Expired)
    }
}
