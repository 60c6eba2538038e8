//! Whether the registry answers, and has the same time.

use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use portolan_client::RegistryClientError;
use portolan_config_manager::Origin;
use portolan_core::duration::format_duration;

use super::Check;
use super::finding::{Finding, Severity};
use crate::context::Context;

pub(super) const CHECK: Check = Check { name: "registry", run: |context| look(context).boxed() };

async fn look(context: &Context) -> Vec<Finding> {
    let settings = context.settings();
    let client = match context.registry() {
        Ok(client) => client.with_timeout(settings.discovery.timeouts.registry_lookup),
        Err(failure) => {
            let what = "the registry cannot be asked";
            return vec![Finding::of(Severity::Error, what, &failure.message)];
        }
    };
    match client.clock().await {
        Ok(time) => {
            let answers = Finding::ok("the registry answers", client.url());
            let clock = time.map(|time| judge(time, Timestamp::now(), settings.broadcast.window));
            [answers].into_iter().chain(clock).collect()
        }
        Err(error) => vec![of_error(&error, is_configured(context))],
    }
}

/// One that nobody named need not be there.
fn of_error(error: &RegistryClientError, is_configured: bool) -> Finding {
    match error {
        RegistryClientError::Unreachable { url, reason } if !is_configured => Finding::warning(
            "no registry answers, and services are found on this host and by broadcast only",
            format_args!("{url}: {reason}"),
            "where there should be one, start it with `portolan serve`, or set discovery.registry_url",
        ),
        _ => Finding::of(Severity::Error, "the registry does not answer", error),
    }
}

fn is_configured(context: &Context) -> bool {
    let origin = context.loaded.origins.get("discovery.registry_url");
    !matches!(origin, None | Some(Origin::Default))
}

/// The registry tells whole seconds, and what it told is a moment old.
fn judge(registry: Timestamp, own: Timestamp, window: Duration) -> Finding {
    let apart = Duration::from_secs(own.duration_since(registry).unsigned_abs().as_secs());
    let evidence = format!("{} apart", format_duration(apart));
    match apart <= window {
        true => Finding::ok("the registry's clock and this one agree", evidence),
        false => Finding::warning(
            "the registry's clock and this one differ",
            format_args!("{evidence}; messages that are older than broadcast.window are dropped"),
            "set both clocks by NTP, as chrony or systemd-timesyncd do",
        ),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_registry_that_somebody_named_must_answer_and_another_need_not() {
        let url = String::new;
        let error = RegistryClientError::Unreachable { url: url(), reason: "refused".to_owned() };
        assert_eq!(of_error(&error, true).severity, Severity::Error);
        assert_eq!(of_error(&error, false).severity, Severity::Warning);
        let stranger =
            RegistryClientError::BadAnswer { url: url(), reason: "it is an API".to_owned() };
        assert_eq!(of_error(&stranger, false).severity, Severity::Error);
    }

    #[test]
    fn clocks_that_are_further_apart_than_the_window_are_told_either_way() {
        let (now, window) = (Timestamp::now(), Duration::from_secs(30));
        for seconds in [-31, 31, 86_400] {
            let other = now + SignedDuration::from_secs(seconds);
            assert_eq!(judge(other, now, window).severity, Severity::Warning, "{seconds}");
        }
        assert_eq!(judge(now - SignedDuration::from_secs(30), now, window).severity, Severity::Ok);
    }
}
