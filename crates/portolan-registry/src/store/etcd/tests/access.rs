//! Prefixes, users and certificates.

use super::*;

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
