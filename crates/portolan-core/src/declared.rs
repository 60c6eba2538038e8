//! An instance that a running stack declares, whether or not it can be used now.
//!
//! It has no address: only a registration has one. What a stack knows of a program that is not
//! registered explains why the service cannot be found, and never finds it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::duration::format_duration;
use crate::{Scope, ServiceName};

/// An instance of a stack, and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredInstance {
    /// The name of the service.
    pub name: ServiceName,
    /// The scope of the stack.
    pub scope: Scope,
    /// The number of the instance within its service, counted from 1.
    pub instance: u16,
    /// The state.
    pub state: DeclaredState,
    /// The reason of the state; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the instance entered the state.
    pub since: Timestamp,
    /// The process id of `portolan up`, which prints the output of the program.
    pub supervisor: u32,
}

/// The state of a declared instance, from the nearest to being usable to the farthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredState {
    /// Its program listens, and it is registered.
    Ready,
    /// Its program has started and does not listen yet.
    Starting,
    /// It waits for the services that it needs.
    Waiting,
    /// Its program has run for a while and does not listen on its port.
    NotListening,
    /// Its program is being stopped.
    Stopping,
    /// Its program runs and has no port.
    Portless,
    /// Its program has exited with status 0.
    Completed,
    /// Its program has exited with another status.
    Crashed,
    /// Its program could not be started, or lost its port.
    Failed,
    /// A state that this version does not know.
    #[serde(other)]
    Other,
}

// === impl DeclaredState ===

impl DeclaredState {
    /// Returns the word of the state, as in JSON, with spaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::NotListening => "not listening",
            Self::Stopping => "stopping",
            Self::Portless => "portless",
            Self::Completed => "completed",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }

    /// Returns whether the instance may become usable without a change by a person.
    pub fn is_on_its_way(self) -> bool {
        matches!(self, Self::Ready | Self::Starting | Self::Waiting)
    }
}

impl fmt::Display for DeclaredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl DeclaredInstance ===

impl DeclaredInstance {
    /// Describes the instances of one service that cannot be used, by the one that is the nearest to being
    /// usable; `None` without an instance.
    pub fn describe(instances: &[Self], now: Timestamp) -> Option<String> {
        let nearest = instances.iter().min_by_key(|instance| instance.state)?;
        let others = match instances.len() - 1 {
            0 => String::new(),
            1 => "; another instance is not ready either".to_owned(),
            count => format!("; {count} other instances are not ready either"),
        };
        Some(format!("{}{others}", nearest.description(now)))
    }

    /// Returns what to do about the instances of one service that cannot be used.
    pub fn remedy(instances: &[Self]) -> Option<String> {
        let nearest = instances.iter().min_by_key(|instance| instance.state)?;
        let output = format!("the output of `portolan up` (process {})", nearest.supervisor);
        Some(match nearest.state {
            state if state.is_on_its_way() => "wait for it, as with --wait".to_owned(),
            DeclaredState::Portless => {
                format!("give `{}` a port in the file of the stack", nearest.name)
            }
            DeclaredState::Completed => format!("see {output}, or start the stack again"),
            _ => format!("see {output}, and start the stack again"),
        })
    }

    /// Returns how long the instance has been in its state, in whole seconds; clocks may differ.
    pub fn age(&self, now: Timestamp) -> Duration {
        let seconds = now.as_second().saturating_sub(self.since.as_second());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn description(&self, now: Timestamp) -> String {
        let age = format_duration(self.age(now));
        let state = match self.state {
            DeclaredState::Ready => "runs and is not registered yet".to_owned(),
            DeclaredState::Starting => format!("has been starting for {age}"),
            DeclaredState::Waiting => format!("has been waiting for {age}"),
            DeclaredState::NotListening => format!("has not listened for {age}"),
            DeclaredState::Stopping => "is being stopped".to_owned(),
            DeclaredState::Portless => "runs and has no port".to_owned(),
            DeclaredState::Completed => format!("completed {age} ago"),
            DeclaredState::Crashed => format!("crashed {age} ago"),
            DeclaredState::Failed => format!("failed {age} ago"),
            DeclaredState::Other => "is in a state that this version does not know".to_owned(),
        };
        let reason = match self.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        format!("`{}` of stack `{}` {state}{reason}", self.name, self.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(instance: u16, state: DeclaredState, reason: &str) -> DeclaredInstance {
        DeclaredInstance {
            name: "api".parse().unwrap(),
            scope: "shop".parse().unwrap(),
            instance,
            state,
            reason: reason.to_owned(),
            since: Timestamp::from_second(1_000).unwrap(),
            supervisor: 42,
        }
    }

    fn described(instances: &[DeclaredInstance]) -> String {
        let now = Timestamp::from_second(1_012).unwrap();
        let text = DeclaredInstance::describe(instances, now).unwrap();
        format!("{text}\n  remedy: {}", DeclaredInstance::remedy(instances).unwrap())
    }

    #[test]
    fn every_state_is_described_with_a_remedy() {
        use DeclaredState::{
            Completed, Crashed, Failed, NotListening, Other, Portless, Ready, Starting, Stopping,
            Waiting,
        };
        let states = [
            (Ready, ""),
            (Starting, "its program does not listen on port 8080 yet"),
            (Waiting, "db is not ready"),
            (NotListening, "its program runs and does not listen on port 8080"),
            (Stopping, ""),
            (Portless, ""),
            (Completed, ""),
            (Crashed, "exit status 1"),
            (Failed, "no port available"),
            (Other, ""),
        ];
        let texts = states.map(|(state, reason)| described(&[declared(1, state, reason)]));
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn instance_that_is_nearest_to_being_usable_describes_the_service() {
        let crashed = declared(1, DeclaredState::Crashed, "exit status 1");
        let starting = declared(2, DeclaredState::Starting, "");
        let text = described(&[crashed.clone(), starting, crashed]);
        assert!(text.contains("starting for 12s; 2 other instances"), "{text}");
        assert_eq!(DeclaredInstance::describe(&[], Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn state_of_a_newer_version_is_read_as_other() {
        let mut json = serde_json::to_value(declared(1, DeclaredState::NotListening, "")).unwrap();
        assert_eq!(json["state"], "not_listening");
        json["state"] = "hibernating".into();
        let read: DeclaredInstance = serde_json::from_value(json).unwrap();
        assert_eq!(read.state, DeclaredState::Other);
    }

    #[test]
    fn age_is_never_negative() {
        let instance = declared(1, DeclaredState::Crashed, "");
        assert_eq!(instance.age(Timestamp::UNIX_EPOCH), Duration::ZERO);
    }
}
