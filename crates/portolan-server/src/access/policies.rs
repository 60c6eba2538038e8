//! The policies of the registry, from a file or from its store.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use portolan_access::{
    AccessFileError, InvalidPolicies, InvalidStoredAccess, Policies, TokenFile, policies_of,
    read_policies_file, tokens_of,
};
use portolan_config_manager::{ConfigError, Loader};
use portolan_core::{FileStamp, Remedy};
use portolan_registry::{PolicySource, RegistryConfig, SettingsRecord};
use tracing::{error, info};

/// Why policies cannot be used. Retrying does not help before a file has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccess {
    /// A file cannot be used.
    #[error("service_registry.policies: {0}")]
    File(#[from] AccessFileError),
    /// The file is not one of policies.
    #[error("service_registry.policies: {0}")]
    Syntax(#[from] ConfigError),
    /// The policies contradict each other.
    #[error("service_registry.policies: {place}: {problem}")]
    Policies {
        /// The file, with the line if it is known.
        place: String,
        /// What is wrong.
        problem: InvalidPolicies,
    },
}

/// Policies as a file has them.
#[derive(Debug, Clone, Default)]
pub struct LoadedPolicies {
    /// The policies and identities.
    pub policies: Policies,
    /// The records of their tokens.
    pub tokens: TokenFile,
}

/// Reads the file with the policies of the registry, as it does when it starts; `None` if it has none.
///
/// # Errors
///
/// A file cannot be used, or the policies are invalid.
pub fn read_policies(config: &RegistryConfig) -> Result<Option<LoadedPolicies>, InvalidAccess> {
    let file = config.policies.as_ref().and_then(PolicySource::file);
    file.map(LoadedPolicies::read).transpose()
}

/// Policies and tokens in the store; `None` until they are known.
#[derive(Debug, Default)]
pub(super) struct StoredAccess {
    policies: Option<Policies>,
    tokens: Option<TokenFile>,
}

/// Policies, and their files as they were when they were read.
#[derive(Debug)]
pub(super) struct FollowedPolicies {
    files: [PathBuf; 2],
    stamp: FileStamp,
    pub(super) loaded: LoadedPolicies,
}

// === impl LoadedPolicies ===

impl LoadedPolicies {
    fn read(file: &Path) -> Result<Self, InvalidAccess> {
        let contents = read_policies_file(file)?;
        let loaded = Loader::<Policies>::new().contents(file, contents).load()?;
        loaded.value.validate().map_err(|problem| {
            let origin = loaded.origins.get(&problem.path()).map(ToString::to_string);
            let place = origin.unwrap_or_else(|| file.display().to_string());
            InvalidAccess::Policies { place, problem }
        })?;
        let tokens = TokenFile::read(&TokenFile::path_beside(file))?;
        Ok(Self { policies: loaded.value, tokens })
    }
}

// === impl StoredAccess ===

impl StoredAccess {
    /// Takes the newest policies.
    pub(super) fn set_policies(
        &mut self,
        record: Option<&SettingsRecord>,
    ) -> Result<(), InvalidStoredAccess> {
        self.policies = Some(policies_of(record.and_then(SettingsRecord::value))?);
        Ok(())
    }

    /// Takes the newest tokens.
    pub(super) fn set_tokens(
        &mut self,
        record: Option<&SettingsRecord>,
    ) -> Result<(), InvalidStoredAccess> {
        self.tokens = Some(tokens_of(record.and_then(SettingsRecord::value))?);
        Ok(())
    }

    /// Returns both, once both are known.
    pub(super) fn loaded(&self) -> Option<(&Policies, &TokenFile)> {
        self.policies.as_ref().zip(self.tokens.as_ref())
    }
}

// === impl FollowedPolicies ===

impl FollowedPolicies {
    pub(super) fn read(file: &Path) -> Result<Self, InvalidAccess> {
        let files = [file.to_owned(), TokenFile::path_beside(file)];
        // Before the files are read, so that a change meanwhile is found later.
        let stamp = FileStamp::of(files.iter().map(PathBuf::as_path));
        Ok(Self { stamp, loaded: LoadedPolicies::read(file)?, files })
    }

    /// Reads the policies and tokens if their files have changed. If they are invalid, what was in force stays so.
    pub(super) fn reload(&mut self) -> bool {
        if !self.stamp.refresh(self.files.iter().map(PathBuf::as_path)) {
            return false;
        }
        match LoadedPolicies::read(&self.files[0]) {
            Ok(loaded) => {
                self.loaded = loaded;
                info!(target: "audit", action = "policies", outcome = "success", "Policies loaded again");
                true
            }
            Err(error) => {
                let error = error.with_remedy();
                error!(%error, "Changed policies not used, the former ones stay in force");
                false
            }
        }
    }
}

// === impl InvalidAccess ===

impl Remedy for InvalidAccess {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::File(error) => error.remedy(),
            Self::Syntax(error) => error.remedy(),
            Self::Policies { problem, .. } => problem.remedy(),
        }
    }
}
