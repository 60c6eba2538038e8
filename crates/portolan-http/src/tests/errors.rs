use std::fmt::Write;
use std::time::Duration;

use http::Method;
use portolan_core::Remedy;

use crate::{LimitedResource, RequestError as E, ServeError};

#[test]
fn every_error_says_what_is_wrong_and_the_remedy() {
    let limit = Duration::from_secs(10);
    let errors = [
        E::Unauthorized,
        E::Forbidden,
        E::PoliciesLoading,
        E::TokenExpired { id: "3fa19c02".into(), at: jiff::Timestamp::UNIX_EPOCH },
        E::InvalidHost { problem: "no Host header" },
        E::Misdirected { host: "\"evil.example\"".into() },
        E::ForeignOrigin { origin: "\"http://evil.example\"".into() },
        E::NotFound { path: "/api/v1/service".into() },
        E::MethodNotAllowed { method: Method::DELETE, route: "/api/v1/services".into() },
        E::BodyTooLarge { limit: 1_048_576 },
        E::BodyTimeout { limit },
        E::BodyIncomplete { reason: "connection closed".into() },
        E::Panicked,
        E::Timeout { limit },
        E::Overloaded { limit: 10_000 },
        E::TooMany { what: LimitedResource::Streams, limit: 500, retry_after: 5 },
        E::NoMemory,
    ];
    let mut text = String::new();
    for error in errors {
        let remedy = error.remedy().unwrap_or("-".into());
        writeln!(text, "{}: {error}\n    {remedy}", error.status()).unwrap();
    }
    let source = std::io::ErrorKind::InvalidInput.into();
    writeln!(text, "serve: {}", ServeError::Accept { source }).unwrap();
    insta::assert_snapshot!(text);
}
