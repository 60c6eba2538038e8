//! The names in the certificate of a client.

use tokio_rustls::rustls::pki_types::CertificateDer;

/// Returns the names in the certificate's subjectAltName (RFC 5280, section 4.2.1.6): URIs, such as a SPIFFE ID, then
/// DNS names. The common name does not count, as for servers (RFC 6125).
pub fn client_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let (uris, names) = (certificate.valid_uri_names(), certificate.valid_dns_names());
    uris.chain(names).map(str::to_owned).collect()
}
