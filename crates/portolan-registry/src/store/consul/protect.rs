//! Keeps instances although their leases ended, because too many of those that this server holds would end at once.
//!
//! A heartbeat that arrives at another server moves the lease there by a write, so the replica knows of it; nothing has to be
//! asked.

use portolan_consul::ConsulSession;
use portolan_core::ServiceEndpoint;

use super::Shared;
use super::record::{ChangeValue, Value};
use super::replica::{Record, Replica};
use crate::store::mass_expiry::Kept;
use crate::store::remote::{self, KeptValue, Written};

// === impl Shared ===

impl Shared {
    /// Keeps an instance: its health says why, and until when another server keeps it too. This server holds it from now on, if
    /// the one that did is gone.
    pub(super) async fn keep(&self, record: &Record, kept: Kept, session: &ConsulSession) {
        let key = self.keys.endpoint(&record.endpoint.id);
        let (endpoint, kept) = KeptValue::mark(&record.endpoint, kept);
        let (owner, change) = (record.owner.clone(), self.next_change());
        let value = Value::new(endpoint, owner, Written::Health, self.server, &change);
        let value = value.kept(Some(kept));
        let encoded = value.encode();
        let stored = Some(value.in_change(&encoded));
        let change_value = ChangeValue { stored, ..ChangeValue::default() };
        let transaction = self
            .as_holder(record, session)
            .write_if(&key, &encoded, record.written)
            .write(&self.keys.change(&change), &change_value.encode());
        // The replica starts its timer with what it reads.
        self.end(record, &transaction).await;
    }
}

// === impl Replica ===

impl Replica {
    pub(super) fn keeps(&mut self, endpoint: &ServiceEndpoint) -> Option<Kept> {
        let Self { mass_expiry, records, timers, .. } = self;
        remote::keeps(mass_expiry, timers, endpoint, |id| {
            let record = records.get(id)?;
            Some((&*record.endpoint, record.kept.is_some()))
        })
    }
}
