//! The channels between the components of a registry server.
//!
//! ```text
//! broadcast channel ---- import ----> registry commands
//! registry events ------ health ----> health monitor --- reports ---> registry commands
//! ```

mod health;
mod import;

use crate::Settings;

pub(crate) use health::health_following;
pub(crate) use import::{Import, ImportSettings};

/// What announcements on the broadcast channel are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelTrust {
    /// They are signed: the channel has a key, and drops all others. The health in them counts.
    Signed,
    /// Anyone on the network can send them: the registry checks the health of their endpoints itself.
    Unsigned,
    /// As above, but the registry requires credentials of those who change it, so they are not imported.
    Refused,
}

// === impl ChannelTrust ===

impl ChannelTrust {
    /// `is_closed`: only the stack of the registry changes its services.
    pub(crate) fn new(settings: &Settings, is_closed: bool) -> Self {
        let requires_credentials = is_closed || settings.requires_credentials();
        if settings.broadcast.is_signed() {
            Self::Signed
        } else if requires_credentials && !settings.service_registry.import_unsigned {
            Self::Refused
        } else {
            Self::Unsigned
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_that_others_may_not_change_imports_signed_announcements_only() {
        let trust = |token: bool, key: bool, import_unsigned: bool, is_closed: bool| {
            let token = token.then(|| "token".into());
            let mut settings = Settings { token, ..Settings::default() };
            settings.broadcast.key = key.then(|| "a key of the channel".into());
            settings.service_registry.import_unsigned = import_unsigned;
            ChannelTrust::new(&settings, is_closed)
        };
        for (token, is_closed) in [(true, false), (false, true)] {
            assert_eq!(trust(token, false, false, is_closed), ChannelTrust::Refused);
            assert_eq!(trust(token, false, true, is_closed), ChannelTrust::Unsigned);
            assert_eq!(trust(token, true, false, is_closed), ChannelTrust::Signed);
        }
        assert_eq!(trust(false, false, false, false), ChannelTrust::Unsigned);
    }
}
