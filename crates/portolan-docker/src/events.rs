//! The events of an engine: one JSON object a line, in a response that does not end.

use reqwest::Response;
use serde::Deserialize;

use crate::engine::Engine;
use crate::error::DockerError;

/// The events that may change an instance. Without a filter each health check of a container would be three events.
pub(crate) const FILTERS: &str = r#"{"type":["container","network"],"event":["start","kill","die","pause","unpause","health_status","rename","connect","disconnect","destroy"]}"#;

/// The limit on one event in bytes. It has every label of the container.
const LINE: usize = 1 << 20;

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerEvent {
    /// Its program has ended, or has been killed by a signal that it cannot catch.
    Ended(String),
    /// It may have changed.
    Changed(String),
}

/// The events of an engine.
#[derive(Debug)]
pub(crate) struct EventStream {
    response: Response,
    engine: Engine,
    /// What has arrived of the next lines.
    buffer: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    actor: Actor,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    attributes: Attributes,
}

/// Labels of the container are among them, and are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Attributes {
    signal: String,
    container: String,
}

// === impl EventStream ===

impl EventStream {
    pub(crate) fn new(response: Response, engine: Engine) -> Self {
        Self { response, engine, buffer: Vec::new() }
    }

    /// Returns the next event. Cancel-safe: what was read of a line is kept.
    pub(crate) async fn next(&mut self) -> Result<ContainerEvent, DockerError> {
        loop {
            if let Some(event) = self.buffered() {
                return Ok(event);
            }
            if self.buffer.len() > LINE {
                return Err(self
                    .engine
                    .bad_answer(&format!("an event has more than {LINE} bytes")));
            }
            let chunk = self.response.chunk().await;
            let socket = self.engine.socket();
            let chunk = chunk.map_err(|error| DockerError::unreachable(socket, &error))?;
            let Some(chunk) = chunk else {
                let reason = "it has ended the stream of events".to_owned();
                return Err(DockerError::Unreachable {
                    socket: socket.to_owned(),
                    reason,
                    kind: None,
                });
            };
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Returns the first event of the complete lines that have arrived.
    fn buffered(&mut self) -> Option<ContainerEvent> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if let Some(event) = parse(&line) {
                return Some(event);
            }
        }
    }
}

/// Returns the event of a line; `None` if it concerns no instance.
fn parse(line: &[u8]) -> Option<ContainerEvent> {
    let Wire { r#type, action, actor } = serde_json::from_slice(line).ok()?;
    match (r#type.as_str(), action.as_str()) {
        ("container", "die" | "destroy") => Some(ContainerEvent::Ended(actor.id)),
        // SIGKILL cannot be caught, and the end itself is reported some 20 ms later.
        ("container", "kill") if matches!(actor.attributes.signal.as_str(), "9" | "SIGKILL") => {
            Some(ContainerEvent::Ended(actor.id))
        }
        ("container", "kill") => None,
        ("container", _) => Some(ContainerEvent::Changed(actor.id)),
        ("network", "connect" | "disconnect") => {
            Some(ContainerEvent::Changed(actor.attributes.container))
        }
        _ => None,
    }
    .filter(|event| !event.id().is_empty())
}

// === impl ContainerEvent ===

impl ContainerEvent {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Ended(id) | Self::Changed(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, attributes: &str) -> Option<ContainerEvent> {
        let actor = format!(r#"{{"ID":"c1","Attributes":{attributes}}}"#);
        parse(format!(r#"{{"Type":"{kind}","Action":"{action}","Actor":{actor}}}"#).as_bytes())
    }

    #[test]
    fn only_a_signal_that_cannot_be_caught_ends_a_container() {
        let (ended, changed) =
            (ContainerEvent::Ended("c1".to_owned()), ContainerEvent::Changed("c1".to_owned()));
        assert_eq!(event("container", "kill", r#"{"signal":"9"}"#).as_ref(), Some(&ended));
        assert_eq!(event("container", "kill", r#"{"signal":"15"}"#), None);
        assert_eq!(event("container", "die", "{}").as_ref(), Some(&ended));
        assert_eq!(event("container", "health_status: healthy", "{}"), Some(changed));
        let connected = event("network", "connect", r#"{"container":"c2"}"#);
        assert_eq!(connected, Some(ContainerEvent::Changed("c2".to_owned())));
    }

    #[test]
    fn line_that_is_no_event_is_ignored() {
        for line in
            ["", "x", "{}", "[1]", r#"{"Type":"network","Action":"connect"}"#, r#"{"Type":1}"#]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
