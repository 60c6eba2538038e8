use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use jiff::Timestamp;
use portolan_access::{Grants, Identities, NewToken, Policies, Right, Rule, TokenFile, digest};
use portolan_core::Revision;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::CredentialSource::{Bearer, Header, Query};
use crate::{
    AccessControl, Authenticator, ConnectionInfo, Evidence, HttpLimits, HttpPolicy, Peer,
    Principal, RequestError, Standing,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let request = http::Request::get(uri);
    let add = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    headers.iter().fold(request, add).body(()).unwrap().into_parts().0
}

fn identify(authenticator: &Authenticator, request: &Parts) -> Principal {
    let access = Arc::clone(&authenticator.access.borrow());
    access.identify(&evidence(authenticator, request), NOW)
}

fn evidence(authenticator: &Authenticator, request: &Parts) -> Evidence {
    authenticator.evidence(request, request.extensions.get())
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

/// The grants of an identity that may read everything.
fn reader(identity: &str) -> Grants {
    let rule = Rule {
        rights: vec![Right::Read],
        scopes: vec!["*".parse().unwrap()],
        services: vec!["*".parse().unwrap()],
        addresses: Vec::new(),
    };
    Grants::new(identity, vec![rule], Revision(1))
}

/// Access control with a token that permits everything, an identity with a token, and one with a user.
fn identities() -> AccessControl {
    let identities = Identities::default()
        .with_token(digest("of the reader"), reader("reader"))
        .with_user(1001, reader("worker"));
    AccessControl::with_token("of everything").with_identities(identities)
}

fn following(access: AccessControl) -> (watch::Sender<Arc<AccessControl>>, Authenticator) {
    let sender = watch::Sender::new(Arc::new(access));
    let authenticator = Authenticator::following(sender.subscribe()).source(Bearer);
    (sender, authenticator)
}

/// Returns the identity, and what proves it.
fn identity(principal: &Principal) -> Option<(&str, String)> {
    match principal {
        Principal::Identity { grants, credential, .. } => {
            Some((grants.identity(), credential.to_string()))
        }
        _ => None,
    }
}

#[test]
fn until_the_policies_are_loaded_only_the_token_of_the_server_is_judged() {
    let loading = AccessControl::with_token("of everything").with_identities_to_come();
    let (sender, authenticator) = following(loading);
    let found = |token| identify(&authenticator, &request("/", &[("authorization", token)]));
    assert_eq!(found("Bearer of everything"), Principal::Authenticated);
    for undetermined in
        [found("Bearer of the reader"), identify(&authenticator, &request("/", &[]))]
    {
        assert_eq!(undetermined, Principal::Undetermined);
        assert!(matches!(undetermined.authorize(), Err(RequestError::PoliciesLoading)));
    }
    assert!(!AccessControl::open().with_identities_to_come().is_open());
    sender.send_replace(Arc::new(identities()));
    found("Bearer of the reader").authorize().unwrap();
}

#[test]
fn token_or_user_proves_an_identity() {
    let (_sender, authenticator) = following(identities());
    let with = |token| request("/", &[("authorization", token)]);
    let found = |request: &Parts| identify(&authenticator, request);
    assert_eq!(found(&with("Bearer of everything")), Principal::Authenticated);
    let reader = found(&with("Bearer of the reader"));
    assert_eq!(identity(&reader), Some(("reader", "token:configured".to_owned())));
    assert_eq!(reader.name(), "reader");
    reader.authorize().unwrap();
    assert_eq!(found(&with("Bearer other")), Principal::Unknown);
    assert_eq!(found(&request("/", &[])), Principal::Anonymous);
    for (headers, uid, expected) in [
        (&[][..], 1001, Some(("worker", "uid:1001".to_owned()))),
        (&[], 1002, None),
        // A proxy on this host, whose clients are others.
        (&[("x-forwarded-for", "10.0.0.9")], 1001, None),
    ] {
        let mut local = request("/", headers);
        let (peer, shutdown) = (Peer::Unix { uid, pid: None }, CancellationToken::new());
        let connection = ConnectionInfo::new(peer, HttpLimits::default(), shutdown);
        local.extensions.insert(connection);
        assert_eq!(identity(&found(&local)), expected, "{headers:?} {uid}");
    }
}

#[test]
fn certificate_of_a_client_proves_what_the_policies_say() {
    let peer = || Peer::Certified {
        remote: "10.0.0.9:5000".parse().unwrap(),
        local: None,
        names: ["spiffe://example.org/api".to_owned()].into(),
    };
    let certified = |policy: HttpPolicy| {
        let mut request = request("/", &[]);
        request.extensions.insert(ConnectionInfo::new(peer(), policy, CancellationToken::new()));
        request
    };
    let direct = || certified(HttpPolicy::default());
    let (_sender, without_policies) = following(AccessControl::with_token("secret"));
    assert_eq!(identify(&without_policies, &direct()), Principal::Certified);
    let (_sender, unlisted) = following(identities());
    assert_eq!(identify(&unlisted, &direct()), Principal::Anonymous);

    let mut policies = Policies::default();
    let api = policies.identities.entry("api".to_owned()).or_default();
    api.certificates.push("spiffe://example.org/api".to_owned());
    let listed = Identities::new(&policies, &TokenFile::default(), Revision(1));
    let (_sender, listed) = following(AccessControl::open().with_identities(listed));
    let found = identify(&listed, &direct());
    let proof = "certificate:spiffe://example.org/api".to_owned();
    assert_eq!(identity(&found), Some(("api", proof)));
    let trusted_proxies = vec!["10.0.0.9".parse().unwrap()];
    let proxied = certified(HttpPolicy { trusted_proxies, ..HttpPolicy::default() });
    assert_eq!(identify(&listed, &proxied), Principal::Anonymous);
}

#[tokio::test(start_paused = true)]
async fn standing_changes_with_the_rights_and_not_with_those_of_others() {
    let (sender, authenticator) = following(identities());
    let request = request("/", &[("authorization", "Bearer of the reader")]);
    let (principal, proven) =
        (identify(&authenticator, &request), evidence(&authenticator, &request));
    let standing = Standing::new(authenticator.access.clone(), proven, principal);
    let mut changed = Box::pin(standing.changed());
    let unchanged = async |changed: &mut _| {
        timeout(Duration::from_secs(3600), changed).await.unwrap_err();
    };
    unchanged(&mut changed).await;
    let others = Identities::default().with_token(digest("of the reader"), reader("reader"));
    sender.send_replace(Arc::new(AccessControl::open().with_identities(others)));
    unchanged(&mut changed).await;
    sender.send_replace(Arc::new(AccessControl::with_token("of everything")));
    changed.await;
}

#[tokio::test]
async fn standing_ends_when_the_token_expires() {
    let mut policies = Policies::default();
    policies.identities.entry("api".to_owned()).or_default();
    let now = Timestamp::now();
    let token = NewToken::new("api", now, Some(now + Duration::from_millis(100)));
    let mut tokens = TokenFile::default();
    tokens.add(token.record);
    let access = AccessControl::open();
    let access = access.with_identities(Identities::new(&policies, &tokens, Revision(1)));
    let (_sender, authenticator) = following(access);
    let bearer = format!("Bearer {}", token.secret.expose());
    let evidence = evidence(&authenticator, &request("/", &[("authorization", &bearer)]));
    let at = |time| authenticator.access.borrow().identify(&evidence, time);
    let principal = at(now);
    principal.authorize().unwrap();
    Standing::new(authenticator.access.clone(), evidence.clone(), principal).changed().await;
    let expired = at(Timestamp::now());
    assert!(matches!(expired.authorize(), Err(RequestError::TokenExpired { .. })), "{expired:?}");
}
