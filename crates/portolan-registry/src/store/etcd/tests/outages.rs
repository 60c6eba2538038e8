//! Members that are killed, history that is compacted, and clusters that are unreachable.

use portolan_core::Change;

use super::*;

#[tokio::test]
async fn unreachable_cluster_is_reported_and_the_server_recovers() {
    let mut cluster = Cluster::start(1).await;
    let config = config(&cluster);
    cluster.kill(0);
    let server = Server::begin(&config);
    let error = server.register(&registration("api", 1)).await.unwrap_err();
    let RegistryError::Unavailable { store: "etcd", reason } = &error else { panic!("{error}") };
    assert!(reason.contains("Connection refused"), "{reason}");
    assert!(reason.contains("check that etcd runs at service_registry.etcd.endpoints"), "{reason}");
    assert_eq!(server.registry.status(), RegistryStatus::Stale);

    cluster.restart(0);
    server.wait_for(RegistryStatus::Ready).await;
    let mut watch = server.watch().await;
    server.register(&registration("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");

    // Reads go on without etcd, and the watch without a gap once it is back.
    cluster.kill(0);
    server.wait_for(RegistryStatus::Stale).await;
    let error = server.register(&registration("api", 2)).await.unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    assert_eq!(server.registry.list().len(), 1);
    cluster.restart(0);
    server.wait_for(RegistryStatus::Ready).await;
    server.register(&registration("api", 3)).await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!((event.change.kind(), event.change.endpoint().unwrap().port), ("registered", 3));
}

#[tokio::test]
async fn killed_member_of_three_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    let mut port = 0;
    for member in 0..3 {
        cluster.kill(member);
        for _ in 0..20 {
            port += 1;
            register_until_accepted(&server, port).await;
        }
        // The next member is killed once this one serves again.
        cluster.restart_and_wait(member).await;
    }
    for port in 1..=port {
        let event = next(&mut watch).await;
        assert_eq!(event.change.kind(), "registered");
        assert_eq!(event.change.endpoint().unwrap().port, port);
    }
    assert_eq!(server.registry.list().len(), usize::from(port));
}

#[tokio::test]
async fn cluster_without_a_majority_ends_no_lease() {
    let mut cluster = Cluster::start(3).await;
    let server = Server::start(&config(&cluster)).await;
    let service =
        Registration { ttl: Some(Ttl::new(2 * Ttl::MIN).unwrap()), ..registration("api", 1) };
    let mut watch = server.watch().await;
    server.register(&service).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    cluster.kill(0);
    cluster.kill(1);
    server.wait_for(RegistryStatus::Stale).await;
    let error = server.register(&registration("api", 2)).await.unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    assert_eq!(server.registry.list().len(), 1, "lookups go on");
    cluster.restart(0);
    cluster.restart(1);
    server.wait_for(RegistryStatus::Ready).await;
    // Its TTL has passed meanwhile, but not the time in which it could be renewed.
    let renewed = async {
        while let Err(error) = server.registry.heartbeat(service.id()).await {
            assert!(is_unavailable(&error), "{error}");
        }
    };
    timeout(PATIENCE, renewed).await.expect("never renewed");
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
}

/// Registers like an agent, which tries again if the store is not available.
async fn register_until_accepted(server: &Server, port: u16) {
    let accepted = async {
        while let Err(error) = server.register(&registration("api", port)).await {
            assert!(is_unavailable(&error), "{error}");
        }
    };
    timeout(PATIENCE, accepted).await.expect("never accepted");
}

#[tokio::test]
async fn compacted_history_continues_with_a_snapshot() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let proxy = proxy::Proxy::start(&cluster.endpoints()[0]).await;
    let etcd = EtcdConfig { endpoints: vec![proxy.url()], ..config.etcd.clone() };
    let server = Server::start(&RegistryConfig { etcd, ..config.clone() }).await;
    let other = Server::start(&config).await;
    let mut watch = server.watch().await;
    other.register(&registration("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");

    let proxy = proxy.stop().await;
    server.wait_for(RegistryStatus::Stale).await;
    let last = other.register(&registration("api", 2)).await.unwrap().endpoint.revision;
    other.registry.deregister(&registration("api", 1).id()).await.unwrap();
    let compacted = (last.0 / 128 + 1).to_string();
    cluster.etcdctl(&["compact", &compacted]);
    let proxy = proxy.start_again().await;
    let event = next(&mut watch).await;
    let Change::Snapshot { endpoints, .. } = &event.change else { panic!("{event:?}") };
    assert_eq!(endpoints.len(), 1);
    assert!(event.revision > last);
    // Without a compaction, the history is read again from where it stopped.
    let proxy = proxy.stop().await;
    server.wait_for(RegistryStatus::Stale).await;
    other.register(&registration("api", 3)).await.unwrap();
    other.register(&registration("api", 4)).await.unwrap();
    let _proxy = proxy.start_again().await;
    for port in [3, 4] {
        let event = next(&mut watch).await;
        assert_eq!(event.change.kind(), "registered");
        assert_eq!(event.change.endpoint().unwrap().port, port);
    }
}

/// 64 metadata entries of the largest size: 80 instances are more than a message may have.
#[tokio::test]
async fn largest_registrations_are_read_and_watched_in_parts() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let proxy = proxy::Proxy::start(&cluster.endpoints()[0]).await;
    let etcd = EtcdConfig { endpoints: vec![proxy.url()], ..config.etcd.clone() };
    let late = Server::start(&RegistryConfig { etcd, ..config.clone() }).await;
    let proxy = proxy.stop().await;
    late.wait_for(RegistryStatus::Stale).await;
    let server = Server::start(&config).await;
    let metadata: portolan_core::Metadata =
        (0..64).map(|number| (format!("key-{number}"), "x".repeat(4096))).collect();
    for port in 1..=80 {
        let metadata = metadata.clone();
        server.register(&Registration { metadata, ..registration("api", port) }).await.unwrap();
    }
    assert_eq!(Server::start(&config).await.registry.list(), server.registry.list());
    let _proxy = proxy.start_again().await;
    late.wait_for(RegistryStatus::Ready).await;
    eventually("all instances", || late.registry.list() == server.registry.list()).await;
}

#[tokio::test]
async fn endpoint_that_hangs_is_given_up_for_the_next_one() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    // Accepts connections, and never answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let endpoints = [vec![url.clone()], cluster.endpoints()].concat();
    let etcd = EtcdConfig { endpoints, ..config.etcd.clone() };
    let server = Server::start(&RegistryConfig { etcd, ..config.clone() }).await;
    server.register(&registration("api", 1)).await.unwrap();
    // Alone, it is reported.
    let etcd = EtcdConfig { endpoints: vec![url.clone()], ..config.etcd.clone() };
    let server = Server::begin(&RegistryConfig { etcd, ..config });
    let error = server.register(&registration("api", 1)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("etcd at {url} did not answer within")), "{error}");
}

#[tokio::test]
async fn keys_that_something_else_deletes_expire_the_instances() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    for count in [3, 200] {
        let all: Vec<_> =
            (1..=count).map(|port| Command::Register(registration("api", port))).collect();
        let outcomes = server.registry.apply(all, CommandOrigin::local()).await;
        assert!(outcomes.iter().all(Result::is_ok));
        for _ in 0..count {
            assert_eq!(next(&mut watch).await.change.kind(), "registered");
        }
        cluster.etcdctl(&["del", "--prefix", &format!("{}/v1/endpoints/", config.etcd.prefix)]);
        // There are not enough revisions for very many at once.
        let expected = if count == 3 { vec!["expired"; 3] } else { vec!["snapshot"] };
        for kind in expected {
            assert_eq!(next(&mut watch).await.change.kind(), kind);
        }
        assert_eq!(server.registry.list(), []);
    }
}

mod proxy {
    //! A TCP proxy in front of etcd, which can be stopped.

    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{JoinHandle, JoinSet};

    pub(super) struct Proxy {
        address: SocketAddr,
        target: String,
        task: JoinHandle<()>,
    }

    pub(super) struct Stopped {
        address: SocketAddr,
        target: String,
    }

    impl Proxy {
        pub(super) async fn start(url: &str) -> Self {
            let target = url.trim_start_matches("http://").to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            Self::serve(listener, target)
        }

        fn serve(listener: TcpListener, target: String) -> Self {
            let address = listener.local_addr().unwrap();
            let to = target.clone();
            let task = tokio::spawn(async move {
                // Dropped with the task, and all connections with it.
                let mut connections = JoinSet::new();
                while let Ok((mut client, _)) = listener.accept().await {
                    let to = to.clone();
                    connections.spawn(async move {
                        let Ok(mut server) = TcpStream::connect(to).await else { return };
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            });
            Self { address, target, task }
        }

        pub(super) fn url(&self) -> String {
            format!("http://{}", self.address)
        }

        pub(super) async fn stop(self) -> Stopped {
            self.task.abort();
            _ = self.task.await;
            Stopped { address: self.address, target: self.target }
        }
    }

    impl Stopped {
        pub(super) async fn start_again(self) -> Proxy {
            let listener = TcpListener::bind(self.address).await.unwrap();
            Proxy::serve(listener, self.target)
        }
    }
}
