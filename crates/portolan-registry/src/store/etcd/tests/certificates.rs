//! Certificates for tests, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use portolan_etcd::{EtcdOptions, EtcdTls};

use crate::StoreTlsConfig;

/// An authority, and a certificate of it for both members and clients at 127.0.0.1.
pub(super) struct Certificates {
    directory: PathBuf,
}

// === impl Certificates ===

impl Certificates {
    pub(super) fn create(directory: &Path) -> Self {
        let extensions = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";
        std::fs::write(directory.join("extensions"), extensions).unwrap();
        let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj";
        for arguments in [
            &format!("{new} /CN=authority -x509 -days 2 -keyout ca.key -out ca.pem"),
            &format!("{new} /CN=portolan -keyout own.key -out own.csr"),
            "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out own.pem \
             -extfile extensions",
        ] {
            let arguments = arguments.split_whitespace();
            let output = Command::new("openssl").args(arguments).current_dir(directory).output();
            let output = output.unwrap_or_else(|error| {
                panic!("{error}: openssl is missing; run `apt-get install openssl`")
            });
            assert!(output.status.success(), "{output:?}");
        }
        Self { directory: directory.to_owned() }
    }

    /// The settings of a registry.
    pub(super) fn settings(&self) -> StoreTlsConfig {
        let file = |name: &str| Some(self.directory.join(name));
        StoreTlsConfig { ca: file("ca.pem"), certificate: file("own.pem"), key: file("own.key") }
    }

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
