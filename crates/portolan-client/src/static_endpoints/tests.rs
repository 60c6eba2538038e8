use serde_json::json;

use super::*;

fn read(json: serde_json::Value) -> Result<Vec<ConfiguredEndpoint>, String> {
    serde_json::from_value::<ConfiguredEndpoints>(json)
        .map(|ConfiguredEndpoints(endpoints)| endpoints)
        .map_err(|error| error.to_string())
}

fn urls(json: serde_json::Value) -> Vec<String> {
    let name: ServiceName = "api".parse().unwrap();
    let endpoint = |one: ConfiguredEndpoint| one.endpoint(&name, &Scope::default()).url();
    read(json).unwrap().into_iter().map(endpoint).collect()
}

#[test]
fn endpoint_is_an_address_a_url_a_map_or_a_list_of_these() {
    assert_eq!(urls(json!("db.example.org:5432")), ["tcp://db.example.org:5432"]);
    assert_eq!(urls(json!("[::1]:5432")), ["tcp://[::1]:5432"]);
    assert_eq!(urls(json!("http://10.0.0.1")), ["http://10.0.0.1:80"]);
    assert_eq!(urls(json!("postgres://h:5432/db")), ["postgres://h:5432"]);
    assert_eq!(urls(json!({"host": "h", "port": 1, "protocol": "grpc"})), ["grpc://h:1"]);
    assert_eq!(urls(json!(["a:1", {"host": "b", "port": 2}])), ["tcp://a:1", "tcp://b:2"]);
}

#[test]
fn round_trip() {
    let json = json!([{
        "host": "h", "port": 1, "protocol": "http", "version": "2", "metadata": {"zone": "a"},
    }]);
    let read: ConfiguredEndpoints = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), json);
}

#[test]
fn invalid_endpoint_is_named_with_the_remedy() {
    for (json, expected) in [
        (json!("localhost"), "it has no port; write it like 127.0.0.1:5432"),
        (json!("localhost:0"), "\"0\" is not a port"),
        (json!("localhost:http"), "is not a port"),
        (json!("::1:5432"), "must be in brackets"),
        (json!("a b:1"), "is not a host"),
        (json!("0.0.0.0:1"), "not an address that clients can connect to"),
        (json!("postgres://h"), "it has no port"),
        (json!("http://"), "empty host"),
        (json!("unix:///run/x"), "it has no host"),
        (json!({"host": "h", "port": 70000}), "expected a port"),
        (json!({"host": "h", "prot": 1}), "unknown field `prot`"),
        (json!({"host": "h", "port": 1, "metadata": {"": "x"}}), "empty key"),
        (json!(7), "an endpoint as host:port, as a URL"),
        (json!(vec!["h:1"; 1001]), "at most 1000 endpoints"),
    ] {
        let error = read(json.clone()).unwrap_err();
        assert!(error.contains(expected), "{json}: {error}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn no_text_panics(text in "\\PC{0,60}", url in "[a-z]{1,9}://\\PC{0,30}") {
        drop((read(json!(text)), read(json!(url))));
    }
}
