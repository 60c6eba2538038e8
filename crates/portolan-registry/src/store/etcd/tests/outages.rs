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
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
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

/// Registers like an agent, which tries again if the store is not available.
async fn register_until_accepted(server: &Server, port: u16) {
    let accepted = async {
        while let Err(error) = server.register(&registration("api", port)).await {
            assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
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
