//! Requests that are answered from prepared bytes, without the router and its layers.
//!
//! A lookup whose answer is known costs less than the middleware around it. So a dialect may answer it directly, if nothing about the
//! request needs the middleware: it has no body, did not come through a proxy, names this server, and its client may do everything.

use axum::response::Response;
use http::Method;
use http::request::Parts;
use jiff::Timestamp;

use crate::dialect::Dialect;
use crate::middleware::{log_prepared, protect};
use crate::{Caller, ConnectionInfo};

/// The prepared answers of a dialect.
pub trait PreparedAnswers: Send + Sync + 'static {
    /// Whether there may be an answer to the request. Called for every `GET`, before its client is authenticated.
    fn may_answer(&self, request: &Parts) -> bool;

    /// Returns the answer to a request that [may have one](Self::may_answer), of a client that may read everything. It has to be
    /// equal to the response of the dialect's router.
    fn answer(&self, request: &Parts, connection: &ConnectionInfo) -> Option<Response>;
}

/// Answers the request, if nothing about it needs the router. What is refused here is refused again by the router, which explains it.
pub(crate) fn answer(
    dialect: &Dialect,
    request: &Parts,
    connection: &ConnectionInfo,
) -> Option<Response> {
    let prepared = dialect.prepared_answers()?;
    let is_candidate = request.method == Method::GET && prepared.may_answer(request);
    if !is_candidate || Caller::is_forwarded(&request.headers) {
        return None;
    }
    let (state, peer) = (connection.state(), connection.peer());
    state.check_host(request, peer).ok()?;
    if !may_do_everything(dialect, request, connection) {
        return None;
    }
    let mut response = prepared.answer(request, connection)?;
    // Last, so that the router does not count the request again.
    state.clients().request(connection.client()).ok()?;
    protect(&mut response);
    log_prepared(peer, request, &response);
    Some(response)
}

fn may_do_everything(dialect: &Dialect, request: &Parts, connection: &ConnectionInfo) -> bool {
    let authenticator = dialect.authenticated_by();
    let access = authenticator.access.borrow();
    if access.is_open() {
        return true;
    }
    let evidence = authenticator.evidence(request, Some(connection));
    let is_guesser = || {
        let clients = connection.state().clients();
        clients.check_guesses(connection.client(), || connection.user()).is_err()
    };
    if evidence.token.is_some() && is_guesser() {
        return false;
    }
    let principal = access.identify(&evidence, Timestamp::now());
    principal.grants().is_none() && principal.authorize().is_ok()
}
