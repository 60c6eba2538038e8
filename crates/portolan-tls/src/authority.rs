//! A small certificate authority in a directory: for a laptop, a test network or a few hosts, until there is a real one.
//!
//! | file | contents |
//! | --- | --- |
//! | `ca.pem` | the certificate of the authority, which servers and clients trust |
//! | `ca.key` | its key, mode 0600 |
//! | `crl.pem` | the list of the certificates that it has revoked |
//! | `issued.json` | its name, and what it has issued |
//! | `NAME.pem`, `NAME.key` | an issued certificate and its key, mode 0600 |

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_core::{hex, replace_file};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::TlsError;

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const REVOKED: &str = "crl.pem";
const ISSUED: &str = "issued.json";

/// How long before it was issued a certificate begins: clocks of other hosts may be behind.
const BEFORE: Duration = Duration::from_secs(5 * 60);

/// An authority.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    key: KeyPair,
    register: Register,
}

/// The contents of `issued.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    name: String,
    /// The number of the newest list of revoked certificates.
    crl_number: u64,
    issued: Vec<IssuedCertificate>,
}

/// A certificate that an authority has issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedCertificate {
    /// The name of its files.
    pub name: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// The names and addresses in it.
    pub subjects: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// When it was revoked, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<i64>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A server, at the hosts in it.
    Server,
    /// A client, with the names in it.
    Client,
}

/// What a certificate is to contain.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name of its files.
    pub name: String,
    /// DNS names, IP addresses, and URIs such as `spiffe://example.org/api`.
    pub subjects: Vec<String>,
    /// What it is for.
    pub purpose: Purpose,
    /// How long it is valid.
    pub lasts: Duration,
}

// === impl Authority ===

impl Authority {
    /// Creates an authority in a directory, which is created with mode 0700 if there is none.
    ///
    /// # Errors
    ///
    /// There is one already, or its files cannot be written.
    pub fn create(directory: &Path, name: &str, lasts: Duration) -> Result<Self, TlsError> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        created.map_err(|error| TlsError::file("create", directory, &error))?;
        let key = KeyPair::generate().map_err(TlsError::library)?;
        let mut own = authority_params(name);
        (own.not_before, own.not_after) = validity(lasts);
        let certificate = own.self_signed(&key).map_err(TlsError::library)?;
        write_new(&directory.join(KEY), key.serialize_pem().as_bytes(), 0o600)?;
        write_new(&directory.join(CERTIFICATE), certificate.pem().as_bytes(), 0o644)?;
        let register = Register { name: name.to_owned(), crl_number: 0, issued: Vec::new() };
        let mut authority = Self { directory: directory.to_owned(), key, register };
        authority.publish_revocations()?;
        Ok(authority)
    }

    /// Opens the authority in a directory.
    ///
    /// # Errors
    ///
    /// There is none, or its files are damaged.
    pub fn open(directory: &Path) -> Result<Self, TlsError> {
        let read = |name: &str| {
            let file = directory.join(name);
            fs::read_to_string(&file).map_err(|error| TlsError::file("read", &file, &error))
        };
        let key = KeyPair::from_pem(&read(KEY)?);
        let key = key.map_err(|error| TlsError::invalid(&directory.join(KEY), error))?;
        let register = serde_json::from_str(&read(ISSUED)?);
        let register =
            register.map_err(|error| TlsError::invalid(&directory.join(ISSUED), error))?;
        Ok(Self { directory: directory.to_owned(), key, register })
    }

    /// The certificate that servers and clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join(CERTIFICATE)
    }

    /// The list of revoked certificates.
    pub fn revocations(&self) -> PathBuf {
        self.directory.join(REVOKED)
    }

    /// What it has issued, oldest first.
    pub fn issued(&self) -> &[IssuedCertificate] {
        &self.register.issued
    }

    /// Issues a certificate. Returns its file and that of its key, in the authority's directory. Files of this name are
    /// replaced: a server that uses them continues with the new ones.
    ///
    /// # Errors
    ///
    /// A name cannot be in a certificate, or the files cannot be written.
    pub fn issue(&mut self, request: &Request) -> Result<(PathBuf, PathBuf), TlsError> {
        check_file_name(&request.name)?;
        let key = KeyPair::generate().map_err(TlsError::library)?;
        let serial = serial_number()?;
        let mut params = params(&request.name);
        params.subject_alt_names =
            request.subjects.iter().map(|name| subject(name)).collect::<Result<_, _>>()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match request.purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        (params.not_before, params.not_after) = validity(request.lasts);
        let certificate = params.signed_by(&key, &self.issuer()).map_err(TlsError::library)?;
        self.register.issued.push(IssuedCertificate {
            name: request.name.clone(),
            serial: hex::encode(&serial),
            subjects: request.subjects.clone(),
            not_after: params.not_after.unix_timestamp(),
            revoked_at: None,
        });
        // Registered first: a certificate that is not in the register could not be revoked.
        self.save()?;
        let file = |extension: &str| self.directory.join(format!("{}.{extension}", request.name));
        let (pem, private) = (file("pem"), file("key"));
        replace(&private, key.serialize_pem().as_bytes(), 0o600)?;
        replace(&pem, certificate.pem().as_bytes(), 0o644)?;
        Ok((pem, private))
    }

    /// Revokes every certificate of a name, and writes the list anew.
    ///
    /// # Errors
    ///
    /// None is left to revoke, or the list cannot be written.
    pub fn revoke(&mut self, name: &str) -> Result<(), TlsError> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut found = false;
        let issued = self.register.issued.iter_mut();
        for certificate in issued.filter(|one| one.name == name && one.revoked_at.is_none()) {
            (certificate.revoked_at, found) = (Some(now), true);
        }
        if !found {
            return Err(TlsError::UnknownCertificate(name.to_owned()));
        }
        self.publish_revocations()
    }

    fn publish_revocations(&mut self) -> Result<(), TlsError> {
        self.register.crl_number += 1;
        self.save()?;
        let revoked = self.register.issued.iter().filter_map(|one| {
            let at = OffsetDateTime::from_unix_timestamp(one.revoked_at?).ok()?;
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&hex::decode::<16>(&one.serial)?),
                revocation_time: at,
                reason_code: None,
                invalidity_date: None,
            })
        });
        // Its end is not checked: a file is not fetched, so that an old one is the newest.
        let (this_update, next_update) = validity(Duration::from_secs(10 * 365 * 24 * 3600));
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(self.register.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer()).and_then(|list| list.pem());
        replace(&self.revocations(), list.map_err(TlsError::library)?.as_bytes(), 0o644)
    }

    fn issuer(&self) -> Issuer<'static, &KeyPair> {
        Issuer::new(authority_params(&self.register.name), &self.key)
    }

    fn save(&self) -> Result<(), TlsError> {
        let text = serde_json::to_vec_pretty(&self.register).map_err(TlsError::library)?;
        replace(&self.directory.join(ISSUED), &text, 0o600)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn validity(lasts: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BEFORE, now + lasts)
}

/// A name in the certificate: an IP address, a URI, or a DNS name.
fn subject(name: &str) -> Result<SanType, TlsError> {
    let invalid = |problem: &str| TlsError::InvalidName {
        name: name.to_owned(),
        problem: problem.to_owned(),
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let text = name.try_into().map_err(|_| invalid("it is not ASCII"))?;
    if name.contains("://") {
        return Ok(SanType::URI(text));
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b))
    };
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(SanType::DnsName(text)),
        false => Err(invalid("expected a DNS name, an IP address or a URI")),
    }
}

fn check_file_name(name: &str) -> Result<(), TlsError> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    let is_own = ["ca", "crl", "issued"].contains(&name);
    match !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain) && !is_own {
        true => Ok(()),
        false => Err(TlsError::InvalidName {
            name: name.to_owned(),
            problem: "it is the name of files: letters, digits, '-', '_', '.' and '@', other than ca, crl \
                      and issued"
                .to_owned(),
        }),
    }
}

/// 127 random bits: positive, as RFC 5280 demands.
fn serial_number() -> Result<[u8; 16], TlsError> {
    let mut serial = [0; 16];
    let random = crate::files::provider().secure_random;
    random.fill(&mut serial).map_err(|_| TlsError::library("no random numbers"))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

fn write_new(file: &Path, contents: &[u8], mode: u32) -> Result<(), TlsError> {
    let mut open = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = open.as_mut().map(|open| open.write_all(contents).and_then(|()| open.sync_all()));
    match written {
        Ok(written) => written.map_err(|error| TlsError::file("write", file, &error)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(TlsError::Exists(file.to_owned()))
        }
        Err(error) => Err(TlsError::file("create", file, error)),
    }
}

fn replace(file: &Path, contents: &[u8], mode: u32) -> Result<(), TlsError> {
    replace_file(file, mode, |mut new| new.write_all(contents))
        .map_err(|error| TlsError::file("write", file, &error))
}
