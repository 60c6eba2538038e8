//! Whether host names are resolved: `localhost`, and names in the configured domain.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use portolan_client::DiscoverError;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::Check;
use super::finding::Finding;
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "name_resolution", run: |context| check(context).boxed() };

/// A service that does not exist, so that the response of the name servers is short.
const UNKNOWN_SERVICE: &str = "portolan-doctor";

async fn check(context: &Context) -> Vec<Finding> {
    let limit = context.settings().discovery.timeouts.strategy("dns");
    vec![check_localhost(limit).await, check_domain(context).await]
}

async fn check_localhost(limit: Duration) -> Finding {
    let found = match timeout(limit, lookup_host(("localhost", 0))).await {
        Ok(found) => found.map(|all| all.map(|address| address.ip()).collect::<Vec<_>>()),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    evaluate_localhost(found)
}

fn evaluate_localhost(found: io::Result<Vec<IpAddr>>) -> Finding {
    let remedy = "add the line `127.0.0.1 localhost` at the top of /etc/hosts";
    let mut addresses = match found {
        Ok(addresses) => addresses,
        Err(error) => return Finding::error("localhost has no address", error, remedy),
    };
    addresses.dedup();
    let evidence = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let has_v4 = addresses.iter().any(|address| address.is_ipv4());
    match (addresses.iter().all(|address| address.is_loopback()), has_v4) {
        (false, _) => Finding::error("localhost is not this host", evidence, remedy),
        (true, true) => Finding::ok("localhost is this host", evidence),
        (true, false) => Finding::warning(
            "localhost has no IPv4 address, so that clients do not reach programs on 127.0.0.1 by this name",
            evidence,
            remedy,
        ),
    }
}

/// Checks the configured domain and name servers; sends nothing if none are configured.
async fn check_domain(context: &Context) -> Finding {
    let dns = &context.settings().discovery.dns;
    let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    let place = match (&dns.domain, servers.is_empty()) {
        (None, true) => {
            return Finding::ok("no domain is configured", "discovery.dns.domain is not set");
        }
        (Some(domain), true) => format!("{domain}, resolved by the name servers of this host"),
        (domain, false) => {
            let domain = domain.as_deref().unwrap_or("the search domains of this host");
            format!("{domain}, resolved by {}", servers.join(", "))
        }
    };
    match context.discovery_at(context.registry_url(), None) {
        Err(failure) => Finding::from_failure("host names cannot be resolved", &failure),
        Ok(client) => {
            let explanation = client.discover(UNKNOWN_SERVICE).strategies(["dns"]).explain().await;
            evaluate_domain(&place, explanation.result.map(drop))
        }
    }
}

fn evaluate_domain(place: &str, result: Result<(), DiscoverError>) -> Finding {
    match result {
        Ok(()) | Err(DiscoverError::NotFound { .. }) => {
            Finding::ok("the name servers respond", place)
        }
        Err(DiscoverError::Disabled) => {
            Finding::ok("discovery is disabled", "discovery.enabled is false")
        }
        Err(error) => {
            let attempts: Vec<String> = error.attempts().iter().map(ToString::to_string).collect();
            Finding::error(
                "the name servers do not respond",
                format_args!("{place}: {}", attempts.join("; ")),
                "check discovery.dns.servers, or /etc/resolv.conf if that is not set",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn localhost(addresses: &[&str]) -> Severity {
        let parsed = addresses.iter().map(|address| address.parse().unwrap()).collect();
        evaluate_localhost(Ok(parsed)).severity
    }

    #[test]
    fn localhost_must_be_this_host_and_have_an_ipv4_address() {
        assert_eq!(localhost(&["127.0.0.1", "::1"]), Severity::Ok);
        assert_eq!(localhost(&["::1"]), Severity::Warning);
        assert_eq!(localhost(&["127.0.0.1", "192.0.2.1"]), Severity::Error);
        let unknown = evaluate_localhost(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(unknown.severity, Severity::Error);
    }

    #[test]
    fn name_server_without_a_record_responds() {
        let (name, attempts) = (UNKNOWN_SERVICE.parse().unwrap(), Vec::new());
        let not_found = DiscoverError::NotFound { name, scopes: Vec::new(), attempts };
        assert_eq!(evaluate_domain("here", Err(not_found)).severity, Severity::Ok);
        let (name, attempts) = (UNKNOWN_SERVICE.parse().unwrap(), Vec::new());
        let no_response = DiscoverError::CouldNotAsk { name, attempts };
        assert_eq!(evaluate_domain("here", Err(no_response)).severity, Severity::Error);
    }
}
