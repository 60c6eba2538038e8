//! Which settings change at run time.

use crate::path::KeyPath;

/// What a change of a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is applied while the process runs.
    Live {
        /// What applies it.
        by: &'static str,
    },
    /// The same, but only from files, the environment and flags: it is a secret, or names a file of the host.
    LiveFromFiles {
        /// What applies it.
        by: &'static str,
    },
    /// The process must be restarted.
    Restart {
        /// Why.
        reason: &'static str,
    },
}

/// A setting, or a section with all settings below it.
#[derive(Debug, Clone, Copy)]
pub struct SettingRule {
    /// Its path, such as `health` or `logging.level`.
    pub path: &'static str,
    /// What a change takes.
    pub effect: Effect,
}

/// The table of all settings. The longest path decides; a setting that is not in it needs a restart.
#[derive(Debug, Clone, Copy)]
pub struct SettingRules(pub &'static [SettingRule]);

/// The reason for settings that are in no row.
const UNLISTED: &str = "it is read only when the process starts";

// === impl SettingRules ===

impl SettingRules {
    /// Returns what a change of the setting with this path takes.
    pub fn effect(&self, path: &str) -> Effect {
        self.find(&KeyPath::parse(path))
    }

    pub(crate) fn find(&self, path: &KeyPath) -> Effect {
        let matching = self.0.iter().filter_map(|rule| {
            let of_rule = KeyPath::parse(rule.path);
            path.is_within(&of_rule).then_some((of_rule.keys().len(), rule.effect))
        });
        let longest = matching.max_by_key(|(length, _)| *length);
        longest.map_or(Effect::Restart { reason: UNLISTED }, |(_, effect)| effect)
    }
}
