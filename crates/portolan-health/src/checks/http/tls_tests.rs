use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Registration, TlsConfig, Ttl};
use portolan_tls::{Authority, ClientCertificates, Purpose, Request, ServerTls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tls::CheckTls;
use crate::{CheckReach, CheckSpec, RegistrantReach};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority in a directory of its own.
struct Setup {
    directory: TempDir,
    authority: Authority,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(directory.path(), "test", DAY).unwrap();
        Self { directory, authority }
    }

    fn issue(&mut self, subject: &str, lasts: Duration) -> TlsConfig {
        let request = Request {
            name: subject.to_owned(),
            subjects: vec![subject.to_owned()],
            purpose: Purpose::Server,
            lasts,
        };
        let (certificate, key) = self.authority.issue(&request).unwrap();
        let (certificate, key) = (Some(certificate), Some(key));
        TlsConfig { certificate, key, ..TlsConfig::default() }
    }

    fn trusted(&self) -> TlsConfig {
        TlsConfig { ca: Some(self.authority.certificate()), ..TlsConfig::default() }
    }
}

/// Answers every request, until the end of the test.
async fn serve(config: TlsConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = ServerTls::load(config, ClientCertificates::Optional).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = server.acceptor().accept(stream).await else { continue };
            let mut request = [0; 1024];
            _ = stream.read(&mut request).await;
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            _ = stream.shutdown().await;
        }
    });
    address
}

async fn run(text: &str, address: SocketAddr, tls: TlsConfig) -> (HealthStatus, String) {
    run_within(CheckReach::Anywhere, text, address, tls).await
}

async fn run_within(
    reach: CheckReach,
    text: &str,
    address: SocketAddr,
    tls: TlsConfig,
) -> (HealthStatus, String) {
    let host = address.ip().to_string().parse().unwrap();
    let registration = Registration::new("api".parse().unwrap(), host, address.port());
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
    let target = Target::within(endpoint, reach, Arc::new(CheckTls::new(tls)));
    let report = text.parse::<CheckSpec>().unwrap().check().unwrap().check(&target).await;
    (report.status, report.reason)
}

#[tokio::test]
async fn server_of_a_trusted_authority_passes() {
    let mut setup = Setup::new();
    let by_address = serve(setup.issue("127.0.0.1", DAY)).await;
    let (status, reason) = run("https:/health", by_address, setup.trusted()).await;
    assert_eq!((status, reason.as_str()), (HealthStatus::Passing, "GET /health: 200 OK"));
    let by_name = serve(setup.issue("api.example.org", DAY)).await;
    let text = "https:/#server_name=api.example.org";
    assert_eq!(run(text, by_name, setup.trusted()).await.0, HealthStatus::Passing);
}

#[tokio::test]
async fn certificate_that_does_not_count_is_critical_and_says_why() {
    let mut setup = Setup::new();
    let good = serve(setup.issue("127.0.0.1", DAY)).await;
    let named = serve(setup.issue("api.example.org", DAY)).await;
    let ended = setup.issue("127.0.0.2", Duration::ZERO);
    let ended = serve(ended).await;
    let revoked = setup.issue("127.0.0.3", DAY);
    let revoked = serve(revoked).await;
    setup.authority.revoke("127.0.0.3").unwrap();
    // Certificates end at whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let trusted = TlsConfig { crl: Some(setup.authority.revocations()), ..setup.trusted() };
    let other = Setup::new().trusted_copy(&setup.directory);
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = plain.accept().await.unwrap();
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for (text, address, tls, part) in [
        ("https:/", good, other, "no trusted authority has signed the certificate"),
        (
            "https:/",
            named,
            trusted.clone(),
            "the certificate of the server is not for 127.0.0.1; the option server_name",
        ),
        (
            "https:/#server_name=127.0.0.2",
            ended,
            trusted.clone(),
            "the certificate of the server has expired",
        ),
        (
            "https:/#server_name=127.0.0.3",
            revoked,
            trusted.clone(),
            "the certificate of the server is revoked",
        ),
        ("https:/", plain_address, trusted.clone(), "the TLS handshake failed: "),
    ] {
        let (status, reason) = run(text, address, tls).await;
        assert_eq!(status, HealthStatus::Critical, "{reason}");
        assert!(reason.contains(part), "{part}: {reason}");
    }
    // The names in the certificate are not told to clients of a registry.
    let reach = RegistrantReach::new(Some("127.0.0.1".parse().unwrap()), [].into());
    let reach = CheckReach::Registrant(reach);
    let (_, reason) = run_within(reach.clone(), "https:/", named, trusted.clone()).await;
    assert!(!reason.contains("api.example.org"), "{reason}");
    let (_, reason) = run_within(reach, "https:/", plain_address, trusted).await;
    assert!(reason.ends_with("the TLS handshake failed"), "{reason}");
}

#[tokio::test]
async fn authority_that_cannot_be_read_says_nothing_about_the_instance() {
    let mut setup = Setup::new();
    let address = serve(setup.issue("127.0.0.1", DAY)).await;
    let missing = TlsConfig { ca: Some("/nonexistent/ca.pem".into()), ..TlsConfig::default() };
    let (status, reason) = run("https:/", address, missing).await;
    assert_eq!(status, HealthStatus::Unknown);
    assert!(
        reason.contains("health.tls cannot be used: cannot read /nonexistent/ca.pem"),
        "{reason}"
    );
}

impl Setup {
    /// Trusts this authority by a copy of its certificate in another directory, which outlives this one.
    fn trusted_copy(&self, directory: &TempDir) -> TlsConfig {
        let copy: &Path = &directory.path().join("other-ca.pem");
        std::fs::copy(self.authority.certificate(), copy).unwrap();
        TlsConfig { ca: Some(copy.to_owned()), ..TlsConfig::default() }
    }
}
