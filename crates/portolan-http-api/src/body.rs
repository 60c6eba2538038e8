//! JSON bodies of requests and responses.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use portolan_core::MapOnly;
use portolan_http::LimitedBody;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::problem::{Problem, ProblemKind};

/// A JSON body: extractor and response.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        check_type(request.headers().get(CONTENT_TYPE)).map_err(IntoResponse::into_response)?;
        let LimitedBody(bytes) = LimitedBody::from_request(request, state).await?;
        parse(&bytes).map(Self).map_err(IntoResponse::into_response)
    }
}

/// A JSON body that may be absent.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let given = request.headers().get(CONTENT_TYPE).cloned();
        let LimitedBody(bytes) = LimitedBody::from_request(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        check_type(given.as_ref()).map_err(IntoResponse::into_response)?;
        parse(&bytes).map(Self).map_err(IntoResponse::into_response)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "Response could not be serialised");
                Problem::new(ProblemKind::Internal, "the response could not be serialised")
                    .remedy("report it with the log of the server")
                    .into_response()
            }
        }
    }
}

/// Parses the whole body as one JSON object. An error names the member that is wrong.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    match serde_json::from_slice(bytes) {
        Ok(MapOnly(value)) => Ok(value),
        Err(error) => Err(explain::<T>(bytes, &error)),
    }
}

/// Parses once more and keeps track of the member, which takes as long again as parsing.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let mut input = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, MapOnly<T>>(&mut input) {
        Err(error) => invalid_json(error.path(), error.inner()),
        // It is followed by something else.
        Ok(_) => syntax_error(error),
    }
}

/// Converts a JSON object. An error names the member that is wrong.
pub(crate) fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value)
        .map(|MapOnly(value)| value)
        .map_err(|error| invalid_json(error.path(), error.inner()))
}

fn invalid_json(path: &Path, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return syntax_error(error);
    }
    let text = error.to_string();
    // The pointer says where; the text may end with a remedy, which the position would garble.
    let position = format!(" at line {} column {}", error.line(), error.column());
    let detail = text.strip_suffix(&position).unwrap_or(&text);
    let problem = Problem::new(ProblemKind::BadMember, detail);
    let pointer = pointer(path);
    if pointer.is_empty() { problem } else { problem.pointer(pointer) }
}

fn syntax_error(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemKind::BadJson, error.to_string()).remedy("send exactly one JSON value")
}

/// Converts a path to a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

/// Requires a JSON content type. A browser sends other content types across origins without a
/// preflight request, so accepting them would let any web page write to a local registry.
fn check_type(given: Option<&HeaderValue>) -> Result<(), Problem> {
    let given = given.map_or("", |kind| kind.to_str().unwrap_or(""));
    if given == "application/json" {
        return Ok(());
    }
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let suffixed = essence.starts_with("application/") && essence.ends_with("+json");
    if essence == "application/json" || suffixed {
        return Ok(());
    }
    let given = if essence.is_empty() { "missing".to_owned() } else { format!("{essence:?}") };
    let detail = format!("the content type of the body is {given}, expected application/json");
    Err(Problem::new(ProblemKind::NotJson, detail).remedy("send 'Content-Type: application/json'"))
}
