//! `/api/v1/services/{id}/session`: the connection by which the registry notices the end of an agent.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use portolan_core::Revision;
use portolan_http::{ConnectionInfo, Standing, StreamPermit};
use portolan_registry::{AgentSessionId, Command};
use serde_json::json;
use std::convert::Infallible;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Api;
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;
use crate::resources::id::Owned;
use crate::resources::watch::{ClientStanding, KEEP_ALIVE, changed, event, event_stream};
use crate::sessions::Session;

/// How long after the first attempt the addresses are asked again, if the program did not listen yet. The time doubles.
const LISTENS_SOON: Duration = Duration::from_secs(1);
/// How often the addresses are asked. A program that has not listened by then may use UDP only.
const ATTEMPTS: u32 = 10;

/// `POST`: holds a session of the instance until the client closes the connection. The body has comments, of which the
/// first comes at once, and an event `settings` with the version of the settings of the service, if it has any, now and whenever
/// they change. The server ends it when the instance is no longer registered by this incarnation, and at its shutdown.
pub(crate) async fn hold(
    State(api): State<Api>,
    Extension(connection): Extension<ConnectionInfo>,
    requester: Requester,
    ClientStanding(standing): ClientStanding,
    Owned(target): Owned,
) -> Result<Response, Problem> {
    let sessions = api.held_sessions().ok_or_else(|| {
        Problem::new(ProblemKind::Unavailable, "this server holds no sessions")
            .remedy("send heartbeats; the instance expires at the end of its TTL")
    })?;
    let permit = connection.open_stream()?;
    let id = AgentSessionId::random();
    api.registry().execute(Command::Attach(target.clone(), id), requester.origin()).await?;
    let shutdown = connection.shutdown().clone();
    let session = sessions.begin(target, id, shutdown.clone());
    let holding = Holding { session, standing, shutdown, attempts: 0, is_new: true, permit };
    let pieces = stream::unfold(holding, |mut holding| async move {
        holding.next().await.map(|piece| (Ok::<_, Infallible>(piece), holding))
    });
    Ok(event_stream(Body::from_stream(pieces)))
}

/// A session while its connection lasts.
struct Holding {
    session: Session,
    standing: Option<Standing>,
    shutdown: CancellationToken,
    attempts: u32,
    is_new: bool,
    #[expect(dead_code, reason = "held until the stream ends")]
    permit: StreamPermit,
}

// === impl Holding ===

impl Holding {
    /// Waits until the next comment or event is due; `None` if the server ends the session.
    async fn next(&mut self) -> Option<Bytes> {
        let comment = Bytes::from_static(b":\n\n");
        if std::mem::take(&mut self.is_new) {
            return Some(comment);
        }
        if let Some(version) = self.session.settings_version() {
            return Some(settings(version));
        }
        if self.attempts < ATTEMPTS && !self.session.is_answered() {
            self.session.ask().await;
            self.attempts += 1;
        }
        let pause = match self.session.is_answered() {
            true => KEEP_ALIVE,
            false => LISTENS_SOON.saturating_mul(1 << self.attempts.min(4)).min(KEEP_ALIVE),
        };
        let standing = self.standing.clone();
        let goes_on = tokio::select! {
            () = sleep(pause) => self.session.is_of_registration(),
            () = self.session.settings_changed() => self.session.is_of_registration(),
            () = changed(standing) => false,
            () = self.shutdown.cancelled() => false,
        };
        if !goes_on {
            self.session.finish();
            return None;
        }
        if self.session.has_moved() {
            self.attempts = 0;
        }
        Some(self.session.settings_version().map_or(comment, settings))
    }
}

fn settings(version: u64) -> Bytes {
    let json = json!({ "version": version }).to_string();
    event("settings", Revision(version), &json).into()
}
