//! A discovery with everything that led to its result.

use std::fmt;

use portolan_core::ServiceName;

use crate::attempt::Attempt;
use crate::{DiscoverError, Discovered};

/// What each strategy answered, and what came of it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The service, where the name is one.
    pub name: Option<ServiceName>,
    /// Every strategy, in order, those whose turn did not come included.
    pub attempts: Vec<Attempt>,
    /// What came of it.
    pub result: Result<Discovered, DiscoverError>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Err(error) => error.fmt(f),
            Ok(discovered) => {
                let (name, strategy) = (&discovered.name, discovered.strategy);
                write!(f, "{name} is at {} ({strategy})", discovered.address())?;
                self.attempts.iter().try_for_each(|attempt| write!(f, "\n  {attempt}"))
            }
        }
    }
}
