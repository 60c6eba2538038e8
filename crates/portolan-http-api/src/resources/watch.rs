//! `/api/v1/watch`: changes as server-sent events (`text/event-stream`, HTML Living Standard 9.2).

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use http::header::{HeaderMap, HeaderName};
use portolan_core::{Revision, ServiceEvent, Vantage, quoted};
use portolan_http::ConnectionInfo;
use portolan_registry::{EventStream, WatchQuery};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

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

/// What a watch sends.
enum Message {
    Event(Arc<ServiceEvent>),
    /// Nothing that is watched has changed up to this revision, so that the watch can resume from it.
    Bookmark(Revision),
}

/// A watch with bookmarks at an interval: without them, the revision of the last change of a quiet service would
/// fall out of the history.
struct Bookmarked {
    events: EventStream,
    ticks: Interval,
}

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
    let events = Bookmarked::new(api.registry().watch(query), api.bookmark_interval())
        .filter_map(move |message| ready(message.seen(vantage)))
        .map(|message| Ok::<_, Infallible>(message.encode()))
        .take_until(connection.shutdown().clone().cancelled_owned());
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Without it nginx buffers events until it has a page of them.
    let mut response = ([("x-accel-buffering", "no")], stream).into_response();
    mark_incomplete(&mut response, incomplete);
    currency.mark(&mut response);
    Ok(response)
}

// === impl Message ===

impl Message {
    /// Returns the message as the caller sees it; `None` if it concerns an instance out of its reach.
    fn seen(self, vantage: Vantage) -> Option<Self> {
        match self {
            Self::Event(event) if vantage != Vantage::SameHost => {
                let change = event.change.clone().seen_from(vantage)?;
                Some(Self::Event(Arc::new(ServiceEvent { revision: event.revision, change })))
            }
            message => Some(message),
        }
    }

    /// Encodes the message. The id is what a client sends to resume, as `Last-Event-ID`; a browser without a listener for
    /// bookmarks takes it too (HTML Living Standard, 9.2.6).
    fn encode(&self) -> Event {
        let (kind, revision, json) = match self {
            Self::Event(event) => {
                (event.change.kind(), event.revision, serde_json::to_string(event))
            }
            Self::Bookmark(revision) => {
                let bookmark = json!({"revision": revision, "type": "bookmark"});
                ("bookmark", *revision, Ok(bookmark.to_string()))
            }
        };
        match json {
            Ok(json) => Event::default().event(kind).id(revision.to_string()).data(json),
            Err(error) => {
                tracing::error!(%error, "Event could not be serialised");
                Event::default().comment("an event could not be serialised")
            }
        }
    }
}

// === impl Bookmarked ===

impl Bookmarked {
    fn new(events: EventStream, every: Duration) -> Self {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { events, ticks }
    }
}

impl Stream for Bookmarked {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let Self { events, ticks } = self.get_mut();
        loop {
            if let Poll::Ready(event) = events.poll_next_unpin(context) {
                return Poll::Ready(event.map(Message::Event));
            }
            std::task::ready!(ticks.poll_tick(context));
            if let Some(revision) = events.bookmark() {
                return Poll::Ready(Some(Message::Bookmark(revision)));
            }
        }
    }
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
