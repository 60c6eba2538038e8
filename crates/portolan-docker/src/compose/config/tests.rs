use serde_json::{Value, json};

use super::*;

/// What Compose v1 prints.
const V1: &str = r#"
services:
  db:
    environment: {A: a$$b, "N": "no"}
    image: box
    labels: {portolan.port: "9000"}
    ports:
    - {published: 5432, target: 5432}
    - 127.0.0.1:9000:9000/tcp
    - {protocol: udp, published: 53, target: 53}
    - {published: 53, target: 53}
    - {published: 4000-4005, target: 80}
    - {target: 81}
    - ::1:6000:9000/tcp
  worker:
    image: box
version: '3.8'
"#;

fn parse(text: &str) -> Result<ComposeConfig, ComposeError> {
    ComposeConfig::parse(text)
}

#[test]
fn ports_that_are_asked_for_by_number_are_found_once_each() {
    let config = parse(V1).unwrap();
    let found: Vec<_> = config
        .published()
        .iter()
        .map(|port| {
            let name = port.port_name.as_ref().map_or("", |name| name.as_str());
            (name, port.preferred, port.target, port.udp)
        })
        .collect();
    let expected = [
        ("5432", 5432, 5432, false),
        ("", 9000, 9000, false),
        ("53", 53, 53, true),
        ("9000", 6000, 9000, false),
    ];
    assert_eq!(found, expected);
    assert_eq!(config.project(), None);
}

#[test]
fn ports_are_replaced_and_nothing_else() {
    let replaced = parse(V1).unwrap().with_ports(&[1, 2, 3, 4]);
    let replaced: Value = serde_json::from_str(&replaced).unwrap();
    let ports = json!([
        { "published": 1, "target": 5432 },
        "127.0.0.1:2:9000/tcp",
        { "protocol": "udp", "published": 3, "target": 53 },
        { "published": 3, "target": 53 },
        { "published": "4000-4005", "target": 80 },
        { "target": 81 },
        "[::1]:4:9000/tcp"
    ]);
    assert_eq!(replaced["services"]["db"]["ports"], ports);
    assert_eq!(replaced["services"]["db"]["environment"], json!({ "A": "a$$b", "N": "no" }));
    assert_eq!(replaced["version"], "3.8");
}

#[test]
fn configuration_of_compose_v2_is_read_and_written_in_its_own_form() {
    let text = r#"{"name": "shop", "services": {"web": {"command": null, "ports": [
        {"mode": "ingress", "host_ip": "127.0.0.1", "target": 80, "published": "8080", "protocol": "tcp"}]}}}"#;
    let config = parse(text).unwrap();
    assert_eq!(config.project(), Some("shop"));
    let replaced: Value = serde_json::from_str(&config.with_ports(&[8081])).unwrap();
    assert_eq!(replaced["services"]["web"]["ports"][0]["published"], "8081");
    assert_eq!(replaced["services"]["web"]["ports"][0]["host_ip"], "127.0.0.1");
}

#[test]
fn services_that_ask_for_one_number_get_a_port_each() {
    let text = r#"{"services": {"a": {"ports": ["80:80"]}, "b": {"ports": ["80:80"]}}}"#;
    let config = parse(text).unwrap();
    let replaced: Value = serde_json::from_str(&config.with_ports(&[80, 81])).unwrap();
    assert_eq!(replaced["services"]["a"]["ports"][0], "80:80/tcp");
    assert_eq!(replaced["services"]["b"]["ports"][0], "81:80/tcp");
}

#[test]
fn what_cannot_be_used_is_an_error_that_names_the_place() {
    for (text, expected) in [
        ("", "no services"),
        ("services: [", "cannot be used"),
        ("services: {web: {ports: ['x:80']}}", "services.web.ports: \"x:80\""),
        ("services: {web: {ports: [[1]]}}", "services.web.ports: \"[1]\""),
        ("services: {-web: {ports: ['8080:80']}}", "services.-web: the service name"),
        ("services: {web: {ports: ['1:1']}, Web: {ports: ['2:1']}}", "but for the case"),
        (
            "services: {a: {ports: ['1-600:1-600']}, b: {ports: ['1-600:1-600']}}",
            "more than 1000 ports",
        ),
        (
            "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nservices: {web: {ports: [\"\\e[2J\"]}}",
            "\\u{1b}[2J",
        ),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains('\u{1b}'), "{error}");
    }
    let bomb = format!(
        "a: &a [x]\n{}services: {{}}",
        (0..60)
            .map(|n| format!("b{n}: &b{n} [*a, *a]\n")
                .replace("*a", &if n == 0 { "*a".to_owned() } else { format!("*b{}", n - 1) }))
            .collect::<String>()
    );
    assert!(matches!(parse(&bomb), Err(ComposeError::Unreadable(_))));
    assert!(matches!(parse(&"[".repeat(100_000)), Err(ComposeError::Unreadable(_))));
}
