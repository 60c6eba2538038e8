//! Pages of a list: the parameters `limit` and `after`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceId, ServiceName, quoted};
use serde::{Serialize, Serializer};

use crate::parameters::Parameters;
use crate::problem::Problem;

/// Which part of a list is requested.
#[derive(Debug)]
pub(crate) struct Page {
    limit: Option<std::num::NonZeroUsize>,
    after: Option<Cursor>,
}

/// The last instance of a page, `NAME/ID`: lists are ordered by both. It need not be registered any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    name: ServiceName,
    id: ServiceId,
}

// === impl Page ===

impl Page {
    pub(crate) fn take(parameters: &mut Parameters) -> Result<Self, Problem> {
        Ok(Self { limit: parameters.optional("limit")?, after: parameters.optional("after")? })
    }

    /// Returns the page of an ordered list, and its end if more follows.
    pub(crate) fn of(
        &self,
        mut list: Vec<Arc<ServiceEndpoint>>,
    ) -> (Vec<Arc<ServiceEndpoint>>, Option<Cursor>) {
        if let Some(after) = &self.after {
            let begin =
                list.partition_point(|one| (&one.name, &one.id) <= (&after.name, &after.id));
            list.drain(..begin);
        }
        let limit = self.limit.map_or(usize::MAX, std::num::NonZeroUsize::get);
        let more = list.len() > limit;
        list.truncate(limit);
        list.shrink_to_fit();
        let last = list.last().filter(|_| more);
        let next = last.map(|last| Cursor { name: last.name.clone(), id: last.id.clone() });
        (list, next)
    }
}

// === impl Cursor ===

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cursor = text
            .split_once('/')
            .and_then(|(name, id)| Some(Self { name: name.parse().ok()?, id: id.parse().ok()? }));
        cursor.ok_or_else(|| {
            format!("{} is not the end of a page, expected the member next of one", quoted(text))
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.id)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}
