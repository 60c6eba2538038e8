use http::request::Parts;

use crate::CredentialSource::{Bearer, Header, Query};
use crate::{Authenticator, Principal};

fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let request = http::Request::get(uri);
    let add = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    headers.iter().fold(request, add).body(()).unwrap().into_parts().0
}

fn identify(authenticator: &Authenticator, request: &Parts) -> Principal {
    authenticator.identify(request, authenticator.credentials(request))
}

#[test]
fn token_is_found_in_every_configured_source() {
    let token = "x-consul-token".parse().unwrap();
    let authenticator = Authenticator::new(Some("secret"))
        .source(Bearer)
        .source(Header(token))
        .source(Query("token"));
    for (uri, headers, principal) in [
        ("/", &[("authorization", "Bearer secret")][..], Principal::Authenticated),
        ("/", &[("authorization", "bearer  secret")], Principal::Authenticated),
        ("/", &[("x-consul-token", "secret")], Principal::Authenticated),
        ("/?a=b&token=se%63ret", &[], Principal::Authenticated),
        ("/", &[], Principal::Anonymous),
        (
            "/?token=",
            &[("authorization", "Basic c2VjcmV0"), ("x-consul-token", " ")],
            Principal::Anonymous,
        ),
        ("/", &[("authorization", "Bearer secre")], Principal::Unknown),
        ("/", &[("authorization", "Bearer secret2")], Principal::Unknown),
        ("/?token=Secret", &[], Principal::Unknown),
        // The first source that finds a token decides.
        ("/?token=secret", &[("authorization", "Bearer other")], Principal::Unknown),
        ("/?token=secret", &[("authorization", "Basic other")], Principal::Authenticated),
    ] {
        assert_eq!(
            identify(&authenticator, &request(uri, headers)),
            principal,
            "{uri} {headers:?}"
        );
    }
}

#[test]
fn token_in_a_source_that_is_not_configured_is_ignored() {
    let authenticator = Authenticator::new(Some("secret")).source(Bearer);
    let request = request("/?token=secret", &[("x-consul-token", "secret")]);
    assert_eq!(identify(&authenticator, &request), Principal::Anonymous);
}

#[test]
fn empty_token_denies_everyone_and_no_token_nobody() {
    let headers = [("authorization", "Bearer ")];
    let denied = Authenticator::new(Some("")).source(Bearer);
    let denied = identify(&denied, &request("/", &headers));
    assert_eq!(denied, Principal::Anonymous);
    let open = Authenticator::new(None).source(Bearer);
    let open = identify(&open, &request("/", &headers));
    assert_eq!(open, Principal::Unrestricted);
}
