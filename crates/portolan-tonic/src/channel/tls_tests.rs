//! Calls over TLS, to a server with a certificate of an authority in a directory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use portolan_client::{DiscoveryClient, DiscoveryConfig};
use portolan_core::TlsConfig;
use portolan_tls::{Authority, Purpose, Request, TlsError};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::Code;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::ServiceChannel;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority, and a server of the service `greeter` whose certificate has the name `greeter.internal`.
struct Setup {
    _directory: tempfile::TempDir,
    authority: Authority,
    address: SocketAddr,
}

impl Setup {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = Authority::create(&directory.path().join("ca"), "test", DAY).unwrap();
        let (name, subjects) = ("greeter".to_owned(), vec!["greeter.internal".to_owned()]);
        let request = Request { name, subjects, purpose: Purpose::Server, lasts: DAY };
        let (certificate, key) = authority.issue(&request).unwrap();
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(certificate).unwrap().collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(chain.unwrap(), key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self { _directory: directory, authority, address }
    }

    /// Calls the health service over a channel that expects this name.
    async fn call(&self, name: &str) -> Result<(), (Code, String)> {
        let ca = Some(self.authority.certificate());
        self.channel()
            .await
            .tls(TlsConfig { ca, ..TlsConfig::default() }, name)
            .unwrap()
            .check()
            .await
    }

    async fn channel(&self) -> ServiceChannel {
        let config = serde_json::json!({
            "endpoints": { "greeter": self.address.to_string() }, "strategies": ["config"],
        });
        let config: DiscoveryConfig = serde_json::from_value(config).unwrap();
        let client: DiscoveryClient = DiscoveryClient::builder().config(config).build().unwrap();
        ServiceChannel::new(client.instances("greeter").await.unwrap()).attempts(1)
    }
}

impl ServiceChannel {
    async fn check(self) -> Result<(), (Code, String)> {
        let answer = HealthClient::new(self).check(HealthCheckRequest::default()).await;
        answer.map(drop).map_err(|status| (status.code(), status.message().to_owned()))
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor) {
    let routes = Routes::new(tonic_health::server::health_reporter().1);
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, routes) = (tls.clone(), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let server = http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), routes).await);
        });
    }
}

#[tokio::test]
async fn instance_with_the_name_is_called_over_tls() {
    Setup::start().await.call("greeter.internal").await.unwrap();
}

#[tokio::test]
async fn instance_with_another_name_or_authority_gets_no_call() {
    let setup = Setup::start().await;
    let (code, message) = setup.call("orders.internal").await.unwrap_err();
    assert_eq!(code, Code::Unavailable);
    assert!(message.contains("TLS to orders.internal"), "{message}");
    let other = Setup::start().await;
    let foreign = Setup { address: setup.address, ..other };
    let (_, message) = foreign.call("greeter.internal").await.unwrap_err();
    assert!(message.contains("TLS to greeter.internal"), "{message}");
    // Without TLS the server does not understand it.
    setup.channel().await.check().await.unwrap_err();
}

#[tokio::test]
async fn name_that_no_certificate_can_have_is_refused() {
    let setup = Setup::start().await;
    let ca = Some(setup.authority.certificate());
    let config = TlsConfig { ca, ..TlsConfig::default() };
    let error = setup.channel().await.tls(config, "not a name").unwrap_err();
    assert!(
        matches!(&error, TlsError::InvalidName { name, .. } if name == "not a name"),
        "{error}"
    );
}
