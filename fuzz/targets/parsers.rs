//! Every text parser: names, hosts, durations, ports, checks, commands. An accepted text survives a
//! round trip; an error is one short line.

#![no_main]

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use portolan_client::{ConfiguredEndpoint, StrategyName};
use portolan_core::duration::{format_duration, parse_duration};
use portolan_core::{
    Action, HealthStatus, Host, Pools, PortRange, Protocol, Registration, Scope, ServiceId,
    ServiceName, Ttl, port,
};
use portolan_health::CheckSpec;
use portolan_port_allocator::{BindAddress, Depth};
use portolan_supervisor::placeholders::Placeholders;
use portolan_supervisor::service::{NamedPort, validate};
use portolan_supervisor::stack::scope_of_folder;
use portolan_supervisor::{CommandLine, Handoff};
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    in_json::<ServiceName>(text);
    in_json::<ServiceId>(text);
    in_json::<Scope>(text);
    in_json::<Protocol>(text);
    in_json::<Host>(text);
    in_json::<Ttl>(text);
    in_json::<HealthStatus>(text);
    in_json::<Action>(text);
    in_json::<StrategyName>(text);
    in_json::<Depth>(text);
    reads_back::<PortRange>(text);
    duration(text);
    command(text);
    check(text);
    taken::<Handoff>(text);
    taken::<NamedPort>(text);
    reads_back::<BindAddress>(text);
    taken::<ConfiguredEndpoint>(text);
    port::parse(text).map_or_else(|error| short(&error), |port| assert!(port > 0));
    Pools::default().of_service(text);
    scope_of_folder(Path::new(text));
});

/// Returns the parsed value if the text is accepted.
fn taken<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    text.parse().inspect_err(short).ok()
}

fn reads_back<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq,
{
    let value: T = taken(text)?;
    assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value));
    Some(value)
}

/// The same, and JSON accepts what the parser accepts.
fn in_json<T>(text: &str)
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq,
    T: serde::de::DeserializeOwned,
{
    let value = reads_back::<T>(text);
    assert_eq!(serde_json::from_value::<T>(Value::from(text)).ok(), value);
}

fn duration(text: &str) {
    match parse_duration(text) {
        Ok(span) => assert_eq!(parse_duration(&format_duration(span)), Ok(span)),
        Err(error) => short(&error),
    }
}

fn command(text: &str) {
    in_json::<CommandLine>(text);
    let Some(command) = taken::<CommandLine>(text) else { return };
    assert!(!command.program().is_empty());
    let filled = command.substituted(&Placeholders::for_port(8080));
    assert!(!filled.arguments().iter().any(|word| word.contains("{port}")));
    assert!(command.program().ends_with(command.program_name()));
    validate(&command, &BTreeMap::new(), &[], Handoff::Auto)
        .map_or_else(|error| short(&error), drop);
}

/// Checks that a registry accepts every check that it could run itself.
fn check(text: &str) {
    in_json::<CheckSpec>(text);
    let Some(check) = taken::<CheckSpec>(text) else { return };
    for host in ["127.0.0.1", "::1", "db.example.org"] {
        let host: Host = host.parse().expect("a host");
        let Some(url) = check.health_url(&host, 8080) else { continue };
        let registration = json!({"name": "x", "host": host, "port": 8080, "health_url": url});
        serde_json::from_value::<Registration>(registration).expect(&url);
    }
}

/// Checks that an error is short and has no control characters: it is logged and printed.
fn short(error: &impl Display) {
    let error = error.to_string();
    assert!(error.len() < 8_000, "{} bytes", error.len());
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
