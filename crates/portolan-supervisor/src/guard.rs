//! Whether a program starts while a guard holds its port.
//!
//! A guard is a socket that is bound with `SO_REUSEADDR` and never listens. A program that sets
//! the same option (socket(7)) binds beside it; one that does not is refused its own port. So the
//! guard stays for programs that are known to set it, and is let go for the others just before
//! they start. The reservation stays for both.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CommandLine;

/// What to do with the guard when a program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardPolicy {
    /// Hold it for programs that are known to start beside it, release it for the others.
    #[default]
    Auto,
    /// Hold it: no stranger can take the port, and a program without `SO_REUSEADDR` fails.
    Hold,
    /// Release it: every program starts, unless a stranger was faster.
    Release,
}

/// Programs that set `SO_REUSEADDR` on their listeners, by the beginning of their name. Seen with
/// strace, or in the source of the runtime; interpreters are here where their servers all set it.
const BINDS_BESIDE_A_GUARD: [&str; 17] = [
    "postgres",
    "redis-server",
    "valkey-server",
    "nginx",
    "haproxy",
    "node",
    "deno",
    "bun",
    "java",
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "caddy",
    "etcd",
    "consul",
    "prometheus",
    "memcached",
];

/// Modules of Python that set it, where the interpreter itself says nothing.
const PYTHON_MODULES: [&str; 4] = ["http.server", "uvicorn", "gunicorn", "hypercorn"];

/// A text that is none of the policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a guard policy; use auto, hold or release")]
pub struct InvalidGuardPolicy(String);

// === impl GuardPolicy ===

impl GuardPolicy {
    /// Whether the guard is held while this program starts.
    pub fn holds_for(self, command: &CommandLine) -> bool {
        match self {
            Self::Auto => binds_beside_a_guard(command),
            Self::Hold => true,
            Self::Release => false,
        }
    }
}

impl FromStr for GuardPolicy {
    type Err = InvalidGuardPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidGuardPolicy> {
        match text {
            "auto" => Ok(Self::Auto),
            "hold" => Ok(Self::Hold),
            "release" => Ok(Self::Release),
            other => Err(InvalidGuardPolicy(other.chars().take(40).collect())),
        }
    }
}

fn binds_beside_a_guard(command: &CommandLine) -> bool {
    let program = command.program_name();
    match program.starts_with("python") {
        true => command.arguments().iter().any(|word| PYTHON_MODULES.contains(&word.as_str())),
        false => BINDS_BESIDE_A_GUARD.contains(&program),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(command: &str) -> bool {
        GuardPolicy::Auto.holds_for(&command.parse().unwrap())
    }

    #[test]
    fn known_servers_keep_their_guard() {
        assert!(held("/usr/lib/postgresql/15/bin/postgres -p {port}"));
        assert!(held("redis-server --port {port}"));
        assert!(held("python3 -m http.server {port}"));
    }

    #[test]
    fn unknown_programs_start_without_one() {
        assert!(!held("python3 server.py {port}"));
        assert!(!held("sh -c 'exec redis-server'"));
        assert!(!held("postgres-exporter"));
    }

    #[test]
    fn the_user_has_the_last_word() {
        let unknown: CommandLine = "my-server".parse().unwrap();
        let known: CommandLine = "redis-server".parse().unwrap();
        assert!(GuardPolicy::Hold.holds_for(&unknown));
        assert!(!GuardPolicy::Release.holds_for(&known));
    }
}
