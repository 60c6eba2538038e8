//! The gRPC check: the standard protocol, `grpc.health.v1.Health/Check`.

#[cfg(feature = "grpc")]
mod call;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host, quoted};

use super::address::CheckAddress;
use crate::tls::{SERVER_NAME, TlsUse};
use crate::{Check, CheckInput, CheckKind, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "grpc",
    forms: &["grpc", "grpc:HOST:PORT"],
    url_form: Some("grpc://HOST:PORT"),
    options: &["service"],
    parse: |input| parse(input, false),
};

pub(super) const SECURE: CheckKind = CheckKind {
    name: "grpcs",
    forms: &["grpcs", "grpcs:HOST:PORT"],
    url_form: Some("grpcs://HOST:PORT"),
    options: &["service", SERVER_NAME],
    parse: |input| parse(input, true),
};

/// The maximum length of the name of a service, in bytes.
const MAX_NAME: usize = 256;

/// Asks for the health of a service of the server, or of the server as a whole.
#[derive(Debug)]
struct Grpc {
    address: CheckAddress,
    service: String,
    tls: Option<TlsUse>,
}

/// What a server answers.
#[derive(Debug)]
#[cfg_attr(not(feature = "grpc"), allow(dead_code, reason = "no check is parsed in this build"))]
enum Answer {
    /// The number of a `ServingStatus`.
    Status(i32),
    /// The server does not know the service.
    UnknownService,
    /// The server does not have the protocol.
    Unimplemented,
    /// The call failed; the reason of the server or the library is for this program's own checks only.
    Failed(String),
    /// The certificate does not count.
    Untrusted(String),
    /// The call could not be made, which says nothing about the instance.
    NotChecked(String),
}

fn parse(input: &mut CheckInput<'_>, is_secure: bool) -> Result<Arc<dyn Check>, String> {
    if !cfg!(feature = "grpc") {
        return Err("gRPC is not built into this version: install a release of Portolan, or build it with `cargo build --release \
                    -p portolan-cli --features full`"
            .to_owned());
    }
    let address = CheckAddress::parse(input.value)?;
    let tls = if is_secure { Some(TlsUse::parse(input.options)?) } else { None };
    let service = input.options.text("service").unwrap_or_default().to_owned();
    if service.len() > MAX_NAME {
        return Err(format!("service: {} is longer than {MAX_NAME} bytes", quoted(&service)));
    }
    Ok(Arc::new(Grpc { address, service, tls }))
}

impl Check for Grpc {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        self.run(target).boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        let scheme = if self.tls.is_some() { "grpcs" } else { "grpc" };
        Some(self.address.url(scheme, host, port))
    }
}

impl Grpc {
    async fn run(&self, target: &Target) -> HealthReport {
        let stream = match self.address.connect(target).await {
            Ok(connected) => connected.stream,
            Err(failure) => return failure,
        };
        let answer = self.call(stream, target).await;
        let (status, meaning) = self.meaning_of(&answer, target.reach.is_restricted());
        HealthReport::new(status, format!("{}: {meaning}", self.address.on(target)))
    }

    fn meaning_of(&self, answer: &Answer, is_restricted: bool) -> (HealthStatus, String) {
        let of = match self.service.as_str() {
            "" => "the server".to_owned(),
            service => format!("the service {service}"),
        };
        match answer {
            Answer::Status(1) => (HealthStatus::Passing, format!("{of} is SERVING")),
            Answer::Status(2) => (HealthStatus::Critical, format!("{of} is NOT_SERVING")),
            Answer::Status(_) => (HealthStatus::Critical, format!("the status of {of} is unknown")),
            Answer::UnknownService => {
                (HealthStatus::Critical, format!("the server does not know the health of {of}"))
            }
            Answer::Unimplemented => (
                HealthStatus::Critical,
                "the server does not implement grpc.health.v1.Health".to_owned(),
            ),
            Answer::Failed(_) if is_restricted => {
                (HealthStatus::Critical, "the gRPC call failed".to_owned())
            }
            Answer::Failed(reason) => {
                (HealthStatus::Critical, format!("the gRPC call failed: {reason}"))
            }
            Answer::Untrusted(reason) => (HealthStatus::Critical, reason.clone()),
            Answer::NotChecked(reason) => (HealthStatus::Unknown, reason.clone()),
        }
    }

    /// Never called, because no check is parsed.
    #[cfg(not(feature = "grpc"))]
    async fn call(&self, _: tokio::net::TcpStream, _: &Target) -> Answer {
        Answer::Unimplemented
    }
}

#[cfg(test)]
mod tests;
