//! When a receive loop pauses: a flood of datagrams that are dropped must not keep a processor from others. Pure
//! functions of the time.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time without a pause or a turn for other tasks: about a dozen datagrams.
const BURST: Duration = Duration::from_micros(100);
/// This many dropped datagrams within [`FLOOD_SPAN`] are a flood.
const FLOOD: u32 = 4;
const FLOOD_SPAN: Duration = Duration::from_millis(2);
/// The pause after a burst of a flood. Meanwhile, the kernel collects datagrams in the queue of the socket, and drops what does not
/// fit into it.
const PAUSE: Duration = Duration::from_micros(400);

/// What a receive loop has done lately.
#[derive(Debug)]
pub(super) struct Load {
    burst_began: Instant,
    accepted: u32,
    dropped: u32,
    /// The datagrams dropped since `since`, the start of the current [`FLOOD_SPAN`].
    recent: u32,
    since: Instant,
}

// === impl Load ===

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self { burst_began: now, accepted: 0, dropped: 0, recent: 0, since: now }
    }

    /// Begins a burst.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.burst_began, self.accepted, self.dropped) = (now, 0, 0);
    }

    /// Counts a datagram.
    pub(super) fn record(&mut self, accepted: bool, now: Instant) {
        if accepted {
            self.accepted += 1;
            return;
        }
        self.dropped += 1;
        if now.duration_since(self.since) > FLOOD_SPAN {
            (self.recent, self.since) = (0, now);
        }
        self.recent += 1;
    }

    /// Returns whether the burst has taken its time.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        now.duration_since(self.burst_began) >= BURST
    }

    /// Returns how long to pause after the burst. Genuine messages alone never cause a pause.
    pub(super) fn pause(&self) -> Option<Duration> {
        (self.recent >= FLOOD && self.dropped > self.accepted).then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pause after a burst of these datagrams, each `apart` from the one before.
    fn pause(datagrams: &[bool], apart: Duration) -> Option<Duration> {
        let mut now = Instant::now();
        let mut load = Load::new(now);
        load.begin(now);
        for &accepted in datagrams {
            now += apart;
            load.record(accepted, now);
        }
        load.pause()
    }

    #[test]
    fn flood_of_dropped_datagrams_causes_a_pause() {
        let flood = [false; FLOOD as usize];
        assert_eq!(pause(&flood, Duration::ZERO), Some(PAUSE));
        assert_eq!(pause(&flood[1..], Duration::ZERO), None);
        assert_eq!(pause(&flood, FLOOD_SPAN), None);
    }

    #[test]
    fn genuine_messages_cause_no_pause() {
        assert_eq!(pause(&[true; 1000], Duration::ZERO), None);
        assert_eq!(pause(&[true, false].repeat(1000), Duration::ZERO), None);
    }

    #[test]
    fn flood_is_known_across_bursts_and_ends_with_its_last_datagram() {
        let mut now = Instant::now();
        let mut load = Load::new(now);
        for number in 1..=FLOOD {
            load.begin(now);
            load.record(false, now);
            assert_eq!(load.pause().is_some(), number == FLOOD);
            now += PAUSE;
        }
        load.begin(now);
        load.record(true, now);
        assert_eq!(load.pause(), None);
    }

    #[test]
    fn burst_ends_when_its_time_is_over() {
        let now = Instant::now();
        let mut load = Load::new(now);
        load.begin(now);
        assert!(!load.is_spent(now));
        assert!(load.is_spent(now + BURST));
    }
}
