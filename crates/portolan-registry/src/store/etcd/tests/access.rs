//! Prefixes, users and certificates.

use super::*;
use crate::store::remote::certificates::Certificates;

#[tokio::test]
async fn prefix_of_something_else_and_other_formats_are_refused() {
    let cluster = Cluster::start(1).await;
    let foreign = config(&cluster);
    cluster.etcdctl(&["put", &format!("{}/jobs/1", foreign.etcd.prefix), "x"]);
    let newer = config(&cluster);
    cluster.etcdctl(&["put", &format!("{}/format", newer.etcd.prefix), "portolan 2"]);
    for (config, expected) in [
        (&foreign, "is not a registry of Portolan: it has keys such as"),
        (&newer, r#"is "portolan 2", this version reads and writes "portolan 1""#),
    ] {
        let server = Server::begin(config);
        let error = server.register(&registration("api", 1)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let keys = cluster.etcdctl(&["get", "--prefix", "--keys-only", &config.etcd.prefix]);
        assert_eq!(keys.trim().lines().count(), 1, "nothing is written: {keys}");
    }
}

/// Creates a user with access to the keys with a prefix, and denies everything to others.
fn enable_authentication(cluster: &Cluster, permitted: &str) {
    for arguments in [
        "user add root:secret",
        "role add root",
        "user grant-role root root",
        "user add portolan:pass-word",
        "role add registry",
        &format!("role grant-permission registry --prefix=true readwrite {permitted}"),
        "user grant-role portolan registry",
        "auth enable",
    ] {
        cluster.etcdctl(&arguments.split(' ').collect::<Vec<_>>());
    }
}

/// etcd hashes the password for each session, which takes its time.
#[tokio::test]
async fn calls_at_the_same_time_create_one_session() {
    let cluster = Cluster::start(1).await;
    enable_authentication(&cluster, "/");
    let (name, password) = ("portolan".to_owned(), "pass-word".to_owned());
    let user = Some(portolan_etcd::EtcdUser { name, password });
    let endpoints = cluster.endpoints();
    let options = portolan_etcd::EtcdOptions { endpoints, user, ..Default::default() };
    let client = EtcdClient::new(options).unwrap();
    let key = portolan_etcd::KeyRange::key("/a");
    let calls = async || {
        let calls = (0..64).map(|_| client.range(&key, 1, 0));
        for answer in futures_util::future::join_all(calls).await {
            answer.unwrap();
        }
    };
    let sessions = r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Authenticate",grpc_service="etcdserverpb.Auth",grpc_type="unary"}"#;
    calls().await;
    assert_eq!(cluster.metric(0, sessions).await, Some(1.0));
    // The deletion of the user ends its session.
    for command in
        ["user delete portolan", "user add portolan:pass-word", "user grant-role portolan registry"]
    {
        let root = ["--user", "root:secret"].into_iter();
        cluster.etcdctl(&root.chain(command.split(' ')).collect::<Vec<_>>());
    }
    let before = cluster.metric(0, sessions).await.unwrap();
    calls().await;
    assert_eq!(cluster.metric(0, sessions).await, Some(before + 1.0));
}

#[tokio::test]
async fn user_with_a_role_on_the_prefix_is_authenticated() {
    let mut cluster = Cluster::start(1).await;
    let plain = config(&cluster);
    enable_authentication(&cluster, &format!("{}/", plain.etcd.prefix));
    let directory = tempfile::tempdir().unwrap();
    let with_password = |password: &str| {
        let file = directory.path().join(password);
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let (username, password_file) = (Some("portolan".to_owned()), Some(file));
        let etcd = EtcdConfig { username, password_file, ..plain.etcd.clone() };
        RegistryConfig { etcd, ..plain.clone() }
    };
    for denied in [&plain, &with_password("wrong")] {
        let server = Server::begin(denied);
        let error = server.register(&registration("api", 1)).await.unwrap_err().to_string();
        assert!(error.contains("etcd denied the access: "), "{error}");
        assert!(error.contains("set service_registry.etcd.username and password_file"), "{error}");
    }
    let config = with_password("pass-word");
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    server.register(&brief("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    // etcd forgets the tokens of its sessions when it ends.
    cluster.kill(0);
    cluster.restart(0);
    let web = registration("api", 2);
    accepted(|| server.register(&web)).await;
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    // A prefix to which the role has no access.
    let etcd = EtcdConfig { prefix: "/other".to_owned(), ..config.etcd.clone() };
    let server = Server::begin(&RegistryConfig { etcd, ..config });
    let error = server.register(&registration("api", 1)).await.unwrap_err().to_string();
    assert!(error.contains("etcd denied the access: "), "{error}");
}

#[tokio::test]
async fn certificates_of_both_sides_are_checked() {
    let (cluster, certificates) = Cluster::start_with_tls().await;
    let plain = config(&cluster);
    let with_tls = |tls: crate::StoreTlsConfig| {
        let etcd = EtcdConfig { tls, ..plain.etcd.clone() };
        RegistryConfig { etcd, ..plain.clone() }
    };
    let server = Server::start(&with_tls(certificates.settings())).await;
    let mut watch = server.watch().await;
    server.register(&registration("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");

    let other = tempfile::tempdir().unwrap();
    let other = Certificates::create(other.path()).settings();
    let without = crate::StoreTlsConfig { certificate: None, key: None, ..certificates.settings() };
    let foreign = crate::StoreTlsConfig { ca: other.ca, ..certificates.settings() };
    // etcd refuses a client after the handshake; how the client learns of it depends on the moment.
    for (tls, expected) in [(without, ""), (foreign, "invalid peer certificate")] {
        let server = Server::begin(&with_tls(tls));
        let error = server.register(&registration("api", 1)).await.unwrap_err().to_string();
        assert!(error.contains("is unreachable: ") && error.contains(expected), "{error}");
    }
}
