use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> String {
    text.parse::<CheckSpec>().unwrap_err().to_string()
}

#[test]
fn every_form_is_read_and_written_back() {
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
fn what_is_no_check_is_answered_with_the_forms_there_are() {
    assert_eq!(
        refused("ping"),
        "\"ping\" is not a health check; use tcp, tcp:HOST:PORT, http:/path, http://HOST:PORT/path, ttl:15s or none"
    );
    assert!(refused("").contains("is not a health check"));
    assert!(refused("TCP").contains("is not a health check"));
}

#[test]
fn what_is_half_right_is_told_what_is_missing() {
    for (text, part) in [
        ("https://x/health", "needs TLS"),
        ("tcp:", "names no host and port"),
        ("tcp:5432", "names no host and port"),
        ("tcp:h:0", "names no host and port"),
        ("tcp:h:70000", "names no host and port"),
        ("tcp:::1:80", "names no host and port"),
        ("tcp:0.0.0.0:80", "names no host and port"),
        ("http:", "has no path or URL"),
        ("http:health", "has no path or URL"),
        ("http://", "has no path or URL"),
        ("http://u:p@h/", "leave out the user name"),
        ("ttl", "write it like ttl:15s"),
        ("ttl:5", "write it like ttl:15s"),
        ("ttl:0s", "write it like ttl:15s"),
    ] {
        assert!(refused(text).contains(part), "{text}: {}", refused(text));
    }
    assert!(refused(&"x".repeat(5000)).contains("the limit is 2048"));
    assert!(refused(&"x".repeat(2000)).len() < 300);
}

#[test]
fn others_can_make_the_check_that_a_health_url_names() {
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "(tcp|http|ttl|none)?:?(//)?\\PC*") {
        if let Ok(spec) = text.parse::<CheckSpec>() {
            prop_assert_eq!(spec.to_string(), text);
        }
    }
}
