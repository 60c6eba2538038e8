//! Asks one strategy after another, until what they found decides the lookup.

use tokio::time::Instant;

use super::{Chain, LookupKey, Verdict};
use crate::attempt::AttemptLog;
use crate::deadline::Deadline;
use crate::evidence::Evidence;

/// Why the strategies after a negative answer are not asked.
const NO_INSTANCE: &str = "not asked, because the authenticated registry knows no instance";

/// Asks the strategies in the order of the log, each when the one before it has ended.
pub(super) async fn run(chain: &Chain, key: &LookupKey, log: &AttemptLog) -> Evidence {
    let deadline = Deadline::after(key.overall).inner();
    let mut evidence = Evidence::default();
    let mut found_at = None;
    for &name in log.order() {
        let Some(link) = chain.link(name) else { continue };
        let spent = found_at.map(|at: Instant| at.elapsed()).unwrap_or_default();
        let limit = evidence.limit(key.all, spent);
        if deadline.is_over() || limit.is_some_and(|limit| limit.is_zero()) {
            break;
        }
        if let Some(reason) = link.off(key) {
            log.skip(name, reason);
            continue;
        }
        log.begin(name);
        let deadline = limit.map_or(deadline, |limit| deadline.at_most(limit));
        let outcome = link.ask(key, &chain.scopes, deadline).await;
        let verdict = chain.add(link, key, &outcome, &mut evidence);
        chain.record(link, key, log, (log.took(name), outcome));
        match verdict {
            Verdict::Open => {}
            Verdict::Decided => {
                chain.complete(link, key, deadline, &mut evidence).await;
                break;
            }
            Verdict::NoInstance => {
                log.skip_rest(NO_INSTANCE);
                break;
            }
        }
        found_at = found_at.or_else(|| evidence.has_instance().then(Instant::now));
    }
    evidence
}
