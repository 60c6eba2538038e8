use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use portolan_core::{IpNetwork, Registration, Ttl};
use tokio::net::TcpListener;

use super::*;
use crate::{CheckReach, CheckSpec, RegistrantReach};

/// Serves some paths until the end of the test.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/ok", get(|| async { ([("x-ready", "yes")], "status: up\nqueue=17\n") }))
        .route("/busy", get(|| async { (http::StatusCode::TOO_MANY_REQUESTS, "private") }))
        .route("/long", get(|| async { format!("{}late", "x".repeat(1_000_000)) }));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn target(address: SocketAddr) -> Target {
    let host = address.ip().to_string().parse().unwrap();
    let registration = Registration::new("api".parse().unwrap(), host, address.port());
    Target::new(registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH))
}

/// Runs the check once, and returns the health and the reason.
async fn run(text: &str, target: &Target) -> (HealthStatus, String) {
    let spec: CheckSpec = text.parse().unwrap();
    let report = spec.check().unwrap().check(target).await;
    (report.status, report.reason)
}

#[test]
fn authority_is_host_and_port() {
    let authority = |text: &str| authority(&Url::parse(text).unwrap());
    assert_eq!(authority("http://h/x"), "h:80");
    assert_eq!(authority("https://h/x"), "h:443");
    assert_eq!(authority("http://[::1]:8080/"), "[::1]:8080");
}

#[tokio::test]
async fn conditions_decide_whether_a_response_passes() {
    use HealthStatus::{Critical, Passing, Warning};
    let target = target(serve().await);
    for (text, status, reason) in [
        ("http:/ok#status=200", Passing, "GET /ok: 200 OK"),
        ("http:/ok#status=201,203-299", Critical, "GET /ok: 200 OK: status: up"),
        ("http:/none", Critical, "GET /none: 404 Not Found"),
        ("http:/none#status=404", Passing, "GET /none: 404 Not Found"),
        ("http:/busy", Warning, "GET /busy: 429 Too Many Requests: private"),
        ("http:/busy#status=200", Critical, "GET /busy: 429 Too Many Requests: private"),
        ("http:/busy#status=429", Passing, "GET /busy: 429 Too Many Requests"),
        ("http:/ok#method=HEAD", Passing, "HEAD /ok: 200 OK"),
        ("http:/ok#method=OPTIONS", Critical, "OPTIONS /ok: 405 Method Not Allowed"),
        ("http:/ok#header=x-ready", Passing, "GET /ok: 200 OK"),
        ("http:/ok#header=X-Ready:%20yes", Passing, "GET /ok: 200 OK"),
        (
            "http:/ok#header=x-ready:no",
            Critical,
            "GET /ok: 200 OK without the expected value of the header x-ready",
        ),
        ("http:/ok#header=x-gone", Critical, "GET /ok: 200 OK without the header x-gone"),
        ("http:/ok#body=status:%20up", Passing, "GET /ok: 200 OK"),
        ("http:/ok#body=down", Critical, "GET /ok: 200 OK without the expected text in the body"),
        ("http:/ok#body_matches=queue=[0-9]{1,2}\\b", Passing, "GET /ok: 200 OK"),
        (
            "http:/ok#body_matches=^up",
            Critical,
            "GET /ok: 200 OK with a body that the expression does not match",
        ),
        (
            "http:/long#body=late",
            Critical,
            "GET /long: 200 OK without the expected text in the body",
        ),
    ] {
        assert_eq!(run(text, &target).await, (status, reason.to_owned()), "{text}");
    }
}

#[test]
fn expression_with_a_large_program_is_refused() {
    for expression in ["(a{99}){99}", "(a|b|c){2000}", "((x{0,50}){0,50}){0,50}"] {
        let error = format!("http:/#body_matches={expression}").parse::<CheckSpec>().unwrap_err();
        assert!(error.to_string().contains("body_matches: "), "{error}");
    }
    let usual = r#"http:/#body_matches="status":%20*"(up|ok|passing)""#;
    assert!(usual.parse::<CheckSpec>().is_ok());
}

#[tokio::test]
async fn what_a_server_in_an_allowed_network_contains_is_not_told() {
    let address = serve().await;
    let allowed: IpNetwork = "127.0.0.0/8".parse().unwrap();
    let within = |registrant: &str| Target {
        reach: CheckReach::Registrant(RegistrantReach::new(
            Some(registrant.parse().unwrap()),
            [allowed].into(),
        )),
        ..target(address)
    };
    let other = within("192.0.2.7");
    assert_eq!(run("http:/ok", &other).await.0, HealthStatus::Passing);
    for condition in ["body=up", "body=down", "body_matches=a", "header=x-ready", "header=x-gone"] {
        let (status, reason) = run(&format!("http:/ok#{condition}"), &other).await;
        assert_eq!(status, HealthStatus::Unknown, "{condition}: {reason}");
        assert!(reason.contains("only at the address that registered it"), "{reason}");
    }
    let own = within("127.0.0.1");
    assert_eq!(run("http:/ok#body=up", &own).await.0, HealthStatus::Passing);
    let busy = "GET /busy: 429 Too Many Requests".to_owned();
    assert_eq!(run("http:/busy", &own).await, (HealthStatus::Warning, busy));
}
