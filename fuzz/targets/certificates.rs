//! The PEM files of TLS, and the names in a certificate of a client. What cannot be used is an error in one line.
//!
//! The first byte chooses the file that the rest replaces; the others are those of an authority.

#![no_main]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portolan_core::TlsConfig;
use portolan_tls::{
    Authority, ClientCertificates, ClientTls, Purpose, Request, ServerTls, client_names,
};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

thread_local! {
    static PLACE: Place = Place::new();
}

struct Place {
    _folder: TempDir,
    config: TlsConfig,
    replaced: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("ca");
        let day = Duration::from_secs(86_400);
        let mut authority = Authority::create(&directory, "fuzz", day).expect("an authority");
        let request = Request {
            name: "registry".to_owned(),
            purpose: Purpose::Server,
            subjects: vec!["127.0.0.1".to_owned()],
            lasts: day,
        };
        let (certificate, key) = authority.issue(&request).expect("a certificate");
        let config = TlsConfig {
            ca: Some(authority.certificate()),
            crl: Some(authority.revocations()),
            certificate: Some(certificate),
            key: Some(key),
        };
        let replaced = folder.path().join("replaced");
        fs::write(&replaced, "").expect("the file");
        fs::set_permissions(&replaced, Permissions::from_mode(0o600)).expect("its mode");
        Self { _folder: folder, config, replaced }
    }

    fn run(&self, which: u8, data: &[u8]) {
        fs::write(&self.replaced, data).expect("the file");
        let mut config = self.config.clone();
        let file = match which % 4 {
            0 => &mut config.ca,
            1 => &mut config.crl,
            2 => &mut config.certificate,
            _ => &mut config.key,
        };
        *file = Some(self.replaced.clone());
        let results = [
            ServerTls::load(config.clone(), ClientCertificates::Optional).map(drop),
            ClientTls::load(config).map(drop),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((which, data)) = data.split_first() else { return };
    PLACE.with(|place| place.run(*which, data));
    let names = client_names(&CertificateDer::from(data));
    assert!(names.len() <= data.len());
});
