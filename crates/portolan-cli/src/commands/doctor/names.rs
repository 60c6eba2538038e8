//! Whether names are resolved: `localhost`, and the configured domain.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use portolan_client::DiscoverError;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::Check;
use super::finding::{Finding, Severity};
use crate::context::Context;

pub(super) const CHECK: Check = Check { name: "names", run: |context| look(context).boxed() };

/// A service that nobody has, so that any answer of the name servers is short.
const NOBODY: &str = "portolan-doctor";

async fn look(context: &Context) -> Vec<Finding> {
    let limit = context.settings().discovery.timeouts.dns_resolution;
    vec![of_localhost(limit).await, of_domain(context).await]
}

async fn of_localhost(limit: Duration) -> Finding {
    let found = match timeout(limit, lookup_host(("localhost", 0))).await {
        Ok(found) => found.map(|all| all.map(|address| address.ip()).collect::<Vec<_>>()),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    judge_localhost(found)
}

fn judge_localhost(found: io::Result<Vec<IpAddr>>) -> Finding {
    let remedy = "let /etc/hosts begin with the line `127.0.0.1 localhost`";
    let mut addresses = match found {
        Ok(addresses) => addresses,
        Err(error) => return Finding::error("localhost has no address", error, remedy),
    };
    addresses.dedup();
    let evidence = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let has_v4 = addresses.iter().any(|address| address.is_ipv4());
    match (addresses.iter().all(|address| address.is_loopback()), has_v4) {
        (false, _) => Finding::error("localhost is another machine", evidence, remedy),
        (true, true) => Finding::ok("localhost is this host", evidence),
        (true, false) => Finding::warning(
            "localhost has no address of IPv4, and programs that listen on 127.0.0.1 are not found by it",
            evidence,
            remedy,
        ),
    }
}

/// Name servers that nobody configured are the strategy's business: nothing is sent to them here.
async fn of_domain(context: &Context) -> Finding {
    let dns = &context.settings().discovery.dns;
    let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    let place = match (&dns.domain, servers.is_empty()) {
        (None, true) => {
            return Finding::ok("no domain is configured", "discovery.dns.domain is not set");
        }
        (Some(domain), true) => format!("{domain}, asked of the system's name servers"),
        (domain, false) => {
            let domain = domain.as_deref().unwrap_or("the system's domains");
            format!("{domain}, asked of {}", servers.join(", "))
        }
    };
    match context.discovery_at(context.registry_url(), None) {
        Err(failure) => Finding::of(Severity::Error, "no name can be asked for", &failure.message),
        Ok(client) => {
            let explanation = client.discover(NOBODY).strategies(["dns"]).explain().await;
            judge_domain(&place, explanation.result.map(drop))
        }
    }
}

fn judge_domain(place: &str, result: Result<(), DiscoverError>) -> Finding {
    match result {
        Ok(()) | Err(DiscoverError::NotFound { .. }) => {
            Finding::ok("the name servers answer", place)
        }
        Err(DiscoverError::Disabled) => {
            Finding::ok("discovery is switched off", "discovery.enabled is false")
        }
        Err(error) => {
            let attempts: Vec<String> = error.attempts().iter().map(ToString::to_string).collect();
            Finding::error(
                "the name servers do not answer",
                format_args!("{place}: {}", attempts.join("; ")),
                "check discovery.dns.servers, or /etc/resolv.conf where none are set",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost(addresses: &[&str]) -> Severity {
        let parsed = addresses.iter().map(|address| address.parse().unwrap()).collect();
        judge_localhost(Ok(parsed)).severity
    }

    #[test]
    fn localhost_is_this_host_in_ipv4_at_least() {
        assert_eq!(localhost(&["127.0.0.1", "::1"]), Severity::Ok);
        assert_eq!(localhost(&["::1"]), Severity::Warning);
        assert_eq!(localhost(&["127.0.0.1", "192.0.2.1"]), Severity::Error);
        let unknown = judge_localhost(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(unknown.severity, Severity::Error);
    }

    #[test]
    fn name_servers_that_know_nobody_answer_and_others_do_not() {
        let (name, attempts) = (NOBODY.parse().unwrap(), Vec::new());
        let nobody = DiscoverError::NotFound { name, scopes: Vec::new(), attempts };
        assert_eq!(judge_domain("here", Err(nobody)).severity, Severity::Ok);
        let (name, attempts) = (NOBODY.parse().unwrap(), Vec::new());
        let silence = DiscoverError::CouldNotAsk { name, attempts };
        assert_eq!(judge_domain("here", Err(silence)).severity, Severity::Error);
    }
}
