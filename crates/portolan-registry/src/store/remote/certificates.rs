//! Certificates for tests, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::StoreTlsConfig;

/// An authority, and a certificate of it for both servers and clients at 127.0.0.1.
pub(crate) struct Certificates {
    pub(crate) directory: PathBuf,
}

// === impl Certificates ===

impl Certificates {
    pub(crate) fn create(directory: &Path) -> Self {
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
    pub(crate) fn settings(&self) -> StoreTlsConfig {
        let file = |name: &str| Some(self.directory.join(name));
        StoreTlsConfig { ca: file("ca.pem"), certificate: file("own.pem"), key: file("own.key") }
    }
}
