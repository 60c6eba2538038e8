//! Rate limit of responses on channels without a key.
//!
//! The source of a datagram can be forged: without a limit, every host that publishes endpoints could be used to flood another
//! one (reflection and amplification). The responses to a query are at most [`AMPLIFICATION`] times as large as it; a
//! querier adds space to its query to get more at once, and asks for the rest by further pages. What a host gets is limited, and so is what all
//! hosts together get.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::TokenBucket;
use tokio::time::Instant;

/// How many times larger than a query the responses to it may be.
pub(crate) const AMPLIFICATION: usize = 3;

/// What one host gets at once, in bytes: a list of 200 services.
const BURST: u32 = 256 * 1024;
/// How long it takes until it gets one byte more: 16 KiB a second.
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / (16 * 1024));
const HOST: TokenBucket = TokenBucket::new(BURST, INTERVAL);
/// What all hosts get: 16 times as much.
const ALL: TokenBucket =
    TokenBucket::new(16 * BURST, Duration::from_nanos(1_000_000_000 / (16 * 16 * 1024)));
/// How many hosts are known at a time. Those beyond share the rest.
const KNOWN: usize = 4096;

/// How many bytes of responses each host has got lately.
#[derive(Debug, Default)]
pub(crate) struct ResponseLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When each host may get a whole burst again.
    hosts: HashMap<IpAddr, Instant>,
    all: Option<Instant>,
}

// === impl ResponseLimit ===

impl ResponseLimit {
    /// Returns whether a host gets a response of this size.
    pub(crate) fn admits(&self, host: IpAddr, size: usize) -> bool {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.hosts.len() >= KNOWN && !state.hosts.contains_key(&host) {
            state.hosts.retain(|_, full_at| *full_at > now);
            if state.hosts.len() >= KNOWN {
                return false;
            }
        }
        let own = HOST.after(state.hosts.get(&host).copied(), now, size);
        let all = ALL.after(state.all, now, size);
        let (Ok(own), Ok(all)) = (own, all) else { return false };
        state.hosts.insert(host, own);
        state.all = Some(all);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1024;

    fn admitted(limit: &ResponseLimit, host: [u8; 4], count: usize) -> usize {
        (0..count).filter(|_| limit.admits(host.into(), SIZE)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn host_gets_a_burst_and_then_a_rate() {
        let limit = ResponseLimit::default();
        assert_eq!(admitted(&limit, [10, 0, 0, 1], 20_000), 256);
        assert_eq!(admitted(&limit, [10, 0, 0, 2], 10), 10, "others are not affected");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limit, [10, 0, 0, 1], 20_000), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn all_hosts_together_are_limited_and_few_are_remembered() {
        let limit = ResponseLimit::default();
        let sources = (0..=u16::MAX).map(u16::to_be_bytes);
        let total: usize = sources.map(|[c, d]| admitted(&limit, [10, 9, c, d], 1)).sum();
        assert!(total <= 16 * 256, "{total}");
        assert!(limit.0.lock().hosts.len() <= KNOWN);
    }
}
