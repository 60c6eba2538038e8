//! The TCP check: passing if a connection is accepted.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host};

use super::address::CheckAddress;
use crate::{Check, CheckKind, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "tcp",
    forms: &["tcp", "tcp:HOST:PORT"],
    url_form: Some("tcp://HOST:PORT"),
    options: &[],
    parse: |input| Ok(Arc::new(Tcp(CheckAddress::parse(input.value)?))),
};

/// Connects and closes the connection.
#[derive(Debug)]
struct Tcp(CheckAddress);

impl Check for Tcp {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        async move {
            match self.0.connect(target).await {
                Ok(_) => {
                    let reason = format!("{} accepts connections", self.0.on(target));
                    HealthReport::new(HealthStatus::Passing, reason)
                }
                Err(failure) => failure,
            }
        }
        .boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        Some(self.0.url("tcp", host, port))
    }
}
