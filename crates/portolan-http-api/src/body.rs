//! Bodies: JSON in, within bounds of size and time; JSON out.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};
use tokio::time::timeout;

use crate::problem::{Kind, Problem};
use crate::{Api, Limits};

/// JSON, read from a request or written into an answer.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let limits = api.bounds();
        check_length(&head.headers, limits)?;
        check_type(&head.headers)?;
        let bytes = read(body, limits).await?;
        parse(&mut serde_json::Deserializer::from_slice(&bytes)).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "An answer could not be written as JSON");
                Problem::new(Kind::Internal, "the answer could not be written; report this")
                    .into_response()
            }
        }
    }
}

/// Reads the whole text as one value, and says at which member it went wrong.
fn parse<'de, T: DeserializeOwned>(
    input: &mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>,
) -> Result<T, Problem> {
    let value = serde_path_to_error::deserialize(&mut *input)
        .map_err(|error| bad_json(error.path(), error.inner()))?;
    input.end().map_err(|error| Problem::new(Kind::BadJson, remedy(&error)))?;
    Ok(value)
}

/// Takes a value apart, and says at which member it went wrong.
pub(crate) fn interpret<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| bad_json(error.path(), error.inner()))
}

fn bad_json(path: &Path, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return Problem::new(Kind::BadJson, remedy(error));
    }
    let problem = Problem::new(Kind::BadMember, error.to_string());
    match pointer(path) {
        pointer if pointer.is_empty() => problem,
        pointer => problem.pointer(pointer),
    }
}

fn remedy(error: &serde_json::Error) -> String {
    format!("{error}; send one JSON value, complete and with nothing behind it")
}

fn pointer(path: &Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

/// Refuses a body that announces itself as too large before any of it is read.
fn check_length(headers: &HeaderMap, limits: &Limits) -> Result<(), Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length > limits.body_bytes => Err(too_large(limits)),
        _ => Ok(()),
    }
}

/// Insists on JSON. Browsers let foreign pages send other types without asking.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap_or(""));
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let suffixed = essence.starts_with("application/") && essence.ends_with("+json");
    if essence == "application/json" || suffixed {
        return Ok(());
    }
    let given = if essence.is_empty() { "no type".to_owned() } else { format!("{essence:?}") };
    let detail = format!(
        "the body comes as {given}; send JSON and say so: 'Content-Type: application/json'"
    );
    Err(Problem::new(Kind::NotJson, detail))
}

async fn read(body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let Ok(read) = timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await
    else {
        let detail = format!("the body did not arrive within {:?}; send it in one go", limits.body);
        return Err(Problem::new(Kind::BodyTooSlow, detail));
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limits)),
        Err(error) => {
            let detail = format!("the body could not be read to its end: {error}; send it again");
            Err(Problem::new(Kind::BodyCutShort, detail))
        }
    }
}

fn too_large(limits: &Limits) -> Problem {
    let detail = format!(
        "the body has more than the {} bytes that are allowed; send less, or send it in several requests",
        limits.body_bytes
    );
    Problem::new(Kind::BodyTooLarge, detail)
}
