//! The parameters of a query: each taken by name, and none left over.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use crate::nearest;
use crate::problem::{Kind, Problem};

/// How many values a comma list may have.
const LIST: usize = 1_000;

/// What stands behind the `?`, in its order.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(Problem::new(
                Kind::BadParameter,
                format!("{}; write it as name=value&name=value", error.body_text()),
            )),
        }
    }
}

// === impl Parameters ===

impl Parameters {
    /// The values of a comma list, which may also be given in several parameters.
    pub(crate) fn list<T>(&mut self, name: &str) -> Result<Vec<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        let given = self.take(name);
        let texts: Vec<_> = given.iter().flat_map(|text| text.split(',')).collect();
        if texts.len() > LIST {
            let detail = format!("{} values are too many; the limit is {LIST}", texts.len());
            return Err(bad(name, &detail));
        }
        texts.into_iter().map(|text| parse(name, text)).collect()
    }

    /// The value, where there is one.
    pub(crate) fn one<T>(&mut self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        match self.take(name).as_slice() {
            [] => Ok(None),
            [text] => parse(name, text).map(Some),
            _ => Err(bad(name, &"given more than once; give it once")),
        }
    }

    /// The metadata that is asked for as `meta.KEY=value`, each key once.
    pub(crate) fn metadata(&mut self) -> Result<BTreeMap<String, String>, Problem> {
        const PREFIX: &str = "meta.";
        let mut metadata = BTreeMap::new();
        for (name, value) in self.0.extract_if(.., |(name, _)| name.starts_with(PREFIX)) {
            let key = name[PREFIX.len()..].to_owned();
            if key.is_empty() {
                return Err(bad(&name, &"it names no metadata key; write it as meta.KEY=value"));
            }
            if metadata.insert(key, value).is_some() {
                return Err(bad(&name, &"given more than once; give it once"));
            }
        }
        Ok(metadata)
    }

    /// Refuses what nobody took: a misspelt condition would find too much.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let shown: String = name.chars().take(100).collect();
        let nearest = nearest::of(&shown, known.iter().copied()).unwrap_or_default();
        let detail = format!(
            "there is no such parameter; did you mean {nearest}? There are {}",
            known.join(", ")
        );
        Err(bad(&shown, &detail))
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }
}

fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.trim().parse().map_err(|error| bad(name, &error))
}

/// A parameter that cannot be used, and why.
pub(crate) fn bad(name: &str, detail: &dyn Display) -> Problem {
    Problem::new(Kind::BadParameter, format!("{name}: {detail}")).param(name)
}
