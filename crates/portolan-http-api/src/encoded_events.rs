//! Changes as server-sent events, encoded once for all watches that send them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use portolan_core::{ServiceEvent, Vantage};

/// How many events are kept. All watches send a change within moments, so only the newest ones matter.
const KEPT: usize = 64;

/// The newest events.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedEvents(Arc<Mutex<VecDeque<Kept>>>);

#[derive(Debug)]
struct Kept {
    event: Arc<ServiceEvent>,
    vantage: Vantage,
    /// `None` if the instance is out of reach from there.
    encoded: Option<Bytes>,
}

// === impl EncodedEvents ===

impl EncodedEvents {
    /// Returns the event as it is seen from there, which `encode` makes if no other watch has done so.
    pub(crate) fn get(
        &self,
        event: &Arc<ServiceEvent>,
        vantage: Vantage,
        encode: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        if let Some(encoded) = self.find(event, vantage) {
            return encoded;
        }
        let encoded = encode();
        let kept = Kept { event: Arc::clone(event), vantage, encoded: encoded.clone() };
        let mut newest = self.0.lock();
        newest.truncate(KEPT - 1);
        newest.push_front(kept);
        encoded
    }

    fn find(&self, event: &Arc<ServiceEvent>, vantage: Vantage) -> Option<Option<Bytes>> {
        let newest = self.0.lock();
        let is_same = |kept: &&Kept| Arc::ptr_eq(&kept.event, event) && kept.vantage == vantage;
        newest.iter().find(is_same).map(|kept| kept.encoded.clone())
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Change, Registration, Revision, Ttl};

    use super::*;

    fn event(revision: u64) -> Arc<ServiceEvent> {
        let registration = Registration::new("api".parse().unwrap(), "::1".parse().unwrap(), 1);
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
        let change = Change::Registered { endpoint: Arc::new(endpoint) };
        Arc::new(ServiceEvent { revision: Revision(revision), change })
    }

    #[test]
    fn event_is_encoded_once_for_each_place() {
        let (events, event) = (EncodedEvents::default(), event(1));
        let bytes = || Some(Bytes::from_static(b"event"));
        assert_eq!(events.get(&event, Vantage::SameHost, bytes), bytes());
        assert_eq!(events.get(&event, Vantage::SameHost, || unreachable!()), bytes());
        assert_eq!(events.get(&event, Vantage::UNKNOWN, || None), None);
        assert_eq!(events.get(&event, Vantage::UNKNOWN, || unreachable!()), None);
    }

    #[test]
    fn equal_event_of_another_time_is_encoded_anew_and_old_ones_are_forgotten() {
        let events = EncodedEvents::default();
        for _ in 0..10 * KEPT {
            let mut encoded = false;
            events.get(&event(1), Vantage::SameHost, || {
                encoded = true;
                None
            });
            assert!(encoded);
        }
        assert_eq!(events.0.lock().len(), KEPT);
    }
}
