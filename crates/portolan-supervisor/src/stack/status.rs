//! The status of the instances of a stack.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portolan_core::{DeclaredInstance, DeclaredState, HealthStatus, Scope, ServiceName};
use serde::Serialize;

/// The status of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// The service.
    pub service: ServiceName,
    /// The number of the instance within its service, counted from 1.
    pub instance: u16,
    /// The preferred port; `None` if the service has no port or no preference.
    pub wanted: Option<u16>,
    /// The leased port.
    pub got: Option<u16>,
    /// The lifecycle state.
    pub state: InstanceState,
    /// The health status.
    pub health: HealthStatus,
    /// The needs with the address of each, which is empty if the need is not found yet.
    pub found: BTreeMap<ServiceName, String>,
    /// The process id.
    pub pid: Option<u32>,
    /// The ports on which the program listens in place of its own, if it does not listen on that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_ports: Vec<u16>,
    /// When the instance entered its lifecycle state.
    pub since: Timestamp,
}

/// The lifecycle state of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum InstanceState {
    /// It waits for its needs.
    Waiting,
    /// The program runs and does not listen on its port yet, so that it is not registered.
    Starting,
    /// The program has run for a while and does not listen on its port.
    #[serde(rename = "not_listening")]
    NotListening,
    /// The program runs, and it is registered unless it has no port.
    Running,
    /// The program has ended, and is started again after a delay.
    Restarting {
        /// How it ended.
        reason: String,
        /// The number of the restart, counted from 1.
        attempt: u32,
    },
    /// The program is being stopped.
    Stopping,
    /// The program has exited.
    Exited {
        /// The exit status in the form that shells report.
        code: u8,
    },
    /// The instance could not be started or supervised.
    Failed {
        /// The error.
        reason: String,
        /// The exit status that stands for it.
        #[serde(skip)]
        code: u8,
    },
}

// === impl InstanceStatus ===

impl InstanceStatus {
    /// Creates the status of an instance that has not been started.
    pub(super) fn new(service: &ServiceName, instance: u16, wanted: Option<u16>) -> Self {
        Self {
            service: service.clone(),
            instance,
            wanted,
            got: None,
            state: InstanceState::Waiting,
            health: HealthStatus::Unknown,
            found: BTreeMap::new(),
            pid: None,
            other_ports: Vec::new(),
            since: Timestamp::now(),
        }
    }

    /// Returns the same as a declared instance of a stack, which has no address.
    pub fn declared(&self, scope: &Scope) -> DeclaredInstance {
        let (state, reason) = self.declared_state();
        DeclaredInstance {
            name: self.service.clone(),
            scope: scope.clone(),
            instance: self.instance,
            state,
            reason,
            since: self.since,
            supervisor: std::process::id(),
        }
    }

    fn declared_state(&self) -> (DeclaredState, String) {
        let port = || self.got.map(|port| format!(" on port {port}")).unwrap_or_default();
        match &self.state {
            InstanceState::Waiting => (DeclaredState::Waiting, self.missing_needs()),
            InstanceState::Starting => {
                (DeclaredState::Starting, format!("its program does not listen{} yet", port()))
            }
            InstanceState::NotListening => (
                DeclaredState::NotListening,
                format!("its program runs and does not listen{}{}", port(), self.elsewhere()),
            ),
            InstanceState::Running if self.got.is_none() => {
                (DeclaredState::Portless, String::new())
            }
            InstanceState::Running => (DeclaredState::Ready, String::new()),
            InstanceState::Stopping => (DeclaredState::Stopping, String::new()),
            InstanceState::Restarting { reason, attempt } => {
                (DeclaredState::Crashed, format!("{reason}; restart {attempt} follows"))
            }
            InstanceState::Exited { code: 0 } => (DeclaredState::Completed, String::new()),
            InstanceState::Exited { code } => {
                (DeclaredState::Crashed, format!("exit status {code}"))
            }
            InstanceState::Failed { reason, .. } => (DeclaredState::Failed, reason.clone()),
        }
    }

    fn elsewhere(&self) -> String {
        let ports: Vec<String> = self.other_ports.iter().map(u16::to_string).collect();
        match ports.is_empty() {
            true => String::new(),
            false => format!("; it listens on {}: use {{port}} in its command", ports.join(", ")),
        }
    }

    fn missing_needs(&self) -> String {
        let missing = self.found.iter().filter(|(_, address)| address.is_empty());
        let missing: Vec<&str> = missing.map(|(need, _)| need.as_str()).collect();
        match missing.as_slice() {
            [] => String::new(),
            missing => format!("it needs {}, not found yet", missing.join(", ")),
        }
    }
}

// === impl InstanceState ===

impl InstanceState {
    /// Returns whether the state is terminal.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Failed { .. })
    }

    /// Returns how the program ended.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Exited { code } => format!("exit status {code}"),
            Self::Failed { reason, .. } => reason.clone(),
            _ => String::new(),
        }
    }

    /// Returns the final state of an instance that is stopped before its next start: the stop is no failure.
    pub(super) fn stopped(self) -> Self {
        match self {
            Self::Exited { code } if code != 137 => Self::Exited { code: 0 },
            other => other,
        }
    }

    /// Returns the exit status of an instance that failed.
    pub(super) fn failure_code(&self) -> Option<u8> {
        match self {
            Self::Exited { code } | Self::Failed { code, .. } => Some(*code).filter(|it| *it != 0),
            _ => None,
        }
    }

    /// Returns whether the instance failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Exited { code } => *code != 0,
            Self::Failed { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(change: impl FnOnce(&mut InstanceStatus)) -> (DeclaredState, String) {
        let mut status = InstanceStatus::new(&"api".parse().unwrap(), 1, Some(8080));
        status.got = Some(8081);
        change(&mut status);
        let declared = status.declared(&Scope::default());
        (declared.state, declared.reason)
    }

    #[test]
    fn only_a_running_instance_with_a_port_is_declared_ready() {
        let state = |state: InstanceState| declared(|status| status.state = state).0;
        assert_eq!(state(InstanceState::Running), DeclaredState::Ready);
        for (given, expected) in [
            (InstanceState::Starting, DeclaredState::Starting),
            (InstanceState::NotListening, DeclaredState::NotListening),
            (InstanceState::Exited { code: 0 }, DeclaredState::Completed),
            (InstanceState::Exited { code: 1 }, DeclaredState::Crashed),
        ] {
            assert_eq!(state(given), expected);
        }
        let portless =
            declared(|status| (status.state, status.got) = (InstanceState::Running, None));
        assert_eq!(portless.0, DeclaredState::Portless);
    }

    #[test]
    fn reason_names_the_ports_on_which_a_program_listens_instead() {
        let (_, reason) = declared(|status| {
            (status.state, status.other_ports) = (InstanceState::NotListening, vec![9998]);
        });
        assert_eq!(
            reason,
            "its program runs and does not listen on port 8081; it listens on 9998: use {port} in its command"
        );
    }

    #[test]
    fn reason_of_a_waiting_instance_names_what_it_lacks() {
        let found = BTreeMap::from([
            ("db".parse().unwrap(), String::new()),
            ("cache".parse().unwrap(), "127.0.0.1:6379".to_owned()),
        ]);
        let (_, reason) = declared(|status| status.found = found);
        assert_eq!(reason, "it needs db, not found yet");
    }
}
