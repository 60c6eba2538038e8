//! The public error of the agent.

use std::borrow::Cow;

use portolan_client::RegistryClientError;
use portolan_core::{InvalidRegistration, Remedy, ServiceId};

/// Why an agent could not register or update its service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The registration is invalid. Retrying does not help.
    #[error(transparent)]
    Invalid(#[from] InvalidRegistration),
    /// The registry refused the registration. Retrying does not help.
    #[error(transparent)]
    Registry(#[from] RegistryClientError),
    /// Neither a registry nor a broadcast channel is configured. Retrying does not help.
    #[error(
        "cannot publish {service_id}: neither a registry nor a broadcast channel is configured"
    )]
    NoPublishTarget {
        /// The instance.
        service_id: ServiceId,
    },
    /// The update belongs to another instance. Retrying does not help.
    #[error(
        "the agent of {own} cannot become the agent of {other}: name, scope, host and port are fixed"
    )]
    OtherInstance {
        /// The instance of the agent.
        own: ServiceId,
        /// The instance of the update.
        other: ServiceId,
    },
}

// === impl AgentError ===

impl Remedy for AgentError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Invalid(_) => None,
            Self::Registry(error) => error.remedy(),
            Self::NoPublishTarget { .. } => {
                Some("set discovery.registry_url, or set broadcast.enabled to true".into())
            }
            Self::OtherInstance { .. } => Some("start another agent".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_remedies() {
        let id = |text: &str| -> ServiceId { text.parse().unwrap() };
        let texts = [
            AgentError::Registry(RegistryClientError::InvalidToken),
            AgentError::NoPublishTarget { service_id: id("api@1") },
            AgentError::OtherInstance { own: id("api@1"), other: id("api@2") },
        ]
        .map(|error| format!("{error}\n  remedy: {}", error.remedy().unwrap_or("none".into())));
        insta::assert_snapshot!(texts.join("\n"));
    }
}
