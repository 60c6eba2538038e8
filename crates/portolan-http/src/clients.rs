//! What each client uses of the server, and how much it may.
//!
//! A client is an address; of IPv6, the network of 64 bits that one host has at its disposal. All programs on this host share
//! one address, so what is limited for each client is not limited for it; the limits of the whole server hold. Only wrong tokens are
//! counted for each user of this host.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use portolan_core::TokenBucket;
use tokio::time::Instant;

use crate::{LimitedResource, RequestError};

/// How many clients are known at a time. Those beyond share the limits of one.
const MAX_CLIENTS: usize = 16_384;
/// How often clients that use nothing are forgotten if the table is full.
const SWEEP: Duration = Duration::from_secs(1);
/// How many rejections of a client are in the audit log at once, and how long until there is one more.
const AUDITED: TokenBucket = TokenBucket::new(20, Duration::from_secs(1));
/// How many wrong tokens of a client are remembered, so that a program that repeats one is not taken for a guess.
const REMEMBERED: usize = 8;

/// How much each client may use. The values are far beyond what a host needs on which hundreds of services run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// The maximum number of open connections. Default 1,000.
    pub connections: usize,
    /// The maximum number of responses without an end, such as watches. Default 500.
    pub streams: usize,
    /// The maximum rate of requests a second; four times as many at once. Default 1,000.
    pub requests_per_second: u32,
    /// The maximum number of different wrong tokens; one more each ten seconds. Default 10.
    pub wrong_tokens: u32,
    /// The most memory in bytes that responses to the client take. Default 32 MiB.
    pub response_bytes: usize,
    /// The same for all clients. Default 128 MiB.
    pub total_response_bytes: usize,
}

/// How long until a client may send one more wrong token.
const WRONG_TOKEN: Duration = Duration::from_secs(10);

/// The clients, and what they use. Bounded.
#[derive(Debug)]
pub(crate) struct Clients {
    allowed: RwLock<Allowed>,
    /// The most streams of all clients.
    total_streams: usize,
    table: Mutex<Table>,
    created: Instant,
    /// When the last user of this host may send wrong tokens again as ever, in milliseconds since the creation: the users of
    /// connections are looked up until then only.
    local_guesses_until: AtomicU64,
}

/// What is limited together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// An address: a host, or a network of IPv6.
    Address(IpAddr),
    /// A user of this host.
    User(u32),
    /// The clients that come by the Unix socket.
    Socket,
    /// The clients beyond [`MAX_CLIENTS`].
    Others,
}

/// What each client may use.
#[derive(Debug, Clone)]
struct Allowed {
    limits: ClientLimits,
    requests: TokenBucket,
    failures: TokenBucket,
}

#[derive(Debug)]
struct Table {
    clients: HashMap<Key, Usage>,
    swept: Instant,
    streams: usize,
    response_bytes: usize,
}

#[derive(Debug, Default)]
struct Usage {
    connections: usize,
    streams: usize,
    response_bytes: usize,
    /// The states of the buckets.
    requests: Option<Instant>,
    failures: Option<Instant>,
    audited: Option<Instant>,
    suppressed: u64,
    wrong_tokens: Vec<u64>,
}

/// What a client uses. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct ClientPermit {
    clients: Arc<Clients>,
    key: Key,
    used: Used,
}

#[derive(Debug, Clone, Copy)]
enum Used {
    Connection,
    Stream,
    ResponseBytes(usize),
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            streams: 500,
            requests_per_second: 1_000,
            wrong_tokens: 10,
            response_bytes: 32 * 1024 * 1024,
            total_response_bytes: 128 * 1024 * 1024,
        }
    }
}

// === impl Clients ===

impl Clients {
    pub(crate) fn new(limits: ClientLimits, total_streams: usize) -> Self {
        let (clients, swept) = (HashMap::new(), Instant::now());
        let table = Mutex::new(Table { clients, swept, streams: 0, response_bytes: 0 });
        let local_guesses_until = AtomicU64::new(0);
        let allowed = RwLock::new(limits.into());
        Self { allowed, total_streams, table, created: swept, local_guesses_until }
    }

    /// Replaces the limits. What clients use at the moment stays in use.
    pub(crate) fn replace_limits(&self, limits: ClientLimits) {
        *self.allowed.write() = limits.into();
    }

    fn allowed(&self) -> Allowed {
        self.allowed.read().clone()
    }

    /// Admits a connection.
    pub(crate) fn connect(self: &Arc<Self>, client: IpAddr) -> Option<ClientPermit> {
        let limit = self.allowed.read().limits.connections;
        self.take(client, Used::Connection, |usage| {
            let free = client.is_loopback() || usage.connections < limit;
            usage.connections += usize::from(free);
            free
        })
    }

    /// The answer to a connection that is not admitted.
    pub(crate) fn crowded(&self) -> RequestError {
        let limit = self.allowed.read().limits.connections;
        RequestError::TooMany { what: LimitedResource::Connections, limit, retry_after: 5 }
    }

    /// Admits a response without an end. Programs of this host may use half of the streams by TCP: the rest is for other hosts, and
    /// for those who come by the Unix socket, which is that of one user.
    pub(crate) fn stream(
        self: &Arc<Self>,
        client: IpAddr,
        by_socket: bool,
    ) -> Result<ClientPermit, RequestError> {
        let mut table = self.table.lock();
        let key = if by_socket { Key::Socket } else { table.key(client) };
        let (limit, total) = (self.allowed.read().limits.streams, self.total_streams);
        let own = table.clients.entry(key).or_default().streams;
        let limit = match client.is_loopback() {
            true if by_socket => total,
            true => total / 2,
            false => limit,
        };
        if own >= limit && limit < total {
            return Err(RequestError::TooMany {
                what: LimitedResource::Streams,
                limit,
                retry_after: 5,
            });
        }
        if table.streams >= total {
            return Err(RequestError::TooManyStreams { limit: total });
        }
        table.streams += 1;
        table.clients.entry(key).or_default().streams = own + 1;
        Ok(ClientPermit { clients: Arc::clone(self), key, used: Used::Stream })
    }

    /// Reserves memory for a response.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        client: IpAddr,
        bytes: usize,
    ) -> Result<ClientPermit, RequestError> {
        let Allowed { limits, .. } = self.allowed();
        let mut table = self.table.lock();
        let total = table.response_bytes + bytes;
        let key = table.key(client);
        let usage = table.clients.entry(key).or_default();
        let own = usage.response_bytes + bytes;
        let is_free = |used: usize, limit: usize| used <= limit || used == bytes;
        let within_own = client.is_loopback() || is_free(own, limits.response_bytes);
        // A response that is larger than the whole budget is sent alone.
        if !within_own || !is_free(total, limits.total_response_bytes) {
            return Err(RequestError::NoMemory);
        }
        usage.response_bytes = own;
        table.response_bytes = total;
        let used = Used::ResponseBytes(bytes);
        Ok(ClientPermit { clients: Arc::clone(self), key, used })
    }

    /// Admits a request.
    pub(crate) fn request(&self, client: IpAddr) -> Result<(), RequestError> {
        if client.is_loopback() {
            return Ok(());
        }
        let Allowed { limits, requests, .. } = self.allowed();
        let limit = usize::try_from(limits.requests_per_second).unwrap_or(usize::MAX);
        match self.with(client, |usage| requests.take(&mut usage.requests, Instant::now())) {
            Ok(()) => Ok(()),
            Err(_) => Err(RequestError::TooMany {
                what: LimitedResource::Requests,
                limit,
                retry_after: 1,
            }),
        }
    }

    /// Refuses credentials of a client that has sent too many wrong ones, whatever they are. On this host the user counts: one user must
    /// not lock the others out.
    pub(crate) fn check_guesses(
        &self,
        client: IpAddr,
        user: impl FnOnce() -> Option<u32>,
    ) -> Result<(), RequestError> {
        let is_local = client.is_loopback();
        if is_local && self.milliseconds(Instant::now()) >= self.local_guesses_until.load(Relaxed) {
            return Ok(());
        }
        let Some(key) = guesser(client, user) else { return Ok(()) };
        let mut table = self.table.lock();
        let key = table.room_for(key);
        let Allowed { limits, failures, .. } = self.allowed();
        let limit = usize::try_from(limits.wrong_tokens).unwrap_or(usize::MAX);
        let used = table.clients.get(&key).and_then(|usage| usage.failures);
        failures.check(used, Instant::now()).map_err(|wait| {
            let retry_after = wait.as_secs() + 1;
            RequestError::TooMany { what: LimitedResource::WrongTokens, limit, retry_after }
        })
    }

    /// Counts a wrong token, of which this is a digest. A token that is repeated tells its sender nothing new.
    pub(crate) fn guessed(&self, client: IpAddr, user: impl FnOnce() -> Option<u32>, digest: u64) {
        let Some(key) = guesser(client, user) else { return };
        let mut table = self.table.lock();
        let key = table.room_for(key);
        let usage = table.clients.entry(key).or_default();
        if usage.wrong_tokens.contains(&digest) {
            return;
        }
        usage.wrong_tokens.truncate(REMEMBERED - 1);
        usage.wrong_tokens.insert(0, digest);
        // If it is empty already, the client is refused.
        _ = self.allowed().failures.take(&mut usage.failures, Instant::now());
        if let (Key::User(_), Some(full_at)) = (key, usage.failures) {
            self.local_guesses_until.fetch_max(self.milliseconds(full_at), Relaxed);
        }
    }

    fn milliseconds(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.created).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Whether to write a rejection of the client to the audit log, and how many were not written since the last one.
    pub(crate) fn audit(&self, client: IpAddr) -> Option<u64> {
        self.with(client, |usage| match AUDITED.take(&mut usage.audited, Instant::now()) {
            Ok(()) => Some(std::mem::take(&mut usage.suppressed)),
            Err(_) => {
                usage.suppressed += 1;
                None
            }
        })
    }

    fn with<T>(&self, client: IpAddr, action: impl FnOnce(&mut Usage) -> T) -> T {
        let mut table = self.table.lock();
        let key = table.key(client);
        action(table.clients.entry(key).or_default())
    }

    fn take(
        self: &Arc<Self>,
        client: IpAddr,
        used: Used,
        action: impl FnOnce(&mut Usage) -> bool,
    ) -> Option<ClientPermit> {
        let mut table = self.table.lock();
        let key = table.key(client);
        let taken = action(table.clients.entry(key).or_default());
        taken.then(|| ClientPermit { clients: Arc::clone(self), key, used })
    }
}

// === impl Allowed ===

impl From<ClientLimits> for Allowed {
    fn from(limits: ClientLimits) -> Self {
        let interval = Duration::from_secs(1) / limits.requests_per_second.max(1);
        let requests = TokenBucket::new(limits.requests_per_second.saturating_mul(4), interval);
        let failures = TokenBucket::new(limits.wrong_tokens, WRONG_TOKEN);
        Self { limits, requests, failures }
    }
}

// === impl Table ===

impl Table {
    /// Returns the key of a client, and makes room for it.
    fn key(&mut self, client: IpAddr) -> Key {
        self.room_for(Key::of(client))
    }

    /// Returns the key, or that of all others if the table is full.
    fn room_for(&mut self, key: Key) -> Key {
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&key) {
            return key;
        }
        let now = Instant::now();
        if now.duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.clients.retain(|_, usage| !usage.is_idle(now));
        }
        if self.clients.len() < MAX_CLIENTS { key } else { Key::Others }
    }
}

// === impl Key ===

impl Key {
    fn of(client: IpAddr) -> Self {
        Self::Address(match client.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            address if address.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            address => address,
        })
    }
}

/// Returns the key of a client for its wrong tokens. `None` if it is a user of this host whom the system does not name.
fn guesser(client: IpAddr, user: impl FnOnce() -> Option<u32>) -> Option<Key> {
    match client.is_loopback() {
        true => user().map(Key::User),
        false => Some(Key::of(client)),
    }
}

// === impl Usage ===

impl Usage {
    /// Whether nothing would change if the client was forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        let uses = self.connections + self.streams + self.response_bytes;
        let buckets = [self.requests, self.failures, self.audited];
        uses == 0 && buckets.into_iter().flatten().all(|full_at| full_at <= now)
    }
}

// === impl ClientPermit ===

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut table = self.clients.table.lock();
        match self.used {
            Used::Connection => {}
            Used::Stream => table.streams = table.streams.saturating_sub(1),
            Used::ResponseBytes(bytes) => {
                table.response_bytes = table.response_bytes.saturating_sub(bytes);
            }
        }
        let Some(usage) = table.clients.get_mut(&self.key) else { return };
        let (used, count) = match self.used {
            Used::Connection => (&mut usage.connections, 1),
            Used::Stream => (&mut usage.streams, 1),
            Used::ResponseBytes(bytes) => (&mut usage.response_bytes, bytes),
        };
        *used = used.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests;
