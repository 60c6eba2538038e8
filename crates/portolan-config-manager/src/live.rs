//! Settings that change while the process runs.
//!
//! A [`ConfigManager`] holds the settings in force as one value with a version. A change comes from the files
//! ([`ConfigManager::reload`]) or from a request ([`ConfigManager::patch`]). It is applied as a whole or not at all: everything is
//! loaded and validated, each changed setting must be one that the [`SettingRules`] call live, and every callback must agree. Only then
//! do the parts that follow [`ConfigManager::follow`] see it.

mod change;
mod control;
mod history;
mod manager;
mod refusal;
mod rules;

pub use change::ChangedSetting;
pub use control::{ConfigControl, ConfigDocument};
pub use history::{Author, HistoryEntry, MAX_HISTORY};
pub use manager::{Applied, ConfigManager, Lock, Unusable, Version, Veto};
pub use refusal::{ChangeRefused, RefusedSetting};
pub use rules::{Effect, SettingRule, SettingRules};

#[cfg(test)]
mod tests;
