//! What a response must be like.

use std::ops::RangeInclusive;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use portolan_core::{HealthReport, HealthStatus, quoted};
use regex_lite::{Regex, RegexBuilder};

use super::exchange::Exchange;
use crate::{CheckOptions, Target};

/// The methods that change nothing at the server.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
/// How much of a body is read for the reason, in bytes.
const REASON_BODY: usize = 1024;
/// How much of a body is read for a condition, in bytes: enough for what reports a status.
const CONDITION_BODY: usize = 16 * 1024;
/// The maximum length of the part of the body that is included in the reason, in characters.
const MAX_REASON: usize = 200;
/// The maximum size of a compiled regular expression in bytes. The time for a match is proportional to it and to the body.
const REGEX_SIZE: usize = 16 * 1024;

/// The conditions of a passing response.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) method: Method,
    /// The status codes that pass; `None` for the default.
    status: Option<Vec<RangeInclusive<u16>>>,
    header: Option<(HeaderName, Option<HeaderValue>)>,
    body: Option<String>,
    body_matches: Option<Regex>,
}

// === impl Conditions ===

impl Conditions {
    pub(super) fn parse(options: &mut CheckOptions) -> Result<Self, String> {
        let conditions = Self {
            method: options.text("method").map(method).transpose()?.unwrap_or(Method::GET),
            status: options.text("status").map(status_codes).transpose()?,
            header: options.text("header").map(header).transpose()?,
            body: options.text("body").map(str::to_owned),
            body_matches: options.text("body_matches").map(regex).transpose()?,
        };
        if conditions.needs_body() && conditions.method == Method::HEAD {
            return Err(
                "a response to HEAD has no body, so body and body_matches need GET".to_owned()
            );
        }
        Ok(conditions)
    }

    /// Returns what the response says about the health of the instance.
    pub(super) async fn judge(
        &self,
        exchange: Exchange,
        request: &str,
        target: &Target,
    ) -> HealthReport {
        let code = exchange.status;
        let report = |status, problem: &str| {
            HealthReport::new(status, format!("{request}: {code}{problem}"))
        };
        // A registry must not become a means to read from servers that a registrant cannot reach.
        if self.reads_contents() && !exchange.is_of_registrant {
            let problem = ", and conditions on its header and body are checked only at the address that registered it";
            return report(HealthStatus::Unknown, problem);
        }
        let status = self.status_of(code);
        if status != HealthStatus::Passing {
            // The answer of a server is not shown to clients of the registry, who may not be allowed to ask that server.
            let line = match target.reach.is_restricted() {
                true => String::new(),
                false => first_line(&exchange.body(REASON_BODY).await),
            };
            let separator = if line.is_empty() { "" } else { ": " };
            return report(status, &format!("{separator}{line}"));
        }
        if let Some(problem) = self.header_problem(&exchange) {
            return report(HealthStatus::Critical, &problem);
        }
        if self.needs_body()
            && let Some(problem) = self.body_problem(&exchange.body(CONDITION_BODY).await)
        {
            return report(HealthStatus::Critical, problem);
        }
        report(HealthStatus::Passing, "")
    }

    fn status_of(&self, code: StatusCode) -> HealthStatus {
        let passes = match &self.status {
            Some(ranges) => ranges.iter().any(|range| range.contains(&code.as_u16())),
            None => code.is_success() || code.is_redirection(),
        };
        match code {
            _ if passes => HealthStatus::Passing,
            StatusCode::TOO_MANY_REQUESTS if self.status.is_none() => HealthStatus::Warning,
            _ => HealthStatus::Critical,
        }
    }

    fn header_problem(&self, exchange: &Exchange) -> Option<String> {
        let (name, expected) = self.header.as_ref()?;
        let mut values = exchange.headers.get_all(name).iter();
        let found = match expected {
            Some(expected) => values.any(|value| value == expected),
            None => values.next().is_some(),
        };
        (!found).then(|| match expected {
            Some(_) => format!(" without the expected value of the header {name}"),
            None => format!(" without the header {name}"),
        })
    }

    fn body_problem(&self, body: &str) -> Option<&'static str> {
        if self.body.as_ref().is_some_and(|text| !body.contains(text)) {
            return Some(" without the expected text in the body");
        }
        let matches = self.body_matches.as_ref().is_none_or(|regex| regex.is_match(body));
        (!matches).then_some(" with a body that the expression does not match")
    }

    fn needs_body(&self) -> bool {
        self.body.is_some() || self.body_matches.is_some()
    }

    fn reads_contents(&self) -> bool {
        self.needs_body() || self.header.is_some()
    }
}

fn method(text: &str) -> Result<Method, String> {
    let found = METHODS.into_iter().find(|method| method.as_str() == text);
    found.ok_or_else(|| {
        format!(
            "method: {} changes a server or does not exist, expected GET, HEAD or OPTIONS",
            quoted(text)
        )
    })
}

/// Parses `200,204,300-399`.
fn status_codes(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    text.split(',').map(|range| status_range(range.trim())).collect()
}

fn status_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| text.parse().ok().filter(|code| (100..=599).contains(code));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!(
            "status: {} is not a status code from 100 to 599 or a range such as 200-299",
            quoted(text)
        )),
    }
}

/// Parses `name` or `name:value`.
fn header(text: &str) -> Result<(HeaderName, Option<HeaderValue>), String> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (text.trim(), None),
    };
    let invalid = |part| format!("header: {} is not the {part} of a header", quoted(text));
    let value = value.map(HeaderValue::from_str).transpose().map_err(|_| invalid("value"))?;
    Ok((name.parse().map_err(|_| invalid("name"))?, value))
}

fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(REGEX_SIZE).build();
    built.map_err(|error| format!("body_matches: {error}"))
}

/// The first line of the body, without control characters.
fn first_line(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}
