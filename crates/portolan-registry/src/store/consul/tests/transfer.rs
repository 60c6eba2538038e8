//! Exports and imports, and what an inspection finds.

use portolan_consul::KvTransaction;
use portolan_core::Remedy;

use super::*;
use crate::store::remote::suite::moves::registry_is_moved_while_servers_run;
use crate::store::{InspectError, inspect};

/// Writes a key below the prefix of a registry.
async fn put(agent: &Agent, config: &RegistryConfig, key: &str, value: &str) {
    let key = format!("{}/{key}", config.consul.prefix);
    let put = KvTransaction::default().write(&key, value.as_bytes());
    agent.client().transact(&put).await.unwrap().unwrap();
}

/// What an inspection finds: whether it is damage, the key below the prefix, and the problem.
async fn problems(config: &RegistryConfig) -> Vec<(bool, String, String)> {
    let inspection = inspect(config).await.unwrap();
    let found = inspection.problems.iter().map(|it| {
        let place = it.place.strip_prefix(&format!("{}/", config.consul.prefix));
        (it.is_damage, place.unwrap_or(&it.place).to_owned(), it.problem.clone())
    });
    found.collect()
}

#[tokio::test]
async fn registry_is_moved_between_prefixes_while_servers_run() {
    let agent = Agent::start().await;
    let (old, new) = (config(&agent), config(&agent));
    registry_is_moved_while_servers_run(&old, &new).await;
}

#[tokio::test]
async fn records_that_cannot_be_read_are_reported_with_their_keys() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    let api = server.register(&registration("api", 8080)).await.unwrap().endpoint;
    let key = format!("{}/v1/endpoints/{}", config.consul.prefix, api.id);
    let value = agent.client().key(&key).await.unwrap().unwrap().value().unwrap();
    let value = String::from_utf8(value).unwrap();
    assert_eq!(problems(&config).await, []);

    // Not JSON, JSON of another format, the value of another instance, and one that nobody could register.
    put(&agent, &config, "v1/endpoints/broken", "{").await;
    put(&agent, &config, "v1/endpoints/other", r#"{"name":"api","port":8080}"#).await;
    put(&agent, &config, "v1/endpoints/copied", &value).await;
    let invalid = value.replace(api.id.as_str(), "zero").replace("\"port\":8080", "\"port\":0");
    put(&agent, &config, "v1/endpoints/zero", &invalid).await;
    put(&agent, &config, "v2/jobs", "x").await;
    let inspection = inspect(&config).await.unwrap();
    assert_eq!(inspection.records.len(), 1, "the others are not lost: {inspection:?}");
    let found = problems(&config).await;
    insta::assert_debug_snapshot!(found);
    // A server goes on with what can be read, and the keys can be registered again.
    let server = Server::start(&config).await;
    let ids = || server.registry.list().iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    assert!(ids().contains(&api.id.to_string()) && !ids().contains(&"broken".to_owned()));
    for id in ["broken", "other", "copied"] {
        let id = Some(id.parse().unwrap());
        server.register(&Registration { id, ..registration("web", 9000) }).await.unwrap();
    }
}

#[tokio::test]
async fn keys_that_are_missing_or_no_index_of_consul_are_reported() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    server.register(&registration("api", 8080)).await.unwrap();
    server.kill().await;
    // The server that holds the lease is gone, and a change refers to an instance that is: others deal with both.
    put(&agent, &config, "v1/feed/changes/long", r#"{"stored":{"at":"gone"}}"#).await;
    put(&agent, &config, "v1/feed/changes/broken", "{").await;
    assert_eq!(problems(&config).await, []);

    let guards = format!("{}/v1/guards/", config.consul.prefix);
    agent.consul(&["kv", "delete", "-recurse", &guards]);
    let found = problems(&config).await;
    assert!(!found.is_empty());
    for (is_damage, place, problem) in found {
        assert!(is_damage && place.starts_with("v1/guards/"), "{place}");
        assert_eq!(problem, "it is missing, although api@127.0.0.1:8080 is registered");
    }
    // As the remedy says.
    let server = Server::start(&config).await;
    server.register(&registration("api", 8080)).await.unwrap();
    server.register(&registration("web", 8080)).await.unwrap();
    assert_eq!(server.registry.list().len(), 1, "one instance at an address");
    server.kill().await;

    assert_eq!(problems(&config).await, []);
    for (floor, expected) in
        [("x", "its value is not a number"), ("99999999", "it is 99999999, and the newest index")]
    {
        put(&agent, &config, "v1/feed/floor", floor).await;
        let found = problems(&config).await;
        let [(true, place, problem)] = &found[..] else { panic!("{found:?}") };
        assert!(place == "v1/feed/floor" && problem.starts_with(expected), "{problem}");
    }
}

#[tokio::test]
async fn prefix_of_something_else_other_formats_and_unreachable_consul_are_told_apart() {
    let agent = Agent::start().await;
    let (mut foreign, newer) = (config(&agent), config(&agent));
    put(&agent, &foreign, "jobs/1", "x").await;
    put(&agent, &newer, "format", "portolan 2").await;
    for (config, remedy) in [(&foreign, "consul.prefix"), (&newer, "version of Portolan")] {
        let error = inspect(config).await.unwrap_err();
        assert!(matches!(error, InspectError::Unusable { .. }), "{error}");
        assert!(error.with_remedy().contains(remedy), "{}", error.with_remedy());
    }
    foreign.consul.url = "http://127.0.0.1:1".to_owned();
    let error = inspect(&foreign).await.unwrap_err();
    assert!(matches!(error, InspectError::Unreachable { .. }), "{error}");
}
