//! Handshakes between both sides, with certificates of an authority in a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{
    Authority, ClientCertificates, ClientTls, Purpose, Request, ServerTls, TlsError, client_names,
};
use portolan_core::{Remedy, TlsConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority, and where it is.
struct Setup {
    directory: tempfile::TempDir,
    authority: Authority,
}

/// Two authorities of one name would be taken for each other.
fn unique_name() -> String {
    static AUTHORITIES: AtomicU32 = AtomicU32::new(0);
    format!("authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed))
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority =
            Authority::create(&directory.path().join("ca"), &unique_name(), DAY).unwrap();
        Self { directory, authority }
    }

    fn issue(&mut self, name: &str, subject: &str, purpose: Purpose, lasts: Duration) -> TlsConfig {
        let (name, subjects) = (name.to_owned(), vec![subject.to_owned()]);
        let issued = self.authority.issue(&Request { name, subjects, purpose, lasts }).unwrap();
        self.config(Some(issued))
    }

    fn server(&mut self) -> TlsConfig {
        self.issue("server", "localhost", Purpose::Server, DAY)
    }

    fn client(&mut self) -> TlsConfig {
        self.issue("client", "spiffe://example.org/api", Purpose::Client, DAY)
    }

    fn config(&self, identity: Option<(PathBuf, PathBuf)>) -> TlsConfig {
        let (certificate, key) = identity.unzip();
        let crl = Some(self.authority.revocations());
        TlsConfig { ca: Some(self.authority.certificate()), certificate, key, crl }
    }
}

/// Connects, and returns the names in the client's certificate as the server sees them.
async fn connect(
    server: &ServerTls,
    client: Arc<ClientConfig>,
    host: &str,
) -> Result<Vec<String>, String> {
    Ok(shake_hands(server, client, host).await?.0)
}

/// The same, and whether the handshake resumed an earlier session.
async fn shake_hands(
    server: &ServerTls,
    client: Arc<ClientConfig>,
    host: &str,
) -> Result<(Vec<String>, HandshakeKind), String> {
    let (near, far) = tokio::io::duplex(16 << 10);
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let client = async {
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        // The server verifies the client after the client has finished.
        stream.write_all(b"?").await?;
        stream.read_u8().await
    };
    let server = async {
        let mut stream = server.acceptor().accept(far).await?;
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        let session = stream.get_ref().1;
        let first = session.peer_certificates().and_then(<[_]>::first).map(client_names);
        std::io::Result::Ok((first.unwrap_or_default(), session.handshake_kind().unwrap()))
    };
    let (client, server) = tokio::join!(client, server);
    client.map_err(|error| error.to_string())?;
    server.map_err(|error| error.to_string())
}

fn client_config(config: TlsConfig) -> Arc<ClientConfig> {
    ClientTls::load(config).unwrap().1
}

#[tokio::test]
async fn client_with_a_certificate_is_known_by_the_names_in_it() {
    let mut setup = Setup::new();
    let server = ServerTls::load(setup.server(), ClientCertificates::Required).unwrap();
    let client = client_config(setup.client());
    let names = connect(&server, client, "localhost").await.unwrap();
    assert_eq!(names, ["spiffe://example.org/api"]);
}

#[tokio::test]
async fn certificates_that_do_not_count_are_rejected() {
    let mut setup = Setup::new();
    let own = setup.server();
    let server = ServerTls::load(own.clone(), ClientCertificates::Required).unwrap();
    let without = client_config(setup.config(None));
    let for_servers = client_config(own.clone());
    let ended = setup.issue("ended", "api", Purpose::Client, Duration::ZERO);
    // Certificates end at whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut other = Setup::new();
    let foreign = TlsConfig { ca: own.ca.clone(), ..other.client() };
    let clients = [without, for_servers, client_config(ended), client_config(foreign)];
    for (client, expected) in clients.into_iter().zip([
        "received fatal alert: CertificateRequired",
        "received fatal alert: UnsupportedCertificate",
        "received fatal alert: CertificateExpired",
        "received fatal alert: UnknownCA",
    ]) {
        assert_eq!(connect(&server, client, "localhost").await.unwrap_err(), expected);
    }
    // The client checks the server as well: another authority, another host.
    let distrusts = client_config(TlsConfig { ca: other.config(None).ca, ..setup.client() });
    let error = connect(&server, distrusts, "localhost").await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let error = connect(&server, client_config(setup.client()), "example.org").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn certificate_of_a_client_is_verified_in_every_handshake() {
    let mut setup = Setup::new();
    let server = ServerTls::load(setup.server(), ClientCertificates::Optional).unwrap();
    let client = client_config(setup.client());
    for _ in 0..3 {
        let (names, kind) = shake_hands(&server, Arc::clone(&client), "localhost").await.unwrap();
        assert_eq!((names.len(), kind), (1, HandshakeKind::Full));
    }
    // Without certificates there is nothing that could have ended.
    let open = ServerTls::load(
        TlsConfig { ca: None, crl: None, ..setup.server() },
        ClientCertificates::Optional,
    );
    let (open, anonymous) = (open.unwrap(), client_config(setup.config(None)));
    shake_hands(&open, Arc::clone(&anonymous), "localhost").await.unwrap();
    let (_, kind) = shake_hands(&open, anonymous, "localhost").await.unwrap();
    assert_eq!(kind, HandshakeKind::Resumed);
}

#[tokio::test]
async fn revoked_certificate_is_rejected_once_the_list_is_written() {
    let mut setup = Setup::new();
    let server = ServerTls::load(setup.server(), ClientCertificates::Required).unwrap();
    let client = client_config(setup.client());
    connect(&server, Arc::clone(&client), "localhost").await.unwrap();
    setup.authority.revoke("client").unwrap();
    let error = loop {
        if let Err(error) = connect(&server, Arc::clone(&client), "localhost").await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(error, "received fatal alert: CertificateRevoked");
    // A new one of the same name is not revoked.
    connect(&server, client_config(setup.client()), "localhost").await.unwrap();
    let again = setup.authority.revoke("unknown").unwrap_err();
    assert_eq!(again, TlsError::UnknownCertificate("unknown".into()));
}

#[tokio::test]
async fn changed_files_are_used_and_invalid_ones_are_not() {
    let mut setup = Setup::new();
    let config = setup.server();
    let server = ServerTls::load(config.clone(), ClientCertificates::Optional).unwrap();
    let client = client_config(setup.config(None));
    fs::write(config.certificate.as_ref().unwrap(), "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    connect(&server, Arc::clone(&client), "localhost").await.unwrap();
    // The server moved.
    setup.issue("server", "registry.example.org", Purpose::Server, DAY);
    while connect(&server, Arc::clone(&client), "registry.example.org").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn replaced_settings_are_used_by_later_connections_and_unusable_ones_are_not() {
    let mut setup = Setup::new();
    let server = ServerTls::load(setup.server(), ClientCertificates::Optional).unwrap();
    let (anyone, client) = (client_config(setup.config(None)), client_config(setup.client()));
    connect(&server, Arc::clone(&anyone), "localhost").await.unwrap();

    let missing = TlsConfig { certificate: Some("/nowhere".into()), ..setup.server() };
    server.replace(missing, ClientCertificates::Optional).unwrap_err();
    connect(&server, Arc::clone(&anyone), "localhost").await.unwrap();

    let other = setup.issue("other", "registry.example.org", Purpose::Server, DAY);
    server.replace(other, ClientCertificates::Required).unwrap();
    connect(&server, anyone, "registry.example.org").await.unwrap_err();
    connect(&server, Arc::clone(&client), "localhost").await.unwrap_err();
    connect(&server, client, "registry.example.org").await.unwrap();
}

#[test]
fn client_follows_its_files() {
    let mut setup = Setup::new();
    let (mut client, _) = ClientTls::load(setup.client()).unwrap();
    assert!(client.changed().is_none());
    setup.client();
    let mut changed = None;
    while changed.is_none() {
        std::thread::sleep(Duration::from_millis(50));
        changed = client.changed();
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let mut setup = Setup::new();
    let config = setup.server();
    let directory = setup.directory.path().to_owned();
    let file = |name: &str| Some(directory.join(name));
    fs::write(directory.join("empty.pem"), "").unwrap();
    set_mode(&directory.join("empty.pem"), 0o600);
    let open = directory.join("open.key");
    fs::copy(config.key.as_ref().unwrap(), &open).unwrap();
    set_mode(&open, 0o644);
    let server = |config: &TlsConfig| ServerTls::load(config.clone(), ClientCertificates::Optional);
    let other_key = setup.client().key;
    let errors = [
        server(&TlsConfig::default()),
        server(&TlsConfig { key: None, ..config.clone() }),
        server(&TlsConfig { certificate: None, ..config.clone() }),
        server(&TlsConfig { certificate: file("none.pem"), ..config.clone() }),
        server(&TlsConfig { certificate: file("empty.pem"), ..config.clone() }),
        server(&TlsConfig { key: file("empty.pem"), ..config.clone() }),
        server(&TlsConfig { key: Some(open), ..config.clone() }),
        server(&TlsConfig { key: other_key, ..config.clone() }),
        server(&TlsConfig { ca: file("empty.pem"), ..config.clone() }),
        server(&TlsConfig { crl: file("empty.pem"), ..config.clone() }),
        ServerTls::load(TlsConfig { ca: None, ..config.clone() }, ClientCertificates::Required),
    ];
    let texts = errors.map(|error| error.unwrap_err().with_remedy()).join("\n");
    insta::assert_snapshot!(texts.replace(directory.to_str().unwrap(), "DIR"));
}

#[test]
fn authority_refuses_names_that_mean_something_else() {
    let mut setup = Setup::new();
    let exists = Authority::create(&setup.directory.path().join("ca"), "test", DAY).unwrap_err();
    let mut issue = |name: &str, subject: &str| {
        let (name, subjects) = (name.to_owned(), vec![subject.to_owned()]);
        let request = Request { name, subjects, purpose: Purpose::Server, lasts: DAY };
        setup.authority.issue(&request).unwrap_err()
    };
    let errors = [
        exists,
        issue("ca", "localhost"),
        issue("../x", "localhost"),
        issue("api", "a b"),
        issue("api", "a..b"),
        issue("api", "bücher.example"),
    ];
    let texts = errors.map(|error| error.with_remedy());
    let directory = setup.directory.path().to_str().unwrap();
    insta::assert_snapshot!(texts.join("\n").replace(directory, "DIR"));
}

#[test]
fn keys_can_be_read_by_their_owner_only() {
    let mut setup = Setup::new();
    let key = setup.server().key.unwrap();
    let ca = setup.directory.path().join("ca");
    for file in [key, ca.join("ca.key"), ca.join("issued.json")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&ca), 0o700);
    let reopened = Authority::open(&ca).unwrap();
    assert_eq!(reopened.issued(), setup.authority.issued());
    assert_eq!(reopened.issued().len(), 1);
}

fn mode(file: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}
