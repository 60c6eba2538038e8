//! Snapshot of every error text.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use portolan_core::duration::{Ttl, parse_duration};
use portolan_core::{
    Action, HealthStatus, Host, Incarnation, InvalidRegistration, IpNetwork, PoolRange, PortName,
    PortRange, Protocol, Registration, Scope, ServiceId, ServiceName, port,
};
use serde_json::{Value, json};

fn error<T, E: Display>(result: Result<T, E>) -> String {
    result.err().expect("invalid input").to_string()
}

fn registration(change: (&str, Value)) -> String {
    let mut body = json!({"name": "api", "host": "h", "port": 1});
    body[change.0] = change.1;
    error(serde_json::from_value::<Registration>(body))
}

#[test]
fn texts() {
    let long = "a\u{1b}b".repeat(100);
    let carried = "shop".parse().unwrap();
    let pool = |json| error(serde_json::from_value::<PoolRange>(json));
    let texts = [
        error("retire".parse::<Action>()),
        error(parse_duration("5 parsecs")),
        error(Ttl::new(Duration::ZERO)),
        error("bad".parse::<HealthStatus>()),
        error(long.parse::<Host>()),
        error(Host::try_from(IpAddr::from([0, 0, 0, 0]))),
        error("0x1".parse::<Incarnation>()),
        error("10.0.0.0/33".parse::<IpNetwork>()),
        error("".parse::<ServiceName>()),
        error("x".repeat(200).parse::<ServiceName>()),
        error("a b".parse::<ServiceName>()),
        error("a/b".parse::<ServiceId>()),
        error("-a".parse::<Scope>()),
        error("a_b".parse::<Protocol>()),
        error("a=b".parse::<PortName>()),
        error(port::parse("0")),
        error(PortRange::new(0, 1)),
        error(PortRange::new(2, 1)),
        error("1..2".parse::<PortRange>()),
        pool(json!({"start": 2, "end": 1})),
        pool(json!({"start": 1, "end": 2, "default": 0})),
        registration(("metadata", json!({"scope": "a b"}))),
        registration(("health_url", json!("no url"))),
        registration(("version", json!("x".repeat(3000)))),
        registration(("metadata", json!({"": "x"}))),
        registration(("metadata", json!({"k": "a\nb"}))),
        InvalidRegistration::PortZero.to_string(),
        InvalidRegistration::TwoScopes { scope: Scope::default(), carried }.to_string(),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}
