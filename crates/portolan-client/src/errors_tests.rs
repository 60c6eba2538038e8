//! Snapshots of every public error: its text and its remedy.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Remedy, Scope, ServiceName};

use crate::attempt::{Attempt, AttemptOutcome};
use crate::blocking::BuildError;
use crate::config::InvalidDiscovery;
use crate::dns_config::DnsConfig;
use crate::environment::{InvalidVariable, variable};
use crate::error::DiscoverError;
use crate::registry_client::RegistryClientError;
use crate::reservations::ReservationsError;
use crate::static_endpoints::ConfiguredEndpoint;
use crate::strategies::registry::JustStarted;
use crate::strategy::StrategyError;
use crate::strategy_name::{StrategyName, UnknownStrategy};

/// Returns the texts and remedies, one error per block.
fn texts(errors: Vec<Box<dyn Remedy>>) -> String {
    errors.into_iter().fold(String::new(), |mut texts, error| {
        writeln!(texts, "{error}").unwrap();
        if let Some(remedy) = error.remedy() {
            writeln!(texts, "  remedy: {remedy}").unwrap();
        }
        texts
    })
}

fn url() -> String {
    "http://localhost:7000".to_owned()
}

fn registry_errors() -> Vec<RegistryClientError> {
    vec![
        RegistryClientError::invalid_url("ftp://r", "it does not begin with http:// or https://"),
        RegistryClientError::InvalidTls { problem: "no key".into(), remedy: Some("set it".into()) },
        RegistryClientError::unreachable("https://r", "invalid peer certificate: UnknownIssuer"),
        RegistryClientError::unreachable("https://r", "received fatal alert: CertificateRequired"),
        RegistryClientError::unreachable("https://r", "connection was not ready"),
        RegistryClientError::InvalidToken,
        RegistryClientError::unreachable(&url(), "Connection refused (os error 111)"),
        RegistryClientError::NotPermitted {
            url: url(),
            status: 401,
            detail: "no token".to_owned(),
            remedy: "send one".to_owned(),
        },
        RegistryClientError::NotPermitted {
            url: url(),
            status: 403,
            detail: "api may not read db".to_owned(),
            remedy: "add the right".to_owned(),
        },
        RegistryClientError::Refused {
            url: url(),
            status: 422,
            detail: "the port is taken".to_owned(),
        },
        RegistryClientError::Conflict {
            url: url(),
            detail: "api is registered by another incarnation".to_owned(),
            remedy: "end this run of the service".to_owned(),
        },
        RegistryClientError::OutOfReach {
            id: "api@127.0.0.1:8080".parse().unwrap(),
            detail: "it listens on the host of the registry".to_owned(),
        },
        RegistryClientError::UnknownService { id: "api@127.0.0.1:8080".parse().unwrap() },
        RegistryClientError::bad_answer(&url(), "it answers 404 Not Found"),
    ]
}

fn unknown_strategy(given: &str) -> UnknownStrategy {
    given.parse::<StrategyName>().unwrap_err()
}

fn invalid_settings() -> Vec<InvalidDiscovery> {
    let domain = DnsConfig { domain: Some("a..b".to_owned()), ..DnsConfig::default() };
    vec![
        InvalidDiscovery::NoStrategy,
        InvalidDiscovery::RepeatedStrategy("dns".parse().unwrap()),
        InvalidDiscovery::UnknownPosition {
            strategy: "dns".parse().unwrap(),
            neighbour: "hosts".to_owned(),
        },
        InvalidDiscovery::NoTime("registry_lookup"),
        InvalidDiscovery::NoRoom,
        InvalidDiscovery::Credentials(RegistryClientError::InvalidToken),
        InvalidDiscovery::Domain(domain.domain().unwrap_err()),
    ]
}

fn attempts(last: AttemptOutcome) -> Vec<Attempt> {
    let skipped = AttemptOutcome::Skipped("no default port is known for worker".to_owned());
    let outcomes = [("default", skipped), ("registry", last), ("dns", AttemptOutcome::NotAsked)];
    let attempt = |(name, outcome): (&str, _)| Attempt {
        strategy: name.parse().unwrap(),
        took: Duration::from_millis(3),
        outcome,
    };
    outcomes.into_iter().map(attempt).collect()
}

fn failed(error: RegistryClientError) -> AttemptOutcome {
    AttemptOutcome::Failed(Arc::new(error.into()))
}

fn discover_errors() -> Vec<DiscoverError> {
    let name: ServiceName = "worker".parse().unwrap();
    let not_found = AttemptOutcome::NotFound {
        reason: format!("the registry at {} has no instance", url()),
        authoritative: true,
    };
    let unreachable = RegistryClientError::unreachable(&url(), "Connection refused");
    let timed_out = Arc::new(StrategyError::timed_out(Duration::from_secs(1)));
    vec![
        DiscoverError::InvalidName("".parse::<ServiceName>().unwrap_err()),
        DiscoverError::UnknownStrategy(unknown_strategy("regsitry")),
        DiscoverError::NotFound {
            name: name.clone(),
            scopes: vec!["shop".parse().unwrap(), Scope::default()],
            attempts: attempts(not_found),
        },
        DiscoverError::from_attempts(
            name.clone(),
            Vec::new(),
            Duration::ZERO,
            attempts(AttemptOutcome::NotReady {
                reason: "`worker` of stack `shop` crashed 12s ago: exit status 1".to_owned(),
                remedy: "see the output of `portolan up` (process 42)".to_owned(),
            }),
        ),
        DiscoverError::CouldNotAsk { name: name.clone(), attempts: attempts(failed(unreachable)) },
        DiscoverError::TimedOut {
            name,
            limit: Duration::from_secs(10),
            attempts: attempts(AttemptOutcome::Failed(timed_out)),
        },
        DiscoverError::Disabled,
        DiscoverError::Closed,
        DiscoverError::NothingToWatch,
    ]
}

#[test]
fn texts_and_remedies_are_those_of_the_snapshots() {
    fn boxed<E: Remedy + 'static>(errors: Vec<E>) -> Vec<Box<dyn Remedy>> {
        errors.into_iter().map(|error| Box::new(error) as Box<dyn Remedy>).collect()
    }
    insta::assert_snapshot!("registry_client_error", texts(boxed(registry_errors())));
    insta::assert_snapshot!("invalid_discovery", texts(boxed(invalid_settings())));
    insta::assert_snapshot!("discover_error", texts(boxed(discover_errors())));
    let thread = io::Error::from(io::ErrorKind::OutOfMemory);
    let reservations = ReservationsError { reason: "permission denied".to_owned() };
    let others: Vec<Box<dyn Remedy>> = vec![
        Box::new(unknown_strategy("mdns")),
        Box::new(reservations.clone()),
        Box::new(StrategyError::from(reservations)),
        Box::new(JustStarted { url: url() }),
        Box::new(StrategyError::timed_out(Duration::from_secs(1))),
        Box::new("localhost".parse::<ConfiguredEndpoint>().unwrap_err()),
        Box::new(BuildError::Settings(InvalidDiscovery::NoRoom)),
        Box::new(BuildError::Thread(thread)),
        Box::new(InvalidVariable {
            variable: variable::SCOPE,
            reason: "the scope is empty".to_owned(),
        }),
    ];
    insta::assert_snapshot!("others", texts(others));
}
