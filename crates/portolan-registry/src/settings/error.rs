//! Why settings of a service cannot be read or changed.

use std::borrow::Cow;

use portolan_access::{Denied, InvalidStoredAccess};
use portolan_core::Remedy;

use super::record::SettingsKey;
use crate::RegistryError;

/// Why settings of a service cannot be read or were not changed. Except for [`Self::Store`], nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The sender lacks a right. Do not retry.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The service has no settings. Do not retry.
    #[error("{key} has no settings")]
    Unknown {
        /// Whose settings.
        key: SettingsKey,
    },
    /// The version is not kept, or has no value. Do not retry.
    #[error("{key} has no version {version} of its settings{}", kept_text(kept))]
    UnknownVersion {
        /// Whose settings.
        key: SettingsKey,
        /// The requested version.
        version: u64,
        /// The versions with a value that are kept.
        kept: Vec<u64>,
    },
    /// The settings have another version than expected. Read them again, and decide again.
    #[error("the settings of {key} have the version {current}, not {expected}")]
    Conflict {
        /// Whose settings.
        key: SettingsKey,
        /// The expected version.
        expected: u64,
        /// The newest version; 0 if there is none.
        current: u64,
    },
    /// It is not a JSON object. Do not retry.
    #[error("{what} is {found}, expected an object")]
    NotAnObject {
        /// What is not one.
        what: &'static str,
        /// What it is instead.
        found: &'static str,
    },
    /// It is too large. Do not retry.
    #[error("{what} has {bytes} bytes of JSON, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It is nested too deeply. Do not retry.
    #[error("{what} is nested more than {limit} levels deep")]
    TooDeep {
        /// What is nested too deeply.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The value does not meet the schema. Do not retry.
    #[error("the value does not meet the schema of {key}: {}", violations_text(violations, *more))]
    Schema {
        /// Whose settings.
        key: SettingsKey,
        /// The first problems.
        violations: Vec<SchemaViolation>,
        /// How many there are besides.
        more: usize,
    },
    /// It is not a JSON Schema that can be used. Do not retry.
    #[error("the schema cannot be used: {problem}")]
    InvalidSchema {
        /// What is wrong with it.
        problem: String,
    },
    /// This build has no validator. Do not retry.
    #[error("this build of portolan cannot validate by JSON Schema")]
    NoValidator,
    /// A function of the program that runs the registry does not agree. Do not retry.
    #[error("{by} refuses the change of the settings of {key}: {reason}")]
    Veto {
        /// Whose settings.
        key: SettingsKey,
        /// Who refuses it.
        by: String,
        /// Why.
        reason: String,
    },
    /// The policies or tokens of the registry would be invalid. Do not retry.
    #[error("the access control of the registry cannot be so: {0}")]
    AccessControl(#[from] InvalidStoredAccess),
    /// A record that was not made by this version. Do not retry.
    #[error("the versions of the settings of {key} are not in order, or too long")]
    InvalidRecord {
        /// Whose settings.
        key: SettingsKey,
    },
    /// As many services have settings as can have.
    #[error("{limit} services have settings, the limit")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The store keeps no settings. Do not retry.
    #[error("the store {store} keeps no settings of services")]
    NotKept {
        /// The store, by its name in `service_registry.storage_backend`.
        store: &'static str,
    },
    /// The store cannot be used at the moment; whether the change was made is unknown unless the error says so.
    #[error(transparent)]
    Store(#[from] RegistryError),
}

/// A part of a value that does not meet the schema.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SchemaViolation {
    /// The part, as a JSON pointer (RFC 6901); empty for the value as a whole.
    pub pointer: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Remedy for SettingsError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Denied(denied) => return denied.remedy(),
            Self::AccessControl(problem) => return problem.remedy(),
            Self::Store(error) => return error.remedy(),
            Self::Unknown { .. } => "set them with `portolan config set`",
            Self::UnknownVersion { .. } => "choose one that `portolan config history` shows",
            Self::Conflict { .. } => {
                "read the settings again, and repeat the change on that version"
            }
            Self::NotAnObject { .. } => "send a JSON object, such as {\"workers\": 4}",
            Self::TooLarge { .. } => "keep large data elsewhere, and its address in the settings",
            Self::TooDeep { .. } => "nest it less",
            Self::Schema { .. } => "correct the value, or change the schema first",
            Self::InvalidSchema { .. } => "correct the schema",
            Self::NoValidator => {
                "use a registry that is built with the feature `full`, as releases are"
            }
            Self::Veto { .. } => "change the value as the reason says",
            Self::InvalidRecord { .. } => "export again",
            Self::Full { .. } => "keep settings of several services under one name",
            Self::NotKept { .. } => "set service_registry.storage_backend to memory or etcd",
        };
        Some(remedy.into())
    }
}

fn kept_text(kept: &[u64]) -> String {
    match kept {
        [] => String::new(),
        [one] => format!(", only {one} is kept"),
        [first, .., last] => format!(", {} of {first} to {last} are kept", kept.len()),
    }
}

fn violations_text(violations: &[SchemaViolation], more: usize) -> String {
    let text = |violation: &SchemaViolation| match violation.pointer.as_str() {
        "" => violation.problem.clone(),
        pointer => format!("{pointer}: {}", violation.problem),
    };
    let texts: Vec<_> = violations.iter().map(text).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", texts.join(", "))
}
