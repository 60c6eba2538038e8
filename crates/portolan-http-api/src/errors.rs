//! The HTTP server's errors and the registry's errors as problem documents.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use portolan_core::{Remedy, suggest};
use portolan_http::RequestError;
use portolan_registry::RegistryError;

use crate::problem::{Problem, ProblemKind};
use crate::routes::ROUTES;

/// The error responses of this dialect.
pub(crate) fn response(error: &RequestError) -> Response {
    let mut response = Problem::from(error).into_response();
    let header = match error {
        RequestError::Unauthorized => Some((WWW_AUTHENTICATE, r#"Bearer realm="portolan""#)),
        RequestError::MethodNotAllowed { route, .. } => Some((ALLOW, methods(route))),
        _ => None,
    };
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl From<&RequestError> for Problem {
    fn from(error: &RequestError) -> Self {
        use RequestError as E;
        let problem = |kind| described(kind, error);
        let document = match error {
            E::Unauthorized => Self::new(ProblemKind::Unauthorized, error.to_string())
                .remedy("send 'Authorization: Bearer TOKEN', or set PORTOLAN_TOKEN"),
            E::Forbidden => Self::new(ProblemKind::Forbidden, error.to_string())
                .remedy("set PORTOLAN_TOKEN to a token of this registry"),
            E::TokenExpired { .. } => Self::new(ProblemKind::ExpiredToken, error.to_string())
                .remedy("set PORTOLAN_TOKEN to a new one, from `portolan token create`"),
            E::PoliciesLoading => problem(ProblemKind::Unavailable),
            E::Denied(_) => problem(ProblemKind::MissingRight),
            E::InvalidHost { .. } => problem(ProblemKind::InvalidHost),
            E::Misdirected { .. } => Self::new(ProblemKind::Misdirected, error.to_string()).remedy(
                "use the address of the registry or localhost, or add the name to service_registry.allowed_hosts",
            ),
            E::ForeignOrigin { .. } => Self::new(ProblemKind::ForeignOrigin, error.to_string()).remedy(
                "use a program such as portolan or curl; behind a reverse proxy, add the name of its site to \
                 service_registry.allowed_hosts",
            ),
            E::NotFound { path } => not_found(error, path),
            E::MethodNotAllowed { route, .. } => {
                Self::new(ProblemKind::MethodNotAllowed, error.to_string())
                    .remedy(format!("use {}", methods(route)))
            }
            E::BodyTooLarge { .. } => problem(ProblemKind::BodyTooLarge),
            E::BodyTimeout { .. } => problem(ProblemKind::BodyTooSlow),
            E::BodyIncomplete { .. } => problem(ProblemKind::BodyCutShort),
            E::Panicked => problem(ProblemKind::Internal),
            E::Timeout { .. } => problem(ProblemKind::TooSlow),
            E::TooMany { what, .. } if what.is_of_identity() => {
                Self::new(ProblemKind::TooMany, error.to_string())
                    .remedy("send less, or raise the limits of the identity in the policies")
            }
            E::TooMany { .. } => Self::new(ProblemKind::TooMany, error.to_string())
                .remedy("send less, or raise service_registry.clients of the registry"),
            E::NoMemory => problem(ProblemKind::NoMemory),
            E::Overloaded { .. } | E::TooManyStreams { .. } => {
                problem(ProblemKind::TooManyConnections)
            }
        };
        document.rejected(error.rejected())
    }
}

fn not_found(error: &RequestError, path: &str) -> Problem {
    let routes: Vec<_> = ROUTES.iter().map(|route| fill(route.path, path)).collect();
    let remedy = match suggest(path, routes.iter().map(String::as_str)) {
        Some(route) => format!("use {route}, or see /openapi.json for all routes"),
        None => "see /openapi.json for all routes".to_owned(),
    };
    Problem::new(ProblemKind::NoSuchRoute, error.to_string()).remedy(remedy)
}

/// Replaces the placeholders of a route by the segments of the path, so that an id has no influence
/// on which route is nearest.
fn fill(route: &str, path: &str) -> String {
    let mut given = path.split('/');
    let segments = route.split('/').map(|segment| match (segment.starts_with('{'), given.next()) {
        (true, Some(given)) if !given.is_empty() => given,
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Returns the methods of a route, as the `Allow` header lists them.
fn methods(route: &str) -> &'static str {
    ROUTES.iter().find(|known| known.path == route).map_or("", |known| known.methods)
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::from(&error)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        use RegistryError as E;
        let kind = match error {
            E::Unknown { .. } => ProblemKind::UnknownInstance,
            E::Denied(_) => ProblemKind::MissingRight,
            E::Invalid(_) | E::RemoteLoopback { .. } => ProblemKind::BadMember,
            E::RegisteredByApi { .. } => ProblemKind::RegisteredByApi,
            E::RegisteredInConsul { .. } => ProblemKind::RegisteredInConsul,
            E::AnotherIncarnation { .. } | E::AnotherSession { .. } | E::Displaced { .. } => {
                ProblemKind::AnotherIncarnation
            }
            E::OwnedByAnother { .. } => ProblemKind::OwnedByAnother,
            E::Full { .. } | E::BroadcastFull { .. } => ProblemKind::Full,
            E::ClientFull { .. } | E::IdentityFull { .. } => ProblemKind::TooMany,
            // Busy, unavailable, closed, and whatever is added later: not a fault of the request.
            _ => ProblemKind::Unavailable,
        };
        let problem = described(kind, &error);
        match error {
            E::Unknown { .. } => problem.param("id"),
            E::RemoteLoopback { member, .. } => problem.pointer(format!("/{member}")),
            E::AnotherIncarnation { .. } | E::Displaced { .. } => problem.param("incarnation"),
            E::OwnedByAnother { .. } | E::RegisteredInConsul { .. } => problem.param("id"),
            _ => problem,
        }
    }
}

/// Returns a problem with the text and the remedy of an error.
pub(crate) fn described(kind: ProblemKind, error: &impl Remedy) -> Problem {
    let problem = Problem::new(kind, error.to_string());
    error.remedy().into_iter().fold(problem, Problem::remedy)
}
