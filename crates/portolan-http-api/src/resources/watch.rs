//! `/api/v1/watch`: changes as server-sent events (`text/event-stream`, HTML Living Standard 9.2).

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{BoxStream, iter};
use futures_util::{FutureExt, Stream, StreamExt};
use http::header::{HeaderMap, HeaderName};
use http::request::Parts;
use portolan_access::Right;
use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, Vantage, quoted};
use portolan_http::{ConnectionInfo, RequestError, Standing, StreamPermit};
use portolan_registry::{EventStream, WatchQuery};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::Api;
use crate::encoded_events::EncodedEvents;
use crate::parameters::{self, Parameters};
use crate::pieces::{self, Pieces, ReadTooSlow};
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::currency::Currency;
use crate::resources::services::mark_incomplete;
use crate::turns::Turns;

/// The interval of keep-alive comments: shorter than the idle timeouts of proxies, and a client
/// notices a dead connection within seconds.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The id of the last event that a reconnecting client has received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a watch sends.
enum Message {
    Event(Arc<ServiceEvent>),
    /// Nothing that is watched has changed up to this revision, so that the watch can resume from it.
    Bookmark(Revision),
}

/// The client of a watch.
struct Watcher {
    requester: Requester,
    connection: ConnectionInfo,
    encoded: EncodedEvents,
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
    ClientStanding(standing): ClientStanding,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let mut query = query(parameters, &headers)?;
    requester.check(|grants| grants.check_any(Right::Watch, &query.scopes, &query.names))?;
    // What it has seen before lacks what it may see now.
    if requester.identity().is_some_and(|(_, since)| query.from.is_some_and(|from| from < since)) {
        query.from = None;
    }
    let incomplete = api.registry().is_incomplete();
    let currency = Currency::of(&api);
    let permit = connection.open_stream()?;
    let shutdown = connection.shutdown().clone().cancelled_owned();
    let mut messages = Bookmarked::new(api.registry().watch(query), api.bookmark_interval());
    // The snapshot is there at once, if there is one. Without memory for it, the client is told to come later.
    let first = messages.next().now_or_never().flatten();
    let watcher = Watcher { requester, connection, encoded: api.encoded_events().clone() };
    let first = first.map(|message| watcher.encode(message)).transpose()?;
    let turns = api.turns().clone();
    let rest = messages.map(move |message| watcher.encode(message));
    let pieces = iter(first)
        .map(Ok)
        .chain(rest)
        // A later snapshot for which there is no memory ends the stream, and the client resumes.
        .take_while(|encoded| std::future::ready(encoded.is_ok()))
        .filter_map(|encoded| std::future::ready(encoded.ok()))
        .flat_map(move |encoded| encoded.in_turns(&turns))
        .take_until(shutdown)
        // The client tries again with what it has then.
        .take_until(changed(standing));
    let body = Body::from_stream(EventBody::new(pieces.boxed(), permit));
    let mut response = event_stream(body);
    mark_incomplete(&mut response, incomplete);
    currency.mark(&mut response);
    Ok(response)
}

/// A response of server-sent events.
pub(crate) fn event_stream(body: Body) -> Response {
    // Without the second header, nginx buffers events until it has a page of them.
    let headers = [("content-type", "text/event-stream"), ("x-accel-buffering", "no")];
    (headers, body).into_response()
}

/// An extractor of the standing of the client, if it needs credentials.
pub(crate) struct ClientStanding(pub(crate) Option<Standing>);

impl FromRequestParts<Api> for ClientStanding {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        Ok(Self(api.standing(parts)))
    }
}

/// Waits until the client has lost its credentials, or has other rights.
pub(crate) async fn changed(standing: Option<Standing>) {
    match standing {
        Some(standing) => standing.changed().await,
        None => pending().await,
    }
}

// === impl Watcher ===

impl Watcher {
    /// Encodes the message as the caller sees it; nothing if it concerns an instance out of its reach. The id is what a client
    /// sends to resume, as `Last-Event-ID`; a browser without a listener for bookmarks takes it too (HTML Living Standard,
    /// 9.2.6).
    fn encode(&self, message: Message) -> Result<Encoded, RequestError> {
        let vantage = self.requester.vantage();
        let may_watch =
            |one: &ServiceEndpoint| self.requester.may(Right::Watch, &one.scope, &one.name);
        let event = match message {
            Message::Bookmark(revision) => {
                let bookmark = json!({"revision": revision, "type": "bookmark"});
                let text = self::event("bookmark", revision, &bookmark.to_string());
                return Ok(Encoded::one(text.into()));
            }
            Message::Event(event) => event,
        };
        let ServiceEvent { revision, ref change } = *event;
        if let Change::Snapshot { endpoints, incomplete } = change {
            let endpoints = endpoints.iter().filter(|one| may_watch(one)).cloned().collect();
            return snapshot(revision, endpoints, *incomplete, vantage, &self.connection);
        }
        if change.endpoint().is_some_and(|one| !may_watch(one)) {
            return Ok(Encoded::default());
        }
        let encoded = self.encoded.get(&event, vantage, || change_seen_from(vantage, &event));
        Ok(encoded.map(Encoded::one).unwrap_or_default())
    }
}

/// Encodes a change of one instance; `None` if the instance is out of reach.
fn change_seen_from(vantage: Vantage, event: &ServiceEvent) -> Option<Bytes> {
    let change = match vantage {
        Vantage::SameHost => event.change.clone(),
        vantage => event.change.clone().seen_from(vantage)?,
    };
    let (kind, revision) = (change.kind(), event.revision);
    let encoded = serde_json::to_string(&ServiceEvent { revision, change });
    let failed =
        |error: &serde_json::Error| tracing::error!(%error, "Event could not be serialised");
    let json = encoded.inspect_err(failed).ok()?;
    Some(self::event(kind, revision, &json).into())
}

/// An encoded message: at most one piece, or the pieces of a snapshot.
#[derive(Default)]
struct Encoded {
    one: Option<Bytes>,
    pieces: Option<Pieces>,
}

// === impl Encoded ===

impl Encoded {
    fn one(event: Bytes) -> Self {
        Self { one: Some(event), pieces: None }
    }

    fn in_turns(self, turns: &Turns) -> impl Stream<Item = Result<Bytes, ReadTooSlow>> + use<> {
        let pieces = self.pieces.map(|pieces| turns.of(pieces));
        iter(self.one.map(Ok)).chain(iter(pieces).flatten())
    }
}

/// One server-sent event. JSON has no line feeds, so the data is one line.
pub(crate) fn event(kind: &str, revision: Revision, json: &str) -> String {
    format!("event: {kind}\nid: {revision}\ndata: {json}\n\n")
}

fn snapshot(
    revision: Revision,
    endpoints: Vec<Arc<ServiceEndpoint>>,
    incomplete: bool,
    vantage: Vantage,
    connection: &ConnectionInfo,
) -> Result<Encoded, RequestError> {
    let change = Change::Snapshot { endpoints: Vec::new(), incomplete };
    let Some((head, tail)) = pieces::around(&ServiceEvent { revision, change }, "endpoints") else {
        return Ok(Encoded::default());
    };
    let head = format!("event: snapshot\nid: {revision}\ndata: {head}");
    let tail = format!("{tail}\n\n");
    let pieces = Pieces::new((head, tail), endpoints, vantage, connection)?;
    Ok(Encoded { one: None, pieces: Some(pieces) })
}

/// The pieces of a stream of events, with comments while nothing happens.
pub(crate) struct EventBody {
    pieces: BoxStream<'static, Result<Bytes, ReadTooSlow>>,
    /// Whether the last piece has ended an event, so that a comment can follow.
    is_between_events: bool,
    keep_alive: Interval,
    _permit: StreamPermit,
}

// === impl EventBody ===

impl EventBody {
    pub(crate) fn new(
        pieces: BoxStream<'static, Result<Bytes, ReadTooSlow>>,
        permit: StreamPermit,
    ) -> Self {
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pieces, is_between_events: true, keep_alive, _permit: permit }
    }
}

impl Stream for EventBody {
    type Item = Result<Bytes, ReadTooSlow>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = self.pieces.poll_next_unpin(context) {
            self.keep_alive.reset();
            // JSON has no line feeds.
            let end = |piece: &Result<Bytes, ReadTooSlow>| {
                piece.as_ref().is_ok_and(|piece| piece.ends_with(b"\n\n"))
            };
            self.is_between_events = piece.as_ref().is_none_or(end);
            return Poll::Ready(piece);
        }
        if !self.is_between_events {
            return Poll::Pending;
        }
        std::task::ready!(self.keep_alive.poll_tick(context));
        Poll::Ready(Some(Ok(Bytes::from_static(b":\n\n"))))
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

pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
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
