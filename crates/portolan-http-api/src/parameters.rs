//! Query parameters: each is taken by name, and unknown ones are errors.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use portolan_core::suggest;

use crate::problem::{Problem, ProblemKind};

/// The maximum number of values in a comma-separated list.
const MAX_LIST: usize = 1_000;

/// The query parameters that are not taken yet, in their order.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_none() {
            return Ok(Self(Vec::new()));
        }
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(Problem::new(ProblemKind::BadParameter, error.body_text())
                .remedy("write the query as name=value&name=value")),
        }
    }
}

// === impl Parameters ===

impl Parameters {
    /// Takes a comma-separated list, which may be spread over several parameters.
    pub(crate) fn list<T>(&mut self, name: &str) -> Result<Vec<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        let given = self.take(name);
        let texts: Vec<_> = given.iter().flat_map(|text| text.split(',')).collect();
        if texts.len() > MAX_LIST {
            let detail = format!("{} values, the limit is {MAX_LIST}", texts.len());
            return Err(invalid(name, &detail));
        }
        texts.into_iter().map(|text| parse(name, text)).collect()
    }

    /// Takes an optional value.
    pub(crate) fn optional<T>(&mut self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        match self.take(name).as_slice() {
            [] => Ok(None),
            [text] => parse(name, text).map(Some),
            _ => Err(repeated(name)),
        }
    }

    /// Takes the metadata conditions `meta.KEY=value`, each key once.
    pub(crate) fn metadata(&mut self) -> Result<BTreeMap<String, String>, Problem> {
        const PREFIX: &str = "meta.";
        let mut metadata = BTreeMap::new();
        for (name, value) in self.0.extract_if(.., |(name, _)| name.starts_with(PREFIX)) {
            let key = name[PREFIX.len()..].to_owned();
            if key.is_empty() {
                return Err(invalid(&name, &"the metadata key is empty, expected meta.KEY=value"));
            }
            if metadata.insert(key, value).is_some() {
                return Err(repeated(&name));
            }
        }
        Ok(metadata)
    }

    /// Rejects parameters that were not taken: a misspelt condition must not match everything.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let name: String = name.chars().take(100).collect();
        let detail = format!("unknown parameter, expected one of {}", known.join(", "));
        let problem = invalid(&name, &detail);
        let suggestion = suggest(&name, known.iter().copied()).map(|known| format!("use {known}"));
        Err(suggestion.into_iter().fold(problem, Problem::remedy))
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }
}

fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.trim().parse().map_err(|error| invalid(name, &error))
}

/// An invalid parameter, and why.
pub(crate) fn invalid(name: &str, detail: &dyn Display) -> Problem {
    Problem::new(ProblemKind::BadParameter, format!("{name}: {detail}")).param(name)
}

fn repeated(name: &str) -> Problem {
    invalid(name, &"given more than once").remedy("give it once")
}
