//! Prefixes, tokens and certificates.

use serde_json::json;

use super::*;
use crate::store::remote::certificates::Certificates;

async fn refused(config: &RegistryConfig) -> String {
    let server = Server::begin(config);
    let error = server.register(&registration("api", 1)).await.unwrap_err();
    server.kill().await;
    error.to_string()
}

#[tokio::test]
async fn prefix_of_something_else_and_other_formats_are_refused() {
    let agent = Agent::start().await;
    let (foreign, newer) = (config(&agent), config(&agent));
    agent.consul(&["kv", "put", &format!("{}/jobs/1", foreign.consul.prefix), "x"]);
    agent.consul(&["kv", "put", &format!("{}/format", newer.consul.prefix), "portolan 2"]);
    for (config, expected) in [
        (&foreign, "is not a registry of Portolan: it has keys such as"),
        (&newer, r#"is "portolan 2", this version reads and writes "portolan 1""#),
    ] {
        let error = refused(config).await;
        assert!(error.contains(expected), "{error}");
        let keys = agent.consul(&["kv", "get", "-keys", "-recurse", &config.consul.prefix]);
        assert_eq!(keys.trim().lines().count(), 1, "nothing is written: {keys}");
    }
}

#[tokio::test]
async fn url_of_something_else_is_reported() {
    let agent = Agent::start().await;
    let plain = config(&agent);
    let with_url = |url: String| {
        let consul = ConsulConfig { url, ..plain.consul.clone() };
        RegistryConfig { consul, ..plain.clone() }
    };
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(&with_url(format!("http://{unused}"))).await;
    assert!(error.contains(&format!("Consul at http://{unused} is unreachable: ")), "{error}");
    assert!(error.contains("check that a Consul agent runs"), "{error}");
    // Something that speaks HTTP.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = other.accept().await.unwrap();
            let mut request = [0; 4096];
            _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let error = refused(&with_url(url.clone())).await;
    assert!(error.contains(&format!("{url} does not answer like Consul: ")), "{error}");
    task.abort();
    // Something that speaks no HTTP.
    let error = refused(&with_url(format!("http://127.0.0.1:{}", agent.dns()))).await;
    assert!(error.contains("is unreachable: "), "{error}");
}

/// The policy of docs/consul.md.
const POLICY: &str = r#"
key_prefix "registries/" { policy = "write" }
session_prefix ""        { policy = "write" }
agent_prefix ""          { policy = "read" }
node_prefix ""           { policy = "read" }
service_prefix ""        { policy = "write" }
"#;

#[tokio::test]
async fn token_with_the_documented_policy_suffices_and_others_are_refused() {
    let root = "7d1c1e34-4a4c-4a3a-9e3a-0a4f0c9b8a01";
    let acl = json!({ "acl": {
        "enabled": true, "default_policy": "deny", "tokens": { "master": root, "agent": root },
    }});
    let agent = Agent::start_with(&acl, Some(root)).await;
    let plain = config(&agent);
    let policy = agent.directory().join("policy.hcl");
    std::fs::write(&policy, POLICY).unwrap();
    let rules = format!("@{}", policy.display());
    agent.consul(&["acl", "policy", "create", "-name", "registry", "-rules", &rules]);
    let created =
        agent.consul(&["acl", "token", "create", "-policy-name", "registry", "-format", "json"]);
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    let with_token = |name: &str, token: &str| {
        let file = agent.directory().join(name);
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let consul = ConsulConfig { token_file: Some(file), ..plain.consul.clone() };
        RegistryConfig { consul, ..plain.clone() }
    };
    for denied in [&plain, &with_token("wrong", "7d1c1e34-4a4c-4a3a-9e3a-0a4f0c9b8a02")] {
        let error = refused(denied).await;
        assert!(error.contains("Consul denied the access to "), "{error}");
        assert!(error.contains("set service_registry.consul.token_file"), "{error}");
    }
    let config = with_token("token", created["SecretID"].as_str().unwrap());
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    let id = server.register(&brief("api", 1)).await.unwrap().endpoint.id.clone();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    let client = agent.client();
    while client.agent_services().await.unwrap().is_empty() {
        server.registry.heartbeat(&id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    // A prefix that the policy does not permit.
    let consul = ConsulConfig { prefix: "other".to_owned(), ..config.consul.clone() };
    let error = refused(&RegistryConfig { consul, ..config }).await;
    assert!(error.contains("Consul denied the access to "), "{error}");
}

#[tokio::test]
async fn certificates_of_both_sides_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let file = |name: &str| directory.path().join(name);
    let settings = json!({
        "verify_incoming": false, "verify_incoming_https": true,
        "ca_file": file("ca.pem"), "cert_file": file("own.pem"), "key_file": file("own.key"),
    });
    let agent = Agent::start_with(&settings, None).await;
    let plain = config(&agent);
    let with_tls = |tls: StoreTlsConfig| {
        let consul = ConsulConfig { url: agent.tls_url(), tls, ..plain.consul.clone() };
        RegistryConfig { consul, ..plain.clone() }
    };
    let server = Server::start(&with_tls(certificates.settings())).await;
    let mut watch = server.watch().await;
    server.register(&registration("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");

    let other = tempfile::tempdir().unwrap();
    let other = Certificates::create(other.path()).settings();
    let without = StoreTlsConfig { certificate: None, key: None, ..certificates.settings() };
    let foreign = StoreTlsConfig { ca: other.ca, ..certificates.settings() };
    // Consul refuses a client after the handshake; how the client learns of it depends on the moment.
    for (tls, expected) in [(without, ""), (foreign, "invalid peer certificate")] {
        let error = refused(&with_tls(tls)).await;
        assert!(error.contains("is unreachable: ") && error.contains(expected), "{error}");
    }
}
