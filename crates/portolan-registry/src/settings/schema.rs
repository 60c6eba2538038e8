//! Validation by JSON Schema.
//!
//! A schema is input from outside, like a value. So it may refer only to itself, without cycles, and may not grow beyond a
//! bound when its references are followed; patterns are matched in linear time.

use serde_json::Value;
use tokio::sync::Semaphore;

use super::SettingsError;
use super::record::SettingsKey;
use crate::RegistryError;

/// How many validations run at the same time.
static TURNS: Semaphore = Semaphore::const_new(1);

/// Runs work that validates by a schema, off the runtime's threads: within its bounds it may still take a second.
pub(super) async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SettingsError> + Send + 'static,
) -> Result<T, SettingsError> {
    let turn = TURNS.acquire().await.map_err(|_| RegistryError::Closed)?;
    let done = tokio::task::spawn_blocking(move || (work(), drop(turn)).0).await;
    // It ends early only with the runtime.
    done.unwrap_or(Err(RegistryError::Closed.into()))
}

/// Checks that a value meets a schema.
#[cfg(feature = "schema")]
pub(super) fn check(key: &SettingsKey, schema: &Value, value: &Value) -> Result<(), SettingsError> {
    use super::SchemaViolation;
    /// How many problems an error lists.
    const LISTED: usize = 5;
    /// The longest text of a problem.
    const TEXT: usize = 300;
    let validator = compile(schema)?;
    let mut errors = validator.iter_errors(value);
    let violations: Vec<_> = errors
        .by_ref()
        .take(LISTED)
        .map(|error| SchemaViolation {
            pointer: error.instance_path().to_string(),
            problem: error.to_string().chars().take(TEXT).collect(),
        })
        .collect();
    // Not all of them: a value can have as many as it has members.
    let more = errors.take(1_000).count();
    match violations.is_empty() {
        true => Ok(()),
        false => Err(SettingsError::Schema { key: key.clone(), violations, more }),
    }
}

#[cfg(not(feature = "schema"))]
pub(super) fn check(_: &SettingsKey, schema: &Value, _: &Value) -> Result<(), SettingsError> {
    check_schema(schema)
}

/// Checks that a schema can be used.
#[cfg(feature = "schema")]
pub(super) fn check_schema(schema: &Value) -> Result<(), SettingsError> {
    compile(schema).map(drop)
}

#[cfg(not(feature = "schema"))]
pub(super) fn check_schema(_: &Value) -> Result<(), SettingsError> {
    Err(SettingsError::NoValidator)
}

#[cfg(feature = "schema")]
fn compile(schema: &Value) -> Result<jsonschema::Validator, SettingsError> {
    let invalid = |problem: String| SettingsError::InvalidSchema { problem };
    references::check(schema).map_err(invalid)?;
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| invalid(error.to_string().chars().take(300).collect()))
}

#[cfg(feature = "schema")]
mod references;
