//! `/api/v1/watch`: changes as server-sent events (`text/event-stream`, HTML Living Standard 9.2).

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderName};
use portolan_core::{Revision, ServiceEvent, Vantage, quoted};
use portolan_http::ConnectionInfo;
use portolan_registry::WatchQuery;

use crate::Api;
use crate::parameters::{self, Parameters};
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::currency::Currency;
use crate::resources::services::mark_incomplete;

/// The interval of keep-alive comments: shorter than the idle timeouts of proxies, and a client
/// notices a dead connection within seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The id of the last event that a reconnecting client has received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET`: a snapshot and every change after it, or every change after a revision. The stream ends
/// when the registry or the server shuts down.
pub(crate) async fn stream(
    State(api): State<Api>,
    Extension(connection): Extension<ConnectionInfo>,
    requester: Requester,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let query = query(parameters, &headers)?;
    let vantage = requester.vantage();
    let incomplete = api.registry().is_incomplete();
    let currency = Currency::of(&api);
    let events = api
        .registry()
        .watch(query)
        .filter_map(move |event| ready(seen(&event, vantage)))
        .map(|event| Ok::<_, Infallible>(encode(&event)))
        .take_until(connection.shutdown().clone().cancelled_owned());
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Without it nginx buffers events until it has a page of them.
    let mut response = ([("x-accel-buffering", "no")], stream).into_response();
    mark_incomplete(&mut response, incomplete);
    currency.mark(&mut response);
    Ok(response)
}

/// Returns the event as the caller sees it; `None` if it concerns an instance out of its reach.
fn seen(event: &Arc<ServiceEvent>, vantage: Vantage) -> Option<Arc<ServiceEvent>> {
    if vantage == Vantage::SameHost {
        return Some(Arc::clone(event));
    }
    let change = event.change.clone().seen_from(vantage)?;
    Some(Arc::new(ServiceEvent { revision: event.revision, change }))
}

fn encode(event: &ServiceEvent) -> Event {
    let encoded = Event::default().event(event.change.kind()).id(event.revision.to_string());
    encoded.json_data(event).unwrap_or_else(|error| {
        tracing::error!(%error, "Event could not be serialised");
        Event::default().comment("an event could not be serialised")
    })
}

fn query(mut parameters: Parameters, headers: &HeaderMap) -> Result<WatchQuery, Problem> {
    let names = parameters.list("name")?;
    let scopes = parameters.list("scope")?;
    let since = parameters.optional::<String>("revision")?;
    let since = since.map(|text| revision("revision", &text)).transpose()?;
    parameters.finish(&["name", "scope", "revision"])?;
    // A reconnecting EventSource repeats its first URL, so Last-Event-ID is the newer of the two.
    let from = last_event_id(headers)?.or(since);
    Ok(WatchQuery { names, scopes, from })
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else { return Ok(None) };
    let revision = revision("Last-Event-ID", &String::from_utf8_lossy(id.as_bytes()));
    revision.map(Some).map_err(|problem| problem.remedy("send the id of the last event received"))
}

fn revision(parameter: &str, text: &str) -> Result<Revision, Problem> {
    text.trim().parse().map(Revision).map_err(|_| {
        let detail = format!("{} is not a revision, expected a whole number", quoted(text));
        parameters::invalid(parameter, &detail)
    })
}
