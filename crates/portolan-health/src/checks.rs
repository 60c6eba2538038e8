//! The built-in kinds of health check. A new one is a file here and a row in [`BUILT_IN`].

mod http;
mod tcp;
mod ttl;

use crate::CheckKind;

/// The built-in kinds, in the order in which help and errors list them.
pub(crate) const BUILT_IN: &[CheckKind] = &[tcp::KIND, http::KIND, http::HTTPS, ttl::KIND];
