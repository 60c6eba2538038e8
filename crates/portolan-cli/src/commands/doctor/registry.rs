//! Whether the registry responds, is ready, and its clock agrees with the clock of this host.

use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use portolan_client::{ListQuery, Readiness, RegistryClient, RegistryClientError};
use portolan_core::duration::format_duration;
use portolan_server::{REGISTRY_SERVICE, Settings};

use super::Check;
use super::finding::Finding;
use crate::context::Context;

pub(super) const CHECK: Check = Check { name: "registry", run: |context| check(context).boxed() };

async fn check(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(own_server(context.settings()));
    for url in context.registry_url().split(',') {
        findings.extend(check_server(context, url).await);
    }
    findings
}

async fn check_server(context: &Context, url: &str) -> Vec<Finding> {
    let settings = context.settings();
    let client = match context.registry_at(url.to_owned()) {
        Ok(client) => client.with_timeout(settings.discovery.timeouts.strategy("registry")),
        Err(failure) => {
            return vec![Finding::from_failure("the registry cannot be used", &failure)];
        }
    };
    match client.clock().await {
        Ok(time) => {
            let responds = readiness(client.readiness().await, &client.url());
            let clock =
                time.map(|time| evaluate(time, Timestamp::now(), settings.broadcast.window));
            let open = remote_server(&client).await;
            [responds].into_iter().chain(clock).chain(open).collect()
        }
        Err(error) => vec![error_finding(error, context.names_registry())],
    }
}

/// A server with these settings that other hosts reach should require a token.
fn own_server(settings: &Settings) -> Option<Finding> {
    let address = settings.service_registry.listen_address;
    (settings.token.is_none() && !address.ip().is_loopback()).then(|| {
        open_to_network(format_args!(
            "service_registry.listen_address is {address}, and no token is set"
        ))
    })
}

/// The same of a server that responds, which may have other settings.
async fn remote_server(client: &RegistryClient) -> Option<Finding> {
    let nothing = ListQuery::named(REGISTRY_SERVICE.parse().ok()?);
    let is_open = client.list(&nothing).await.is_ok_and(|listing| listing.open_to_network);
    is_open.then(|| open_to_network(format_args!("{} says so", client.url())))
}

fn open_to_network(evidence: std::fmt::Arguments<'_>) -> Finding {
    Finding::warning(
        "the registry serves other hosts without a token: anyone there can change what it answers",
        evidence,
        "set PORTOLAN_TOKEN for the registry and its clients, or service_registry.listen_address to 127.0.0.1:7000",
    )
}

/// A registry that responds may have lost its store.
fn readiness(ready: Result<Readiness, RegistryClientError>, url: &str) -> Finding {
    match ready {
        Ok(Readiness::Ready) => Finding::ok("the registry responds", url),
        Ok(Readiness::NotReady { reason }) => Finding::error(
            "the registry responds, but is not ready: it may answer with old data, and cannot accept registrations",
            format_args!("{url}/readyz: {reason}"),
            "check that its store is reachable",
        ),
        Ok(Readiness::ReadOnly { reason }) => Finding::error(
            "the registry cannot write its data directory, and rejects registrations",
            format_args!("{url}/readyz: {reason}"),
            "free space there, make it writable or put it back; the registry then goes on by itself",
        ),
        Ok(_) => Finding::ok("the registry responds", url),
        Err(error) => {
            Finding::from_failure("the registry does not say whether it is ready", &error.into())
        }
    }
}

/// A registry that is not configured need not run.
fn error_finding(error: RegistryClientError, is_configured: bool) -> Finding {
    match error {
        RegistryClientError::Unreachable { url, reason } if !is_configured => Finding::warning(
            "no registry responds; services are discovered on this host and by broadcast only",
            format_args!("{url}: {reason}"),
            "to use a registry, start it with `portolan serve`, or set discovery.registry_url",
        ),
        _ => Finding::from_failure("the registry does not respond", &error.into()),
    }
}

/// Compares in whole seconds: the time of the registry comes from an HTTP header.
fn evaluate(registry: Timestamp, own: Timestamp, window: Duration) -> Finding {
    let apart = Duration::from_secs(own.duration_since(registry).unsigned_abs().as_secs());
    let evidence = format!("{} apart", format_duration(apart));
    match apart <= window {
        true => Finding::ok("the clocks of the registry and this host agree", evidence),
        false => Finding::warning(
            "the clocks of the registry and this host differ",
            format_args!("{evidence}; messages older than broadcast.window are dropped"),
            "synchronise both clocks by NTP, with chrony or systemd-timesyncd",
        ),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn only_a_configured_registry_must_respond() {
        let url = String::new;
        let unreachable =
            || RegistryClientError::Unreachable { url: url(), reason: "refused".to_owned() };
        assert_eq!(error_finding(unreachable(), true).severity, Severity::Error);
        assert_eq!(error_finding(unreachable(), false).severity, Severity::Warning);
        let invalid =
            RegistryClientError::BadAnswer { url: url(), reason: "it is an API".to_owned() };
        assert_eq!(error_finding(invalid, false).severity, Severity::Error);
    }

    #[test]
    fn registry_that_has_lost_its_store_is_an_error_with_the_reason() {
        assert_eq!(readiness(Ok(Readiness::Ready), "http://a:1").severity, Severity::Ok);
        let reason = "the registry is stale: its view is 12s old".to_owned();
        let found = readiness(Ok(Readiness::NotReady { reason }), "http://a:1");
        assert_eq!(found.severity, Severity::Error);
        let text = found.to_text("registry");
        assert!(text.contains("http://a:1/readyz: the registry is stale: its view is"), "{text}");
    }

    #[test]
    fn registry_that_cannot_write_its_data_directory_is_an_error_with_the_reason() {
        let reason = "/data/journal-00000001: No space left on device".to_owned();
        let found = readiness(Ok(Readiness::ReadOnly { reason }), "http://a:1");
        assert_eq!(found.severity, Severity::Error);
        assert!(found.to_text("registry").contains("No space left on device"));
    }

    #[test]
    fn clock_difference_beyond_the_window_is_a_warning_in_both_directions() {
        let (now, window) = (Timestamp::now(), Duration::from_secs(30));
        for seconds in [-31, 31, 86_400] {
            let other = now + SignedDuration::from_secs(seconds);
            assert_eq!(evaluate(other, now, window).severity, Severity::Warning, "{seconds}");
        }
        assert_eq!(
            evaluate(now - SignedDuration::from_secs(30), now, window).severity,
            Severity::Ok
        );
    }
}
