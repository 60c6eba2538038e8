//! The names of strategies, as configuration, flags and metric labels write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use portolan_core::{Remedy, suggest};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::strategies::{STRATEGIES, kubernetes};
use crate::strategy::StrategyKind;

/// The name of a strategy. Parsing accepts the names of the built-in strategies.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StrategyName(&'static str);

/// A text that names no strategy. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown strategy {given:?}; expected one of {}", known.join(", "))]
pub struct UnknownStrategy {
    given: String,
    known: Vec<&'static str>,
}

// === impl StrategyName ===

impl StrategyName {
    /// Returns the strategies of a client whose settings name none: all but `kubernetes`, which is one of them in a pod.
    pub fn by_default() -> impl Iterator<Item = Self> {
        let kubernetes = kubernetes::STRATEGY.kind.name;
        let is_in_pod = kubernetes::is_in_pod();
        Self::all().filter(move |name| is_in_pod || name.0 != kubernetes)
    }

    /// Returns the built-in strategies, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        STRATEGIES.into_iter().map(|strategy| Self(strategy.kind.name))
    }

    /// Returns the name as it is written.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Returns the names of the built-in strategies, separated by commas, for a help text.
    pub fn list() -> String {
        Self::all().map(Self::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Finds the name in a list of names.
    pub(crate) fn find(
        given: &str,
        known: impl Iterator<Item = Self>,
    ) -> Result<Self, UnknownStrategy> {
        let known: Vec<Self> = known.collect();
        known.iter().copied().find(|name| name.0 == given).ok_or_else(|| UnknownStrategy {
            given: given.chars().take(40).collect(),
            known: known.into_iter().map(Self::as_str).collect(),
        })
    }
}

impl From<&StrategyKind> for StrategyName {
    fn from(kind: &StrategyKind) -> Self {
        Self(kind.name)
    }
}

impl FromStr for StrategyName {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        Self::find(text, Self::all())
    }
}

impl Serialize for StrategyName {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for StrategyName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map_err(|error: UnknownStrategy| D::Error::custom(error.with_remedy()))
    }
}

impl AsRef<str> for StrategyName {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

// === impl UnknownStrategy ===

impl Remedy for UnknownStrategy {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let nearest = suggest(&self.given, self.known.iter().copied())?;
        Some(format!("did you mean `{nearest}`?").into())
    }
}
