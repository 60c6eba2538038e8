use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use portolan_core::HealthReport;
use proptest::prelude::*;

use super::*;
use crate::Target;

fn refused(text: &str) -> String {
    text.parse::<CheckSpec>().unwrap_err().to_string()
}

#[test]
fn every_form_round_trips() {
    for text in [
        "tcp",
        "tcp:127.0.0.1:5432",
        "tcp:[::1]:5432",
        "tcp://db.example.org:5432",
        "http",
        "http:/health?full=1",
        "http://127.0.0.1:8080/health",
        "ttl:15s",
        "none",
    ] {
        let spec: CheckSpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<CheckSpec>(&json).unwrap(), spec);
    }
    assert!("none".parse::<CheckSpec>().unwrap().is_none());
}

#[test]
fn unknown_kind_error_lists_the_forms() {
    assert_eq!(
        refused("ping"),
        "\"ping\" is not a health check; expected tcp, tcp:HOST:PORT, http:/path, http://HOST:PORT/path, ttl:15s or none"
    );
    assert!(refused("").contains("is not a health check"));
    assert!(refused("TCP").contains("is not a health check"));
}

#[test]
fn invalid_value_error_names_the_problem() {
    for (text, part) in [
        ("https://x/health", "TLS is not supported"),
        ("tcp:", "is not a host and a port; expected tcp or tcp:HOST:PORT"),
        ("tcp:5432", "is not a host and a port; expected tcp or tcp:HOST:PORT"),
        ("tcp:h:0", "is not a host and a port; expected tcp or tcp:HOST:PORT"),
        ("tcp:h:70000", "is not a host and a port; expected tcp or tcp:HOST:PORT"),
        ("tcp:::1:80", "is not a host and a port; expected tcp or tcp:HOST:PORT"),
        ("tcp:0.0.0.0:80", "is not a host and a port; expected tcp or tcp:HOST:PORT"),
        ("http:", "does not begin with a slash; expected http:/path or http://HOST:PORT/path"),
        ("http:health", "does not begin with a slash"),
        ("http://", "the URL is invalid, empty host"),
        ("http://u:p@h/", "contains a user name"),
        ("ttl", "; expected ttl:15s"),
        ("ttl:5", "; expected ttl:15s"),
        ("ttl:0s", "; expected ttl:15s"),
    ] {
        assert!(refused(text).contains(part), "{text}: {}", refused(text));
    }
    assert!(refused(&"x".repeat(5000)).contains("expected at most 2048"));
    assert!(refused(&"x".repeat(2000)).len() < 300);
}

#[test]
fn health_url_describes_the_check_for_others() {
    let url = |text: &str| {
        text.parse::<CheckSpec>().unwrap().health_url(&"10.0.0.1".parse().unwrap(), 80)
    };
    assert_eq!(url("tcp").as_deref(), Some("tcp://10.0.0.1:80"));
    assert_eq!(url("tcp:[::1]:5").as_deref(), Some("tcp://[::1]:5"));
    assert_eq!(url("http:/health?a=b").as_deref(), Some("http://10.0.0.1:80/health?a=b"));
    assert_eq!(url("http://h:1/x").as_deref(), Some("http://h:1/x"));
    assert_eq!(url("ttl:15s"), None);
    assert_eq!(url("none"), None);
}

#[test]
fn added_kind_is_parsed_and_listed_beside_the_built_in_ones() {
    let kind =
        CheckKind { name: "ping", forms: &["ping"], url_form: None, parse: |_| Ok(Arc::new(Ping)) };
    let kinds = CheckKinds::built_in().with(kind);
    assert_eq!(kinds.parse("ping").unwrap(), CheckSpec::new("ping", Ping));
    assert!(kinds.parse("tcp").is_ok());
    assert_eq!(kinds.url_help(), "tcp://HOST:PORT or http://HOST:PORT/path");
    assert!(kinds.help().ends_with("ttl:15s, ping or none"), "{}", kinds.help());
}

#[derive(Debug)]
struct Ping;

impl Check for Ping {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, HealthReport> {
        future::ready(HealthReport::default()).boxed()
    }
}

#[test]
fn error_texts() {
    let texts =
        ["ping", "", "https://x/health", "tcp:5432", "http:health", "http://u:p@h/", "ttl:0s"];
    let long = "x".repeat(5000);
    let errors = texts.into_iter().chain([long.as_str()]).map(|text| {
        let error = text.parse::<CheckSpec>().unwrap_err();
        format!("{error}\n  remedy: {:?}", error.remedy())
    });
    insta::assert_snapshot!(errors.collect::<Vec<_>>().join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_never_panics(text in "(tcp|http|ttl|none)?:?(//)?\\PC*") {
        if let Ok(spec) = text.parse::<CheckSpec>() {
            prop_assert_eq!(spec.to_string(), text);
        }
    }
}
