//! `/api/v1/settings/{name}/watch`: the settings of a service as server-sent events.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http::header::HeaderMap;
use portolan_access::Right;
use portolan_core::Revision;
use portolan_http::ConnectionInfo;
use portolan_registry::{SettingsKey, SettingsRecord};

use super::Document;
use super::key::Key;
use crate::Api;
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::watch::{
    ClientStanding, EventBody, changed, event, event_stream, last_event_id,
};

/// `GET`: what the settings are, and then each newer version, as an event `settings` whose id is the version. With
/// `Last-Event-ID`, versions up to that one are left out.
pub(crate) async fn stream(
    State(api): State<Api>,
    Extension(connection): Extension<ConnectionInfo>,
    requester: Requester,
    ClientStanding(standing): ClientStanding,
    headers: HeaderMap,
    Key(key): Key,
) -> Result<Response, Problem> {
    requester.check(|grants| grants.check(Right::Watch, &key.scope, &key.name))?;
    let seen = last_event_id(&headers)?.map(|revision| revision.0);
    let settings = api.registry().settings().watch(key.clone())?.after(seen);
    let permit = connection.open_stream()?;
    let shutdown = connection.shutdown().clone().cancelled_owned();
    let pieces = unfold((settings, key), |(mut settings, key)| async move {
        let record = settings.next().await?;
        Some((Ok(encode(&key, record.as_deref())), (settings, key)))
    })
    .take_until(shutdown)
    // The client tries again with what it has then.
    .take_until(changed(standing));
    Ok(event_stream(Body::from_stream(EventBody::new(pieces.boxed(), permit))))
}

fn encode(key: &SettingsKey, record: Option<&SettingsRecord>) -> Bytes {
    let newest = record.and_then(|record| Some((record, record.newest()?)));
    let document =
        newest.map_or_else(|| Document::none(key), |(record, it)| Document::of(record, it));
    let json = serde_json::to_string(&document).expect("settings are JSON");
    event("settings", Revision(document.version), &json).into()
}
