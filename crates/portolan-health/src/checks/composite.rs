//! Checks that consist of several others: `all:tcp;process`, `any:tcp:HOST:PORT;http:/health`.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use portolan_core::{HealthReport, HealthStatus};

use crate::{Check, CheckInput, CheckKind, Target};

pub(super) const ALL: CheckKind = CheckKind {
    name: "all",
    forms: &["all:CHECK;CHECK"],
    url_form: None,
    options: &["those of its checks"],
    parse: |input| parse(input, Rule::Worst),
};

pub(super) const ANY: CheckKind = CheckKind {
    name: "any",
    forms: &["any:CHECK;CHECK"],
    url_form: None,
    options: &["those of its checks"],
    parse: |input| parse(input, Rule::Best),
};

/// The maximum number of members, which run at the same time.
const MAX_MEMBERS: usize = 8;
/// The longest reason, in bytes.
const MAX_REASON: usize = 500;

/// Which member decides.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// All members must pass.
    Worst,
    /// One member is enough.
    Best,
}

/// Runs its members at the same time.
#[derive(Debug)]
struct Composite {
    rule: Rule,
    members: Vec<Arc<dyn Check>>,
}

/// Whether the kind consists of others, and so cannot be a part of one.
pub(crate) fn is_composite(kind: &CheckKind) -> bool {
    [ALL.name, ANY.name].contains(&kind.name)
}

fn parse(input: &mut CheckInput<'_>, rule: Rule) -> Result<Arc<dyn Check>, String> {
    let texts: Vec<&str> = input.value.unwrap_or_default().split(';').map(str::trim).collect();
    if texts.len() > MAX_MEMBERS {
        return Err(format!("it has {} checks, expected at most {MAX_MEMBERS}", texts.len()));
    }
    let members = texts.into_iter().map(|text| input.kinds.parse_member(text, input.options));
    Ok(Arc::new(Composite { rule, members: members.collect::<Result<_, _>>()? }))
}

impl Check for Composite {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        async move {
            let reports = join_all(self.members.iter().map(|member| member.check(target))).await;
            self.rule.decide(reports)
        }
        .boxed()
    }

    fn connects(&self) -> bool {
        self.members.iter().any(|member| member.connects())
    }
}

// === impl Rule ===

impl Rule {
    /// Returns the status of the member that decides, and the reasons of all that have it.
    fn decide(self, reports: Vec<HealthReport>) -> HealthReport {
        let statuses = reports.iter().map(|report| report.status);
        let status = match self {
            Self::Worst => statuses.max(),
            Self::Best => statuses.min(),
        };
        let status = status.unwrap_or(HealthStatus::Unknown);
        let reasons = reports.into_iter().filter(|report| report.status == status);
        let mut reason = reasons.map(|report| report.reason).collect::<Vec<_>>().join("; ");
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        HealthReport::new(status, reason)
    }
}

#[cfg(test)]
mod tests {
    use HealthStatus::{Critical, Passing, Unknown, Warning};

    use super::*;
    use crate::CheckSpec;

    fn decide(rule: Rule, statuses: &[HealthStatus]) -> (HealthStatus, String) {
        let report = |status: &HealthStatus| HealthReport::new(*status, status.to_string());
        let report = rule.decide(statuses.iter().map(report).collect());
        (report.status, report.reason)
    }

    #[test]
    fn worst_or_best_member_decides() {
        for (statuses, worst, best) in [
            (
                &[Passing, Critical, Critical][..],
                (Critical, "critical; critical"),
                (Passing, "passing"),
            ),
            (&[Passing, Warning], (Warning, "warning"), (Passing, "passing")),
            (&[Unknown, Passing], (Unknown, "unknown"), (Passing, "passing")),
            (&[Critical, Unknown], (Critical, "critical"), (Unknown, "unknown")),
        ] {
            assert_eq!(decide(Rule::Worst, statuses), (worst.0, worst.1.to_owned()));
            assert_eq!(decide(Rule::Best, statuses), (best.0, best.1.to_owned()));
        }
        let long = vec![HealthReport::new(Critical, "é".repeat(1000)); 8];
        assert!(Rule::Worst.decide(long).reason.len() <= MAX_REASON);
    }

    #[test]
    fn members_take_the_options_and_whether_one_connects() {
        let spec: CheckSpec = "all:process; http:/x#status=200&interval=5s".parse().unwrap();
        assert!(spec.connects());
        assert_eq!(spec.health_url(&"10.0.0.1".parse().unwrap(), 80), None);
        assert!(!"any:process;ttl:5s".parse::<CheckSpec>().unwrap().connects());
    }

    #[test]
    fn invalid_members_are_refused() {
        for (text, part) in [
            ("all", "\"\" is not a health check that can be a part of another"),
            ("all:tcp;", "\"\" is not a health check"),
            ("all:any:tcp", "\"any:tcp\" is not a health check that can be a part of another"),
            ("all:none", "\"none\" is not a health check that can be a part"),
            ("any:tcp:x", "\"x\" is not a host and a port"),
            (
                "all:tcp#status=200",
                "\"status\" is not an option of this check, which has those of its checks, interval",
            ),
            ("all:tcp;tcp;tcp;tcp;tcp;tcp;tcp;tcp;tcp", "it has 9 checks, expected at most 8"),
        ] {
            let error = text.parse::<CheckSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
