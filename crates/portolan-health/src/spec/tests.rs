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
        "tcp#interval=5s&timeout=100ms",
        "http:/health#status=200,300-399&body=ok%26&header=x-ready:yes&method=GET",
        "postgres:127.0.0.1:5432#user=ann&database=shop",
        "redis",
        "command:pg_isready -h {host} -p {port}",
        "process",
        "process:/run/nginx.pid",
        "all:tcp;process",
        "any:http:/a;redis",
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
    let expected =
        format!("\"ping\" is not a health check; expected {}", CheckKinds::built_in().help());
    assert_eq!(refused("ping"), expected);
    assert!(refused("").contains("is not a health check"));
    assert!(refused("TCP").contains("is not a health check"));
}

#[test]
fn invalid_value_error_names_the_problem() {
    for (text, part) in [
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
        ("http:/health#x", "what follows the # is not an option"),
        ("http:/#method=POST", "method: \"POST\" changes a server"),
        ("http:/#status=99", "status: \"99\" is not a status code"),
        ("http:/#status=299-200", "is not a status code from 100 to 599 or a range"),
        ("http:/#header=a%20b", "is not the name of a header"),
        ("http:/#header=a:%07", "is not the value of a header"),
        ("http:/#body_matches=(", "body_matches: "),
        ("http:/#body_matches=(a{99}){9999}", "body_matches: "),
        ("http:/#method=HEAD&body=ok", "has no body"),
        (
            "http:/#intervall=5s",
            "\"intervall\" is not an option of this check, which has method, status,",
        ),
        ("tcp#status=200", "\"status\" is not an option of this check, which has interval,"),
        ("tcp#interval=1ms", "expected 10ms to 1h"),
        ("process:nginx.pid", "the pid file is not an absolute path"),
        ("postgres:h", "is not a host and a port; expected postgres or postgres:HOST:PORT"),
        ("postgres#user=", "user: \"\" is not a name in PostgreSQL"),
        ("ttl", "; expected ttl:15s"),
        ("ttl:5", "; expected ttl:15s"),
        ("ttl:0s", "; expected ttl:15s"),
    ] {
        assert!(refused(text).contains(part), "{text}: {}", refused(text));
    }
    assert!(refused(&"x".repeat(5000)).contains("expected at most 2048"));
    assert!(refused(&"x".repeat(2000)).len() < 700);
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
    assert_eq!(url("tcp#interval=5s").as_deref(), Some("tcp://10.0.0.1:80#interval=5s"));
    let conditions = "#status=200&body=a%20b";
    let expected = format!("http://10.0.0.1:80/x{conditions}");
    assert_eq!(url(&format!("http:/x{conditions}")).as_deref(), Some(expected.as_str()));
    assert_eq!(url("ttl:15s"), None);
    assert_eq!(url("none"), None);
}

#[test]
fn added_kind_is_parsed_and_listed_beside_the_built_in_ones() {
    let kind = CheckKind {
        name: "ping",
        forms: &["ping"],
        url_form: None,
        options: &[],
        parse: |_| Ok(Arc::new(Ping)),
    };
    let kinds = CheckKinds::built_in().with(kind);
    assert_eq!(kinds.parse("ping").unwrap(), CheckSpec::new("ping", Ping));
    assert!(kinds.parse("tcp").is_ok());
    assert!(kinds.url_help().starts_with("tcp://HOST:PORT, http://HOST:PORT/path, "));
    assert!(kinds.help().ends_with("any:CHECK;CHECK, ping or none"), "{}", kinds.help());
}

#[test]
fn only_a_check_that_others_can_run_is_parsed_from_a_url() {
    let parse = |url: &str| CheckKinds::built_in().parse_url(url);
    assert_eq!(parse("tcp://h:1").unwrap().to_string(), "tcp://h:1");
    for url in ["tcp", "http:/x", "ttl:15s", "ttl://h/15s", "none", "none://h", "ping://h", "x"] {
        let error = parse(url).unwrap_err().to_string();
        assert!(error.contains("is not a health check; expected tcp://HOST:PORT, "), "{error}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn build_without_tls_says_how_to_get_it() {
    let error = refused("https:/health");
    assert!(error.contains("TLS is not built into this version"), "{error}");
    assert!(error.contains("--features full"), "{error}");
}

#[cfg(feature = "tls")]
#[test]
fn checks_with_tls_are_parsed() {
    for text in
        ["https", "https:/health#server_name=api.example.org&status=200", "https://h:8443/x"]
    {
        assert_eq!(text.parse::<CheckSpec>().unwrap().to_string(), text);
    }
    let url = |text: &str| {
        text.parse::<CheckSpec>().unwrap().health_url(&"10.0.0.1".parse().unwrap(), 443)
    };
    assert_eq!(url("https:/x").as_deref(), Some("https://10.0.0.1:443/x"));
    let error = refused("https:/x#server_name=a%20b");
    assert!(error.contains("is not the name of a host"), "{error}");
}

#[test]
fn check_is_a_text_or_a_map_with_its_options() {
    for (json, text) in [
        (r#""tcp""#, "tcp"),
        (r#"{"check": "tcp"}"#, "tcp"),
        (
            r#"{"check": "http:/x", "status": [200, "300-399"], "body": "50% & #1", "jitter": 0.2}"#,
            "http:/x#status=200,300-399&body=50%25%20%26%20%231&jitter=0.2",
        ),
        (
            r#"{"all": ["process", "command:true a b"], "interval": "5s"}"#,
            "all:process;command:true a b#interval=5s",
        ),
    ] {
        let spec: CheckSpec = serde_json::from_str(json).unwrap();
        assert_eq!(spec.to_string(), text);
    }
    for (json, part) in [
        (r#"{"interval": "5s"}"#, "missing field `check`"),
        (r#"{"check": "tcp", "intervall": "5s"}"#, "is not an option of this check"),
        (r#"{"check": "tcp", "interval": {}}"#, "a text, a number"),
        (r#"{"all": ["tcp", {}]}"#, "a text, a number"),
        ("5", "a health check: a text such as http:/health"),
    ] {
        let error = serde_json::from_str::<CheckSpec>(json).unwrap_err().to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
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
        ["ping", "", "http:/#intervall=5s", "tcp:5432", "http:health", "http://u:p@h/", "ttl:0s"];
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
