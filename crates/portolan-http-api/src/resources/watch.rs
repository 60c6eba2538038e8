//! `/api/v1/watch`: what happens, as it happens, as a `text/event-stream`.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderName};
use portolan_core::{Revision, ServiceEvent};
use portolan_registry::WatchQuery;

use crate::Api;
use crate::connection::Caller;
use crate::parameters::Parameters;
use crate::problem::{Kind, Problem};

/// How often a quiet stream says that it is still there: often enough for whatever stands between
/// not to take the connection for idle, and for a client to notice within seconds that it is not.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Where a client that comes back says what it saw last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /api/v1/watch`: a snapshot and then every change, or every change after a revision. Ends
/// when the registry does, and when the server shuts down.
pub(crate) async fn stream(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let query = query(parameters, &headers)?;
    let events = api
        .registry()
        .watch(query)
        .map(|event| Ok::<_, Infallible>(told(&event)))
        .take_until(caller.closing.cancelled_owned());
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Some proxies would else collect events until they have a page of them.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

fn told(event: &ServiceEvent) -> Event {
    let told = Event::default().event(event.change.kind()).id(event.revision.to_string());
    told.json_data(event).unwrap_or_else(|error| {
        tracing::error!(%error, "An event could not be written as JSON");
        Event::default().comment("an event could not be written")
    })
}

fn query(mut parameters: Parameters, headers: &HeaderMap) -> Result<WatchQuery, Problem> {
    let names = parameters.list("name")?;
    let scopes = parameters.list("scope")?;
    let asked = parameters.one("revision")?.map(Revision);
    parameters.finish(&["name", "scope", "revision"])?;
    // A client that comes back repeats its first address, so what it saw last counts for more.
    let from = last_seen(headers)?.or(asked);
    Ok(WatchQuery { names, scopes, from })
}

fn last_seen(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let bad = |error: &dyn Display| {
        let detail = format!("Last-Event-ID: {error}; send the id of the last event, or nothing");
        Problem::new(Kind::BadParameter, detail).param("Last-Event-ID")
    };
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else { return Ok(None) };
    let id = id.to_str().map_err(|error| bad(&error))?;
    id.parse().map(|revision| Some(Revision(revision))).map_err(|error| bad(&error))
}
