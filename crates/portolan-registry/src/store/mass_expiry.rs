//! Whether an instance whose lease ended is kept, because too many leases end at once. Without I/O.
//!
//! If one instance does not renew its lease, it is dead. If most of them do not, more likely the network between them and
//! the registry is, and dropping all would turn it into an outage of every service (ADR 0019). So when a lease ends, the
//! store assesses how many others are about to: those with less than two fifths of their TTL left. A service that renews
//! twice in a TTL, as agents do, has always more than that.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use portolan_core::duration::format_duration;
use portolan_core::{Scope, ServiceEndpoint, ServiceName};
use tokio::time::Instant;

use crate::RegistryConfig;

/// How long an assessment holds: it costs a look at every instance.
const HOLDS: Duration = Duration::from_millis(500);

/// The protection against a mass expiry.
#[derive(Debug)]
pub(crate) struct MassExpiry {
    /// `None` if it is off.
    rule: Option<Rule>,
    assessment: Option<(Instant, Assessment)>,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    share: f64,
    instances: usize,
    keep: Duration,
}

/// How many leases are ending, where those are too many.
#[derive(Debug, Default)]
struct Assessment {
    all: Option<Ending>,
    services: HashMap<(ServiceName, Scope), Ending>,
}

/// How many of the leases of some instances are ending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ending {
    ending: usize,
    total: usize,
}

/// An instance is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What the health of the instance says.
    pub(crate) reason: String,
    /// How long it is kept.
    pub(crate) keep: Duration,
}

// === impl MassExpiry ===

impl MassExpiry {
    pub(crate) fn from_config(config: &RegistryConfig) -> Self {
        Self { rule: Rule::from_config(config), assessment: None }
    }

    /// Judges by other settings from now on.
    pub(crate) fn reconfigure(&mut self, config: &RegistryConfig) {
        self.rule = Rule::from_config(config);
    }

    /// Whether an instance whose lease has just ended is kept. `leases` are all instances, or those whose leases this
    /// server ends, with what is left of each lease; zero if it has ended, and the instance is kept.
    pub(crate) fn keeps<'a, L>(
        &mut self,
        endpoint: &ServiceEndpoint,
        leases: impl Fn() -> L,
    ) -> Option<Kept>
    where
        L: Iterator<Item = (&'a ServiceEndpoint, Duration)>,
    {
        let rule = self.rule?;
        if self.assessment.as_ref().is_some_and(|(at, _)| at.elapsed() >= HOLDS) {
            self.assessment = None;
        }
        let assess = || (Instant::now(), Assessment::of(rule, &leases));
        let (_, assessment) = self.assessment.get_or_insert_with(assess);
        let reason = assessment.reason(endpoint, rule.keep)?;
        Some(Kept { reason, keep: rule.keep })
    }

    /// The next assessment is a new one: a store has found out more about the leases.
    #[cfg(any(test, feature = "etcd"))]
    pub(crate) fn forget(&mut self) {
        self.assessment = None;
    }
}

// === impl Rule ===

impl Rule {
    fn from_config(config: &RegistryConfig) -> Option<Self> {
        let config = &config.mass_expiry;
        let (share, instances, keep) = (config.share, config.instances, config.keep);
        (!keep.is_zero()).then_some(Self { share, instances, keep })
    }

    fn is_met(self, ending: Ending) -> bool {
        ending.ending >= self.instances && ending.ending as f64 > self.share * ending.total as f64
    }
}

// === impl Assessment ===

impl Assessment {
    fn of<'a, L>(rule: Rule, leases: &impl Fn() -> L) -> Self
    where
        L: Iterator<Item = (&'a ServiceEndpoint, Duration)>,
    {
        // The ordinary death of one: no need to count by service.
        let ending = leases().filter(|(endpoint, left)| is_ending(endpoint, *left));
        if ending.count() < rule.instances {
            return Self::default();
        }
        let mut all = Ending::default();
        let mut services: HashMap<(&ServiceName, &Scope), Ending> = HashMap::new();
        for (endpoint, left) in leases() {
            let is_ending = is_ending(endpoint, left);
            all.count(is_ending);
            services.entry((&endpoint.name, &endpoint.scope)).or_default().count(is_ending);
        }
        let services = services.into_iter().filter(|(_, ending)| rule.is_met(*ending));
        let services =
            services.map(|((name, scope), ending)| ((name.clone(), scope.clone()), ending));
        Self { all: Some(all).filter(|all| rule.is_met(*all)), services: services.collect() }
    }

    fn reason(&self, endpoint: &ServiceEndpoint, keep: Duration) -> Option<String> {
        let key = (endpoint.name.clone(), endpoint.scope.clone());
        let what = match self.services.get(&key) {
            Some(ending) => format!("{ending} instances of {}", endpoint.name),
            None => format!("{} instances of all services", self.all?),
        };
        let keep = format_duration(keep);
        Some(format!(
            "its lease ended like those of {what} at about the same time: it is kept for {keep}, because the network \
             may be the cause"
        ))
    }
}

/// Whether the lease has ended, or will unless it is renewed at once.
pub(crate) fn is_ending(endpoint: &ServiceEndpoint, left: Duration) -> bool {
    left * 5 < endpoint.ttl.duration() * 2
}

// === impl Ending ===

impl Ending {
    fn count(&mut self, is_ending: bool) {
        self.total += 1;
        self.ending += usize::from(is_ending);
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.ending, self.total)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use portolan_core::{Host, Registration, Ttl};
    use proptest::prelude::*;

    use super::*;
    use crate::MassExpiryConfig;

    fn protection(config: MassExpiryConfig) -> MassExpiry {
        MassExpiry::from_config(&RegistryConfig {
            mass_expiry: config,
            ..RegistryConfig::default()
        })
    }

    /// Instances of a service with a TTL of 60 s, of which so many seconds are left.
    fn instances(name: &str, left: &[u64]) -> Vec<(ServiceEndpoint, Duration)> {
        let instance = |(port, left): (u16, &u64)| {
            let registration = Registration::new(name.parse().unwrap(), Host::loopback(), 1 + port);
            let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
            (endpoint, Duration::from_secs(*left))
        };
        (0..).zip(left).map(instance).collect()
    }

    fn keeps(
        protection: &mut MassExpiry,
        name: &str,
        leases: &[(ServiceEndpoint, Duration)],
    ) -> Option<String> {
        let (endpoint, _) = leases.iter().find(|(endpoint, _)| endpoint.name == *name).unwrap();
        let all = || leases.iter().map(|(endpoint, left)| (endpoint, *left));
        protection.keeps(endpoint, all).map(|kept| kept.reason)
    }

    fn decide(name: &str, leases: &[(ServiceEndpoint, Duration)]) -> Option<String> {
        keeps(&mut protection(MassExpiryConfig::default()), name, leases)
    }

    #[tokio::test]
    async fn most_instances_of_a_service_at_once_are_kept_and_say_why() {
        // None of the twenty was renewed for half a TTL.
        let mut leases = instances("api", &[0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 20, 23, 40, 59]);
        leases.extend(instances("web", &[55; 40]));
        let expected = "its lease ended like those of 12 of 14 instances of api at about the same time: it is \
                        kept for 5m, because the network may be the cause";
        assert_eq!(decide("api", &leases).as_deref(), Some(expected));
        assert_eq!(decide("web", &leases), None, "52 other instances are well");
    }

    #[tokio::test]
    async fn most_instances_of_all_services_are_kept_although_each_service_is_small() {
        let small = |number| instances(&format!("service-{number}"), &[number, 60 - number]);
        let ending: Vec<_> = (0..20).flat_map(small).collect();
        assert_eq!(decide("service-0", &ending), None, "half of them");
        let ending: Vec<_> = ending.into_iter().filter(|(_, left)| left.as_secs() < 50).collect();
        let reason = decide("service-0", &ending).unwrap();
        assert!(reason.contains("20 of 29 instances of all services"), "{reason}");
    }

    #[tokio::test]
    async fn single_instances_and_small_services_are_dropped_on_time() {
        assert_eq!(decide("api", &instances("api", &[0])), None);
        assert_eq!(decide("api", &instances("api", &[0; 9])), None);
        let mut one_of_many = vec![45; 100];
        one_of_many[0] = 0;
        assert_eq!(decide("api", &instances("api", &one_of_many)), None);
        // Half of a service, as in a release that fails.
        let half = [[0; 10], [45; 10]].concat();
        assert_eq!(decide("api", &instances("api", &half)), None);
    }

    /// Services that renew at nine tenths of their TTL are late at any moment, and alive.
    #[tokio::test]
    async fn services_that_renew_late_do_not_protect_the_dead() {
        let late: Vec<u64> = (0..100).map(|number| 6 + number * 54 / 100).collect();
        assert_eq!(decide("api", &instances("api", &[vec![0], late].concat())), None);
    }

    #[tokio::test]
    async fn protection_can_be_turned_off() {
        let leases = instances("api", &[0; 100]);
        assert!(decide("api", &leases).is_some());
        let off = [
            MassExpiryConfig { keep: Duration::ZERO, ..MassExpiryConfig::default() },
            MassExpiryConfig { share: 1.0, ..MassExpiryConfig::default() },
        ];
        for config in off {
            assert_eq!(keeps(&mut protection(config), "api", &leases), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn assessment_holds_for_a_moment() {
        let mut protection = protection(MassExpiryConfig::default());
        let (ending, well) = (instances("api", &[0; 20]), instances("api", &[60; 20]));
        assert!(keeps(&mut protection, "api", &ending).is_some());
        assert!(keeps(&mut protection, "api", &well).is_some());
        tokio::time::advance(HOLDS).await;
        assert_eq!(keeps(&mut protection, "api", &well), None);
        protection.forget();
        assert!(keeps(&mut protection, "api", &ending).is_some());
    }

    proptest! {
        /// Whatever the leases: nobody is kept unless at least ten are ending, and more than half.
        #[test]
        fn instances_are_kept_only_if_many_are_ending(left in proptest::collection::vec(0_u64..60, 1..60)) {
            let leases = instances("api", &left);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let is_kept = runtime.block_on(async { decide("api", &leases) }).is_some();
            let ending = left.iter().filter(|left| **left < 24).count();
            prop_assert_eq!(is_kept, ending >= 10 && 2 * ending > left.len());
        }
    }
}
