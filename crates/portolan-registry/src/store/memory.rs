//! The store in this process: a map, and a timer queue that ends leases.
//!
//! Nothing outlives the process, and nothing needs to: a heartbeat for an instance that is not
//! known makes its service register again. Revisions grow over restarts all the same, because they
//! begin at the time of day, and no life of a store makes as many as its milliseconds have room
//! for. Only where the clock is set back across a restart, to before the earlier life began, do
//! they fall: who then resumes from an earlier revision comes from what is the future here, and
//! gets a snapshot, as after every restart, with which it goes on at the lower numbers.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId, Ttl};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

use super::decide::{Decision, Known, News, Terms, decide};
use super::{Committed, Store};
use crate::{
    Command, CommandOutcome, InvalidRegistryConfig, Registered, RegistryConfig, RegistryError,
    Source,
};

/// How many changes fit into one millisecond without overtaking the clock: at a steady million
/// changes a second a restarted registry would still go on above where it stopped.
const REVISIONS_A_MILLISECOND: u64 = 1024;
/// How many leases end in one go, so that a thousand crashes at once do not hold up the rest.
const EXPIRIES: usize = 256;

/// How late the timer queue may be before a sweep steps in: as late as a lease may end at all.
const LATE: Duration = Duration::from_secs(1);

/// Keeps endpoints in this process.
#[derive(Debug)]
pub struct Memory {
    records: HashMap<ServiceId, Record>,
    leases: DelayQueue<ServiceId>,
    revision: Revision,
    /// What [`Store::next`] has not handed out yet: the changes of the commands since the last call.
    committed: Vec<Committed>,
    ttl_default: Ttl,
    limits: Limits,
    /// How many records are from broadcast.
    imported: usize,
}

#[derive(Debug)]
struct Record {
    endpoint: Arc<ServiceEndpoint>,
    source: Source,
    lease: delay_queue::Key,
    ends: Instant,
}

/// What a command says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Registration,
    SignOfLife,
    Health,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    endpoints: usize,
    imported: usize,
}

// === impl Memory ===

impl Memory {
    /// A store with nothing in it.
    pub fn new(config: &RegistryConfig) -> Result<Self, InvalidRegistryConfig> {
        Self::started(config, Timestamp::now())
    }

    /// A store with nothing in it, whose life begins at that time.
    pub(crate) fn started(
        config: &RegistryConfig,
        at: Timestamp,
    ) -> Result<Self, InvalidRegistryConfig> {
        config.validate()?;
        let revision = first_revision(at);
        Ok(Self {
            records: HashMap::new(),
            leases: DelayQueue::new(),
            revision,
            committed: vec![Committed::Reset { endpoints: Vec::new(), revision }],
            ttl_default: config.ttl()?,
            limits: Limits {
                endpoints: config.max_endpoints,
                imported: config.max_endpoints.div_ceil(2),
            },
            imported: 0,
        })
    }

    fn carry_out(
        &mut self,
        command: Command,
        source: Source,
    ) -> Result<CommandOutcome, RegistryError> {
        let id = command.id();
        let kind = Kind::of(&command);
        let record = self.records.get(&id);
        let created = record.is_none();
        let known =
            record.map(|record| Known { endpoint: &record.endpoint, source: record.source });
        let terms = Terms { ttl_default: self.ttl_default, now: Timestamp::now() };
        let (endpoint, news) = match decide(command, source, known, terms)? {
            Decision::Put(endpoint, news) => (endpoint, news),
            Decision::Remove => {
                let gone = self.remove(&id, |endpoint| Change::Deregistered { endpoint });
                let revision = self.revision;
                return match gone {
                    Some(endpoint) => Ok(CommandOutcome::Deregistered { endpoint, revision }),
                    None => Err(RegistryError::Unknown { id }),
                };
            }
        };
        if created {
            self.check_room(source)?;
        }
        let endpoint = self.commit(endpoint, news);
        self.keep(&endpoint, source, kind);
        Ok(match kind {
            Kind::Registration => {
                let changed = news != News::Nothing;
                CommandOutcome::Registered(Registered { endpoint, created, changed })
            }
            Kind::SignOfLife => CommandOutcome::Renewed,
            Kind::Health => CommandOutcome::HealthUpdated(endpoint),
        })
    }

    fn check_room(&self, source: Source) -> Result<(), RegistryError> {
        let Limits { endpoints, imported } = self.limits;
        if self.records.len() >= endpoints {
            return Err(RegistryError::Full { limit: endpoints });
        }
        match source == Source::Broadcast && self.imported >= imported {
            true => Err(RegistryError::BroadcastFull { limit: imported }),
            false => Ok(()),
        }
    }

    /// Tells the news, with a revision of its own where it is a change.
    fn commit(&mut self, mut endpoint: ServiceEndpoint, news: News) -> Arc<ServiceEndpoint> {
        if news == News::Moved {
            self.remove(&endpoint.id, |endpoint| Change::Deregistered { endpoint });
        }
        if news != News::Nothing {
            self.revision.0 += 1;
            endpoint.revision = self.revision;
        }
        let endpoint = Arc::new(endpoint);
        let told = Arc::clone(&endpoint);
        match news {
            News::Registered | News::Moved => self.tell(Change::Registered { endpoint: told }),
            News::Updated => self.tell(Change::Updated { endpoint: told }),
            News::Health => self.tell(Change::Health { endpoint: told }),
            News::Nothing => self.committed.push(Committed::Renewed(told)),
        }
        endpoint
    }

    fn tell(&mut self, change: Change) {
        let event = ServiceEvent { revision: self.revision, change };
        self.committed.push(Committed::Changed(Arc::new(event)));
    }

    /// Stores the endpoint; all but a word on its health gives it its full TTL again.
    fn keep(&mut self, endpoint: &Arc<ServiceEndpoint>, source: Source, kind: Kind) {
        let ttl = endpoint.ttl.duration();
        let Some(record) = self.records.get_mut(&endpoint.id) else {
            return self.keep_new(endpoint, source);
        };
        record.endpoint = Arc::clone(endpoint);
        if kind == Kind::Health {
            return;
        }
        record.ends = Instant::now() + ttl;
        self.leases.reset(&record.lease, ttl);
        if (record.source, source) == (Source::Broadcast, Source::Api) {
            record.source = source;
            self.imported -= 1;
        }
    }

    fn keep_new(&mut self, endpoint: &Arc<ServiceEndpoint>, source: Source) {
        let (id, ttl) = (endpoint.id.clone(), endpoint.ttl.duration());
        let lease = self.leases.insert(id.clone(), ttl);
        let ends = Instant::now() + ttl;
        let record = Record { endpoint: Arc::clone(endpoint), source, lease, ends };
        self.records.insert(id, record);
        self.imported += usize::from(source == Source::Broadcast);
    }

    /// Keeps the instance no longer, and tells that.
    fn remove(
        &mut self,
        id: &ServiceId,
        how: impl FnOnce(Arc<ServiceEndpoint>) -> Change,
    ) -> Option<Arc<ServiceEndpoint>> {
        let Record { endpoint, source, lease, .. } = self.records.remove(id)?;
        // A lease that just ended is in the queue no longer.
        self.leases.try_remove(&lease);
        self.imported -= usize::from(source == Source::Broadcast);
        self.revision.0 += 1;
        self.tell(how(Arc::clone(&endpoint)));
        Some(endpoint)
    }

    fn expire(&mut self, id: &ServiceId) {
        self.remove(id, |endpoint| Change::Expired { endpoint });
    }

    fn poll_committed(&mut self, context: &mut Context<'_>) -> Poll<Vec<Committed>> {
        for _ in 0..EXPIRIES {
            let Poll::Ready(Some(ended)) = self.leases.poll_expired(context) else { break };
            self.expire(ended.get_ref());
        }
        match self.committed.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(std::mem::take(&mut self.committed)),
        }
    }
}

impl Store for Memory {
    async fn apply(
        &mut self,
        commands: Vec<Command>,
        source: Source,
    ) -> Vec<Result<CommandOutcome, RegistryError>> {
        commands.into_iter().map(|command| self.carry_out(command, source)).collect()
    }

    async fn next(&mut self) -> Vec<Committed> {
        poll_fn(|context| self.poll_committed(context)).await
    }

    async fn sweep(&mut self) -> usize {
        let now = Instant::now();
        let overdue = self.records.iter().filter(|(_, record)| record.ends + LATE <= now);
        let overdue: Vec<_> = overdue.map(|(id, _)| id.clone()).collect();
        overdue.iter().for_each(|id| self.expire(id));
        overdue.len()
    }
}

// === impl Kind ===

impl Kind {
    fn of(command: &Command) -> Self {
        match command {
            Command::Register(_) => Self::Registration,
            Command::Heartbeat(_) | Command::Deregister(_) => Self::SignOfLife,
            Command::Health(..) => Self::Health,
        }
    }
}

/// The revision that a store begins with: beyond every one that an earlier life of it gave.
fn first_revision(now: Timestamp) -> Revision {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Revision(millis.saturating_mul(REVISIONS_A_MILLISECOND))
}

#[cfg(test)]
mod tests;
