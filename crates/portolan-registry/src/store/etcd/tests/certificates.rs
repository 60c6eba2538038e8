//! How etcd and its clients are given certificates.

use portolan_etcd::{EtcdOptions, EtcdTls};

use crate::store::remote::certificates::Certificates;

impl Certificates {
    pub(super) fn options(&self) -> EtcdOptions {
        let read = |name: &str| std::fs::read(self.directory.join(name)).unwrap();
        let tls = EtcdTls {
            ca: Some(read("ca.pem")),
            identity: Some((read("own.pem"), read("own.key"))),
        };
        EtcdOptions { tls, ..EtcdOptions::default() }
    }

    /// The arguments of etcd.
    pub(super) fn of_members(&self) -> Vec<String> {
        let files = self.arguments(["--cert-file", "--key-file", "--trusted-ca-file"]);
        files.into_iter().chain(["--client-cert-auth".to_owned()]).collect()
    }

    /// The arguments of etcdctl.
    pub(super) fn of_etcdctl(&self) -> Vec<String> {
        self.arguments(["--cert", "--key", "--cacert"])
    }

    fn arguments(&self, names: [&str; 3]) -> Vec<String> {
        let files = ["own.pem", "own.key", "ca.pem"];
        let path = |name: &str| self.directory.join(name).display().to_string();
        let pair = |(name, file): (&str, &str)| [name.to_owned(), path(file)];
        names.into_iter().zip(files).flat_map(pair).collect()
    }
}
