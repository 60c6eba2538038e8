//! Who may ask: those who know the token, where there is one.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Api;
use crate::problem::{Kind, Problem};

/// Lets in who knows the token; everybody where there is none.
///
/// Keeps a digest only: digests have one length, so comparing them takes the same time whatever
/// was sent.
#[derive(Clone, Default)]
pub(crate) struct Guard(Option<[u8; 32]>);

// === impl Guard ===

impl Guard {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self(token.map(|token| digest(&token)))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let given = bearer(headers).ok_or_else(no_token)?;
        match bool::from(digest(given).ct_eq(expected)) {
            true => Ok(()),
            false => Err(Problem::new(
                Kind::Forbidden,
                "this is not the token of this registry; set PORTOLAN_TOKEN to the token that the registry was started with",
            )),
        }
    }
}

/// Stops requests that do not bring the token.
pub(crate) async fn check(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    api.guard().check(request.headers())?;
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn no_token() -> Problem {
    let detail = "this registry asks for a token; send it as 'Authorization: Bearer TOKEN', or set PORTOLAN_TOKEN";
    let challenge = HeaderValue::from_static(r#"Bearer realm="portolan""#);
    Problem::new(Kind::Unauthorized, detail).header(WWW_AUTHENTICATE, challenge)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
