//! API dialects: routes with their own error format, side by side on one listener.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, RETRY_AFTER};
use http::request::Parts;
use http::{Extensions, HeaderValue, Method, StatusCode, Uri};
use tower::service_fn;

use crate::middleware::{Responder, Routes};
use crate::{Authenticator, ConnectionInfo, HttpLimits, PreparedAnswers, RequestError, prepared};

/// The error responses of a dialect, in its own format.
///
/// [`RequestError::status`] is the status that HTTP suggests, and [`RequestError`]'s text is the
/// default wording; a dialect may choose others. A function of that signature is an implementation.
pub trait ErrorResponses: Send + Sync + 'static {
    /// Returns the response for this error.
    fn response(&self, error: &RequestError) -> Response;
}

impl<F: Fn(&RequestError) -> Response + Send + Sync + 'static> ErrorResponses for F {
    fn response(&self, error: &RequestError) -> Response {
        self(error)
    }
}

/// One API: routes, error responses and authentication. Cheap to clone.
#[derive(Clone)]
pub struct Dialect {
    prefix: &'static str,
    router: Router,
    errors: Errors,
    authenticator: Authenticator,
    prepared: Option<Arc<dyn PreparedAnswers>>,
}

// === impl Dialect ===

impl Dialect {
    /// Creates a dialect that answers every path that no other dialect's prefix matches.
    ///
    /// Its router must not have fallbacks: `errors` answers unknown paths and methods.
    pub fn new(router: Router, errors: impl ErrorResponses) -> Self {
        let errors = Errors(Arc::new(errors));
        let authenticator = Authenticator::new(None);
        Self { prefix: "", router, errors, authenticator, prepared: None }
    }

    /// Restricts the dialect to the paths below this prefix, such as `/v1`. The routes of its
    /// router contain the prefix.
    pub fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix.trim_end_matches('/');
        self
    }

    /// Sets how requests are authenticated. Default: everyone is [`Unrestricted`].
    ///
    /// [`Unrestricted`]: crate::Principal::Unrestricted
    pub fn authenticator(mut self, authenticator: Authenticator) -> Self {
        self.authenticator = authenticator;
        self
    }

    /// Sets what answers some requests before the router. Default: nothing.
    pub fn prepared(mut self, answers: impl PreparedAnswers) -> Self {
        self.prepared = Some(Arc::new(answers));
        self
    }

    pub(crate) fn prepared_answers(&self) -> Option<&dyn PreparedAnswers> {
        self.prepared.as_deref()
    }

    pub(crate) fn authenticated_by(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Builds the router with everything around it, as [`serve`](crate::serve) does. For tests
    /// without a listener: requests must have a [`ConnectionInfo`](crate::ConnectionInfo) as
    /// extension.
    pub fn into_router(self, limits: &HttpLimits) -> Router {
        let responder = Arc::new(self.responder(limits, None));
        Router::new().fallback_service(service_fn(move |request| {
            let responder = Arc::clone(&responder);
            async move { Ok::<_, Infallible>(responder.respond(request).await) }
        }))
    }

    /// What answers the requests of the dialect: its router with everything around it, or this error.
    fn responder(&self, limits: &HttpLimits, error: Option<RequestError>) -> Responder {
        let router = || {
            self.router.clone().fallback(not_found).method_not_allowed_fallback(method_not_allowed)
        };
        let routes = match error {
            None => Routes::Open(router(), self.authenticator.clone()),
            Some(error) => Routes::Rejecting(error),
        };
        Responder { routes, errors: self.errors.clone(), limit: limits.request }
    }

    fn matches(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialect").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Selects the dialect of each request.
#[derive(Clone)]
pub(crate) struct Dispatch(Arc<[(Dialect, Responder)]>);

// === impl Dispatch ===

impl Dispatch {
    pub(crate) fn new(dialects: &[Dialect], limits: &HttpLimits) -> Self {
        Self::with(dialects, |dialect| dialect.responder(limits, None))
    }

    /// Answers every request with this error, worded by its dialect.
    pub(crate) fn rejecting(
        dialects: &[Dialect],
        limits: &HttpLimits,
        error: &RequestError,
    ) -> Self {
        let dialects: Vec<_> =
            dialects.iter().map(|it| Dialect { prepared: None, ..it.clone() }).collect();
        Self::with(&dialects, |dialect| dialect.responder(limits, Some(error.clone())))
    }

    fn with(dialects: &[Dialect], responder: impl Fn(&Dialect) -> Responder) -> Self {
        let mut dialects = dialects.to_vec();
        // Stable: of two dialects with the same prefix, the first one answers.
        dialects.sort_by_key(|dialect| std::cmp::Reverse(dialect.prefix.len()));
        let with_responder = |dialect: Dialect| {
            let responder = responder(&dialect);
            (dialect, responder)
        };
        Self(dialects.into_iter().map(with_responder).collect())
    }

    /// Answers the request by the dialect of its path.
    pub(crate) async fn respond(&self, request: Request) -> Response {
        match self.find(request.uri().path()) {
            Some((_, responder)) => responder.respond(request).await,
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Answers the request, if its dialect has a prepared answer.
    pub(crate) fn prepared(
        &self,
        request: &Parts,
        connection: &ConnectionInfo,
    ) -> Option<Response> {
        let (dialect, _) = self.find(request.uri.path())?;
        prepared::answer(dialect, request, connection)
    }

    fn find(&self, path: &str) -> Option<&(Dialect, Responder)> {
        self.0.iter().find(|(dialect, _)| dialect.matches(path))
    }
}

/// The error responses of the dialect that answers a request, as an extension of the request.
#[derive(Clone)]
pub(crate) struct Errors(Arc<dyn ErrorResponses>);

// === impl Errors ===

impl Errors {
    pub(crate) fn from_extensions(extensions: &Extensions) -> &Self {
        extensions.get().expect("every request of a dialect has its error responses")
    }

    /// Returns the dialect's response with the headers that HTTP asks for.
    pub(crate) fn response(&self, error: &RequestError) -> Response {
        let mut response = self.0.response(error);
        if let Some(rejected) = error.rejected() {
            response.extensions_mut().insert(rejected);
        }
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            let retry_after = response.headers_mut().entry(RETRY_AFTER);
            retry_after.or_insert(HeaderValue::from_static("1"));
        }
        if let RequestError::TooMany { retry_after, .. } = error {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*retry_after));
        }
        if error.ends_connection() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

async fn not_found(Extension(errors): Extension<Errors>, uri: Uri) -> Response {
    let path = uri.path().chars().take(200).collect();
    errors.response(&RequestError::NotFound { path })
}

async fn method_not_allowed(
    Extension(errors): Extension<Errors>,
    route: MatchedPath,
    method: Method,
) -> Response {
    let route = route.as_str().to_owned();
    errors.response(&RequestError::MethodNotAllowed { method, route })
}
