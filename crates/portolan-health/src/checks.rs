//! The built-in kinds of health check. A new one is a file here and a row in [`BUILT_IN`].

mod address;
mod command;
pub(crate) mod composite;
mod grpc;
mod http;
mod postgres;
mod process;
mod redis;
mod tcp;
mod ttl;

use crate::CheckKind;

/// The built-in kinds, in the order in which help and errors list them.
#[rustfmt::skip]
pub(crate) const BUILT_IN: &[CheckKind] = &[
    tcp::KIND,
    http::KIND,
    http::HTTPS,
    grpc::KIND,
    grpc::SECURE,
    postgres::KIND,
    redis::KIND,
    command::KIND,
    process::KIND,
    ttl::KIND,
    composite::ALL,
    composite::ANY,
];
