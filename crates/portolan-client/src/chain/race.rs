//! Asks strategies while earlier ones still run. What they find is weighed in their order all the same, so that
//! the earliest in the order that finds an instance wins.

use std::mem;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::{Chain, Link, LookupKey, Verdict};
use crate::attempt::AttemptLog;
use crate::deadline::Deadline;
use crate::evidence::{CORROBORATION, Evidence};
use crate::strategy::{StrategyError, StrategyOutcome};
use crate::strategy_name::StrategyName;
use crate::trust::Trust;

/// How long after the start of a strategy the next one starts, unless the former has ended before: agents and
/// registries answer faster, and then no other strategy is started.
const STAGGER: Duration = Duration::from_millis(50);

/// Why a strategy does not count after a negative answer.
const NO_INSTANCE: &str = "ignored, because the authenticated registry knows no instance";

/// Asks the strategies in the order of the log, each at most [`STAGGER`] after the one before it.
pub(super) async fn run(chain: &Chain, key: &LookupKey, log: &AttemptLog) -> Evidence {
    Race::new(chain, key, log).run().await
}

struct Race<'a> {
    chain: &'a Chain,
    key: &'a LookupKey,
    log: &'a AttemptLog,
    deadline: Deadline,
    entrants: Vec<Entrant<'a>>,
    running: FuturesUnordered<BoxFuture<'a, (usize, StrategyOutcome)>>,
    /// The entrant that started last, and when.
    latest: Option<(usize, Instant)>,
    /// How many entrants are weighed, in their order.
    weighed: usize,
    evidence: Evidence,
    /// When the first instance was found.
    found_at: Option<Instant>,
    /// When what is weighed no longer waits for other entrants.
    limit: Option<Instant>,
}

/// A strategy in the race.
struct Entrant<'a> {
    link: &'a Link,
    state: State,
}

enum State {
    Waiting,
    Running,
    Ended(Duration, StrategyOutcome),
    /// Weighed, or not asked at all.
    Done,
}

/// What the answers would mean that wait for earlier entrants.
struct Preview {
    /// Whether entrants that have not started are not needed.
    is_decided: bool,
    /// When the earlier entrants end at the latest.
    hold: Option<Instant>,
}

// === impl Race ===

impl<'a> Race<'a> {
    fn new(chain: &'a Chain, key: &'a LookupKey, log: &'a AttemptLog) -> Self {
        let links = log.order().iter().filter_map(|name| chain.link(*name));
        let entrant = |link: &'a Link| match link.off(key) {
            Some(reason) => {
                log.skip(StrategyName::from(&link.kind), reason);
                Entrant { link, state: State::Done }
            }
            None => Entrant { link, state: State::Waiting },
        };
        Self {
            chain,
            key,
            log,
            deadline: Deadline::after(key.overall).inner(),
            entrants: links.map(entrant).collect(),
            running: FuturesUnordered::new(),
            latest: None,
            weighed: 0,
            evidence: Evidence::default(),
            found_at: None,
            limit: None,
        }
    }

    async fn run(mut self) -> Evidence {
        loop {
            match self.weigh_ended() {
                Some((link, Verdict::Decided)) => return self.end(link).await,
                Some(_) => {
                    self.log.skip_rest(NO_INSTANCE);
                    return self.evidence;
                }
                None => {}
            }
            let preview = self.preview();
            let next = match preview.is_decided || self.deadline.is_over() {
                true => None,
                false => self.next_start(),
            };
            if let Some((index, at)) = next
                && at <= Instant::now()
            {
                self.start(index);
                continue;
            }
            if self.running.is_empty() {
                return self.evidence;
            }
            let cut_off = preview.hold.into_iter().chain(self.limit).min();
            tokio::select! {
                // What has ended counts, however late the task is polled.
                biased;
                Some((index, outcome)) = self.running.next() => self.entrant_ended(index, outcome),
                () = at(cut_off) => self.end_running(),
                () = at(next.map(|(_, at)| at)) => {}
            }
        }
    }

    /// Returns the next entrant to start, and when it starts.
    fn next_start(&self) -> Option<(usize, Instant)> {
        let now = Instant::now();
        if self.limit.is_some_and(|limit| limit <= now) {
            return None;
        }
        let is_waiting = |entrant: &Entrant<'_>| matches!(entrant.state, State::Waiting);
        let index = self.entrants.iter().position(is_waiting)?;
        let at = match self.latest {
            Some((latest, at)) if self.is_running(latest) => at + STAGGER,
            _ => now,
        };
        Some((index, at))
    }

    fn is_running(&self, index: usize) -> bool {
        matches!(self.entrants[index].state, State::Running)
    }

    fn start(&mut self, index: usize) {
        let (chain, key, link) = (self.chain, self.key, self.entrants[index].link);
        self.log.begin(StrategyName::from(&link.kind));
        self.entrants[index].state = State::Running;
        self.latest = Some((index, Instant::now()));
        let asked = link.ask(key, &chain.scopes, self.deadline);
        self.running.push(asked.map(move |outcome| (index, outcome)).boxed());
    }

    fn entrant_ended(&mut self, index: usize, outcome: StrategyOutcome) {
        let entrant = &mut self.entrants[index];
        let took = self.log.took(StrategyName::from(&entrant.link.kind));
        entrant.state = State::Ended(took, outcome);
    }

    /// Weighs what has ended, as far as everything before it has. Returns the strategy that decides the lookup.
    fn weigh_ended(&mut self) -> Option<(&'a Link, Verdict)> {
        while let Some((link, took, outcome)) = self.next_ended() {
            let verdict = self.chain.add(link, self.key, &outcome, &mut self.evidence);
            self.chain.record(link, self.key, self.log, (took, outcome));
            if verdict != Verdict::Open {
                return Some((link, verdict));
            }
            self.limit_others();
        }
        None
    }

    fn next_ended(&mut self) -> Option<(&'a Link, Duration, StrategyOutcome)> {
        loop {
            let entrant = self.entrants.get_mut(self.weighed)?;
            match mem::replace(&mut entrant.state, State::Done) {
                State::Ended(took, outcome) => {
                    self.weighed += 1;
                    return Some((entrant.link, took, outcome));
                }
                State::Done => self.weighed += 1,
                unfinished => {
                    entrant.state = unfinished;
                    return None;
                }
            }
        }
    }

    /// Limits the time of the other entrants by what is weighed, as without a race.
    fn limit_others(&mut self) {
        if self.evidence.has_instance() {
            self.found_at.get_or_insert_with(Instant::now);
        }
        let spent = self.found_at.map(|at| at.elapsed()).unwrap_or_default();
        if let Some(limit) = self.evidence.limit(self.key.all, spent) {
            let end = Instant::now() + limit;
            self.limit = Some(self.limit.map_or(end, |limit| limit.min(end)));
        }
    }

    /// Weighs the answers that wait for earlier entrants, as if those had found nothing.
    fn preview(&mut self) -> Preview {
        let mut evidence = self.evidence.clone();
        let mut earlier: Vec<Trust> = Vec::new();
        for entrant in self.entrants.iter().skip(self.weighed) {
            let outcome = match &entrant.state {
                State::Ended(_, outcome) => outcome,
                State::Running => {
                    earlier.push(entrant.link.trust);
                    continue;
                }
                State::Waiting | State::Done => continue,
            };
            let verdict = self.chain.add(entrant.link, self.key, outcome, &mut evidence);
            let is_decided = verdict != Verdict::Open;
            if matches!(outcome, StrategyOutcome::Found(_)) && evidence.has_result(self.key.all) {
                let found_at = *self.found_at.get_or_insert_with(Instant::now);
                // The answer of a more trusted strategy may be that there is no such instance.
                let waits = earlier.iter().any(|earlier| *earlier < entrant.link.trust);
                return Preview { is_decided, hold: (!waits).then(|| found_at + CORROBORATION) };
            }
            if is_decided {
                return Preview { is_decided, hold: None };
            }
        }
        Preview { is_decided: false, hold: None }
    }

    /// Ends the entrants that run, because their time is over.
    fn end_running(&mut self) {
        self.running = FuturesUnordered::new();
        for entrant in &mut self.entrants {
            if matches!(entrant.state, State::Running) {
                let took = self.log.took(StrategyName::from(&entrant.link.kind));
                let error = StrategyError::timed_out(took);
                entrant.state = State::Ended(took, StrategyOutcome::Failed(error));
            }
        }
    }

    /// Ends the race, which this strategy has decided.
    async fn end(mut self, link: &Link) -> Evidence {
        for entrant in &mut self.entrants {
            if let State::Ended(took, outcome) = mem::replace(&mut entrant.state, State::Done) {
                self.chain.record(entrant.link, self.key, self.log, (took, outcome));
            }
        }
        self.running = FuturesUnordered::new();
        self.log.abandon_rest();
        self.chain.complete(link, self.key, self.deadline, &mut self.evidence).await;
        self.evidence
    }
}

/// Waits until this point in time, or for ever.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
