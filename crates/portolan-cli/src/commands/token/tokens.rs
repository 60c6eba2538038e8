//! The tokens of the policies in a file, and of those in the store of a registry.

use std::convert::Infallible;
use std::path::PathBuf;

use portolan_access::{
    InvalidStoredAccess, STORED_POLICIES, StoredTokens, TokenFile, TokenRecord, policies_of,
    stored_policies, stored_tokens, tokens_of,
};
use portolan_client::{RegistryClient, RegistryClientError, SettingsClient, UpdateError};
use portolan_core::{Remedy, Scope, ServiceName};
use portolan_registry::{PolicySource, RegistryConfig};
use portolan_server::{LoadedPolicies, read_policies};
use serde_json::Value;

use crate::context::Context;
use crate::exit::Failure;

/// Where tokens are.
pub(super) enum Tokens {
    File(PathBuf),
    Store(RegistryClient),
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn open(source: PolicySource, context: &Context) -> Result<Self, Failure> {
        Ok(match source {
            PolicySource::File(file) => Self::File(file),
            PolicySource::Store => Self::Store(context.registry()?),
        })
    }

    /// Returns the policies with all tokens.
    pub(super) async fn load(&self) -> Result<LoadedPolicies, Failure> {
        match self {
            Self::File(file) => {
                let policies = Some(PolicySource::File(file.clone()));
                let config = RegistryConfig { policies, ..RegistryConfig::default() };
                Ok(read_policies(&config)?.unwrap_or_default())
            }
            Self::Store(registry) => {
                let policies =
                    document(registry, stored_policies()).await?.ok_or_else(no_policies)?;
                let tokens = document(registry, stored_tokens()).await?;
                let invalid = |error: InvalidStoredAccess| Failure::failed(error.with_remedy());
                Ok(LoadedPolicies {
                    policies: policies_of(Some(&policies)).map_err(invalid)?,
                    tokens: tokens_of(tokens.as_ref()).map_err(invalid)?,
                })
            }
        }
    }

    pub(super) async fn add(&self, record: &TokenRecord) -> Result<(), Failure> {
        match self {
            Self::File(file) => {
                TokenFile::update(file, |tokens| tokens.add(record.clone()))?;
            }
            Self::Store(registry) => {
                // A request whose answer was lost is repeated.
                let add = |tokens: &mut Vec<TokenRecord>| {
                    if !tokens.contains(record) {
                        tokens.push(record.clone());
                    }
                };
                update(registry, add).await?;
            }
        }
        Ok(())
    }

    /// Removes a token. Returns it if there was one.
    pub(super) async fn remove(&self, id: &str) -> Result<Option<TokenRecord>, Failure> {
        match self {
            Self::File(file) => Ok(TokenFile::update(file, |tokens| tokens.remove(id))?),
            Self::Store(registry) => {
                let mut removed = None;
                let remove = |tokens: &mut Vec<TokenRecord>| {
                    let index = tokens.iter().position(|record| record.id == id);
                    // A repeated request finds it removed.
                    removed = index.map(|index| tokens.remove(index)).or_else(|| removed.take());
                };
                update(registry, remove).await?;
                Ok(removed)
            }
        }
    }
}

async fn document(
    registry: &RegistryClient,
    name: ServiceName,
) -> Result<Option<Value>, RegistryClientError> {
    Ok(settings(registry, name).get().await?.and_then(|found| found.value))
}

/// Changes the tokens in the store by compare-and-set.
async fn update(
    registry: &RegistryClient,
    mut change: impl FnMut(&mut Vec<TokenRecord>),
) -> Result<(), Failure> {
    let settings = settings(registry, stored_tokens());
    let changed = settings.update(|stored: &mut StoredTokens| {
        change(&mut stored.tokens);
        Ok::<_, Infallible>(())
    });
    match changed.await {
        Ok(_) => Ok(()),
        Err(UpdateError::Registry(error)) => Err(error.into()),
        Err(error) => Err(Failure::failed(error)),
    }
}

fn settings(registry: &RegistryClient, name: ServiceName) -> SettingsClient {
    registry.settings(name, Scope::default())
}

fn no_policies() -> Failure {
    Failure::failed("the registry has no policies in its store").remedy(format!(
        "write them first, with `portolan config set {STORED_POLICIES} --file FILE`; docs/access-control.md has an example"
    ))
}
