//! Health checks as text: `tcp`, `http:/path`, `ttl:15s`.

mod map;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, Host, Remedy, quoted};
use serde::{Serialize, Serializer};

use crate::checks::{BUILT_IN, composite};
use crate::options::split_options;
use crate::timing::{TIMING_OPTIONS, TimingOptions};
use crate::{Check, CheckInput, CheckKind, CheckOptions, LocalProgram, Target};

/// The maximum length of a check's text in bytes; an HTTP check may have a long path.
const MAX_LENGTH: usize = 2048;
/// The text of [`CheckSpec::none`].
const NONE: &str = "none";

/// How an instance is checked: `tcp`, `http:/path`, `ttl:15s`, `none` and others, with options as in
/// `tcp#interval=5s&timeout=100ms`.
///
/// serde also reads it as a map, with the options as keys: `{check: tcp, interval: 5s, timeout: 100ms}`.
/// [`FromStr`] and serde know the built-in kinds only; [`CheckKinds::parse`] knows a program's own
/// kinds as well.
#[derive(Debug, Clone)]
pub struct CheckSpec {
    text: Box<str>,
    check: Option<Arc<dyn Check>>,
    timing: TimingOptions,
    program: Option<LocalProgram>,
}

/// The kinds of health check that can be parsed: the built-in ones, and a program's own.
#[derive(Debug, Clone)]
pub struct CheckKinds(Cow<'static, [CheckKind]>);

/// A text is not a health check. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCheck {
    /// No kind of check has this name.
    #[error("{} is not a health check; expected {expected}", quoted(.text))]
    UnknownKind {
        /// The text.
        text: String,
        /// The forms of all kinds.
        expected: String,
    },
    /// The kind exists, and the rest of the text is not valid for it.
    #[error("{} is not a valid health check: {reason}{}", quoted(.text), expected(.forms))]
    InvalidValue {
        /// The text.
        text: String,
        /// What is wrong with it, from the kind's parser.
        reason: String,
        /// The forms of the kind.
        forms: &'static [&'static str],
    },
    /// The text is too long.
    #[error("the health check has {length} bytes; expected at most {MAX_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

// === impl CheckSpec ===

impl CheckSpec {
    /// Creates a specification from a check of the program's own. The text is shown in logs and
    /// written by [`Display`](fmt::Display) and serde.
    pub fn new(text: impl Into<Box<str>>, check: impl Check + 'static) -> Self {
        Self { check: Some(Arc::new(check)), text: text.into(), ..Self::none() }
    }

    /// Creates a specification from a function of the program's own.
    ///
    /// ```
    /// # use portolan_health::CheckSpec;
    /// # use portolan_core::{HealthReport, HealthStatus};
    /// let check = CheckSpec::from_fn("queue", || async {
    ///     HealthReport::new(HealthStatus::Warning, "the queue is long")
    /// });
    /// ```
    pub fn from_fn<F, R>(text: impl Into<Box<str>>, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = HealthReport> + Send + 'static,
    {
        Self::new(text, Function(check))
    }

    /// Returns the specification of an instance that is not checked.
    pub fn none() -> Self {
        Self { text: NONE.into(), check: None, timing: TimingOptions::default(), program: None }
    }

    /// Returns whether there is nothing to check.
    pub fn is_none(&self) -> bool {
        self.check.is_none()
    }

    /// Returns the check as a URL for the `health_url` of an endpoint at this host and port; `None`
    /// if others cannot run this check.
    pub fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        let mut url = self.check.as_ref()?.health_url(host, port)?;
        if let (_, Some(options)) = split_options(&self.text) {
            url.push('#');
            url.push_str(options);
        }
        Some(url)
    }

    /// Returns whether the check connects to a port of the instance.
    pub fn connects(&self) -> bool {
        self.check.as_ref().is_some_and(|check| check.connects())
    }

    /// Sets the program of the instance, if it runs on this host. No check passes while a signal such as SIGSTOP has stopped it.
    pub fn of_program(self, program: LocalProgram) -> Self {
        Self { program: Some(program), ..self }
    }

    pub(crate) fn program(&self) -> Option<&LocalProgram> {
        self.program.as_ref()
    }

    pub(crate) fn timing(&self) -> &TimingOptions {
        &self.timing
    }

    pub(crate) fn check(&self) -> Option<&Arc<dyn Check>> {
        self.check.as_ref()
    }
}

impl FromStr for CheckSpec {
    type Err = InvalidCheck;

    fn from_str(text: &str) -> Result<Self, InvalidCheck> {
        CheckKinds::built_in().parse(text)
    }
}

impl Serialize for CheckSpec {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.text)
    }
}

impl From<CheckSpec> for String {
    fn from(spec: CheckSpec) -> String {
        spec.text.into_string()
    }
}

impl fmt::Display for CheckSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for CheckSpec {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CheckSpec {}

// === impl CheckKinds ===

impl CheckKinds {
    /// Returns the built-in kinds.
    pub const fn built_in() -> Self {
        Self(Cow::Borrowed(BUILT_IN))
    }

    /// Adds a kind. It replaces a built-in kind of the same name.
    pub fn with(mut self, kind: CheckKind) -> Self {
        let kinds = self.0.to_mut();
        kinds.retain(|known| known.name != kind.name);
        kinds.push(kind);
        self
    }

    /// Parses a check, such as `tcp` or `http:/health`.
    pub fn parse(&self, text: &str) -> Result<CheckSpec, InvalidCheck> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidCheck::TooLong { length: text.len() });
        }
        if text == NONE {
            return Ok(CheckSpec::none());
        }
        let (plain, options) = split_options(text);
        let (name, value) = split_kind(plain);
        let Some(kind) = self.0.iter().find(|kind| kind.name == name) else {
            return Err(InvalidCheck::UnknownKind { text: text.to_owned(), expected: self.help() });
        };
        match self.parse_kind(kind, value, options) {
            Ok((check, timing)) => {
                Ok(CheckSpec { text: text.into(), check: Some(check), timing, program: None })
            }
            Err(reason) => {
                Err(InvalidCheck::InvalidValue { text: text.to_owned(), reason, forms: kind.forms })
            }
        }
    }

    /// Parses the URL of a check that others have requested, such as the `health_url` of an endpoint. A check that only the
    /// process of the instance can run is refused.
    pub fn parse_url(&self, url: &str) -> Result<CheckSpec, InvalidCheck> {
        let kind = url.split_once("://").map(|(scheme, _)| scheme);
        let is_known =
            self.0.iter().any(|known| known.url_form.is_some() && Some(known.name) == kind);
        match is_known {
            true => self.parse(url),
            false => {
                Err(InvalidCheck::UnknownKind { text: url.to_owned(), expected: self.url_help() })
            }
        }
    }

    fn parse_kind(
        &self,
        kind: &CheckKind,
        value: Option<&str>,
        options: Option<&str>,
    ) -> Result<(Arc<dyn Check>, TimingOptions), String> {
        let mut options = options.map(CheckOptions::parse).transpose()?.unwrap_or_default();
        let timing = TimingOptions::parse(&mut options)?;
        let check = (kind.parse)(&mut CheckInput { value, options: &mut options, kinds: self })?;
        match options.unknown() {
            None => Ok((check, timing)),
            Some(name) => {
                let known = kind.options.iter().chain(TIMING_OPTIONS).copied().collect::<Vec<_>>();
                let (name, known) = (quoted(name), known.join(", "));
                Err(format!("{name} is not an option of this check, which has {known}"))
            }
        }
    }

    /// Parses a check that is a part of another one.
    pub(crate) fn parse_member(
        &self,
        text: &str,
        options: &mut CheckOptions,
    ) -> Result<Arc<dyn Check>, String> {
        let (name, value) = split_kind(text);
        let kind = self.0.iter().find(|kind| kind.name == name && !composite::is_composite(kind));
        let Some(kind) = kind else {
            return Err(format!(
                "{} is not a health check that can be a part of another",
                quoted(text)
            ));
        };
        (kind.parse)(&mut CheckInput { value, options, kinds: self })
    }

    /// Returns the forms of all kinds for a help text, as in `tcp, ttl:15s or none`.
    pub fn help(&self) -> String {
        let forms: Vec<&str> = self.0.iter().flat_map(|kind| kind.forms).copied().collect();
        format!("{} or {NONE}", forms.join(", "))
    }

    /// Returns the forms of the URLs that a `health_url` can have, as in `tcp://HOST:PORT`.
    pub fn url_help(&self) -> String {
        let forms: Vec<&str> = self.0.iter().filter_map(|kind| kind.url_form).collect();
        let (last, others) = forms.split_last().unwrap_or((&"", &[]));
        let separator = if others.is_empty() { "" } else { " or " };
        format!("{}{separator}{last}", others.join(", "))
    }
}

// === impl Function ===

/// A check that is a function.
struct Function<F>(F);

impl<F> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

impl<F, R> Check for Function<F>
where
    F: Fn() -> R + Send + Sync,
    R: Future<Output = HealthReport> + Send + 'static,
{
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, HealthReport> {
        Box::pin((self.0)())
    }
}

/// Splits a kind's name from what follows the colon.
fn split_kind(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    }
}

// === impl InvalidCheck ===

impl Remedy for InvalidCheck {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        None
    }
}

fn expected(forms: &[&str]) -> String {
    if forms.is_empty() { String::new() } else { format!("; expected {}", forms.join(" or ")) }
}

#[cfg(test)]
mod tests;
