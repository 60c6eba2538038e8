//! Turns `tracing` events into records.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::TARGET;
use crate::writer::Queue;

/// The longest text of a member, in characters. With all of its members escaped, a record is shorter than the longest line.
const MAX_TEXT: usize = 256;
/// The longest `before` and `after`, in bytes. Longer ones are cut, and then are text.
const MAX_STATE: usize = 4096;
/// Members whose text is JSON.
const STATES: [&str; 2] = ["before", "after"];

/// A layer that records events with the target [`TARGET`], with the fields of the spans around them that have it too. It
/// ignores all others.
#[derive(Debug)]
pub struct AuditLayer {
    queue: Queue,
}

/// The fields of a span or an event.
#[derive(Debug, Default)]
struct Members(Map<String, Value>);

// === impl AuditLayer ===

impl AuditLayer {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue }
    }
}

impl<S> Layer<S> for AuditLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() == TARGET
            && let Some(span) = context.span(id)
        {
            let mut members = Members::default();
            attributes.record(&mut members);
            span.extensions_mut().insert(members);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(members) = span.extensions_mut().get_mut::<Members>()
        {
            values.record(members);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut members = Members::default();
        event.record(&mut members);
        // From the innermost span outwards; what is nearer to the event counts.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Members>() {
                for (name, value) in &outer.0 {
                    members.0.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        let Members(mut members) = members;
        members.insert("time".to_owned(), Timestamp::now().to_string().into());
        // What no request causes is done by this process itself, such as the end of a lease. A request may be rejected before it
        // is known who sends it.
        let unnamed = if members.contains_key("peer") { "unauthenticated" } else { "portolan" };
        members.entry("principal").or_insert_with(|| unnamed.into());
        members.entry("outcome").or_insert_with(|| "success".into());
        self.queue.push(members);
    }
}

// === impl Members ===

impl Members {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if STATES.contains(&field.name())
            && value.len() <= MAX_STATE
            && let Ok(state) = serde_json::from_str::<Value>(value)
        {
            return self.insert(field, state);
        }
        self.insert(field, cut(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
