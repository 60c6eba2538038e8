//! Imports an export into the store that the settings select.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{Remedy, ServiceId};
use portolan_metrics::Metrics;
use tokio::sync::oneshot;

use super::Export;
use crate::store::{NothingKept, OpenError, StoreRecord};
use crate::{
    Command, CommandOrigin, Registry, RegistryConfig, RegistryError, SettingsError, SettingsKey,
    SettingsRecord, open,
};

/// How many instances are restored by one request.
const GROUP: usize = 256;

/// What an import did.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// The number of instances that were imported.
    pub imported: usize,
    /// The number of instances whose id the store had already. They are as they were.
    pub existing: usize,
    /// The instances that were not imported, and why.
    pub refused: Vec<(ServiceId, RegistryError)>,
    /// The number of services whose settings were imported.
    pub settings_imported: usize,
    /// The number of services that had settings already. They are as they were.
    pub settings_existing: usize,
    /// The settings that were not imported, and why.
    pub settings_refused: Vec<(SettingsKey, SettingsError)>,
    /// Why the import ended early: the store did not accept any more.
    pub ended: Option<RegistryError>,
}

/// Why an import cannot begin. Do not retry: a setting must change, or a server must end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing would be kept.
    #[error(transparent)]
    NothingKept(#[from] NothingKept),
}

/// Imports the instances with their owners, their age and their full TTL. What the store has is never replaced, so an
/// import can be repeated. The health of an instance that must have expired since the export is unknown.
///
/// # Errors
///
/// If the store cannot be opened. For every other failure see [`ImportReport`].
pub async fn import(config: &RegistryConfig, export: Export) -> Result<ImportReport, ImportError> {
    NothingKept::check(config)?;
    let (task, registry) = open(config, Metrics::new())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(task.run(async { drop(stopped.await) }));
    let settings = export.settings.clone();
    let mut report = restore(&registry, as_of(export, Timestamp::now())).await;
    if report.ended.is_none() {
        restore_settings(&registry, settings, &mut report).await;
    }
    drop(stop);
    if let Err(error) = running.await {
        std::panic::resume_unwind(error.into_panic());
    }
    Ok(report)
}

/// Returns the records as they are known at this time.
fn as_of(export: Export, now: Timestamp) -> Vec<StoreRecord> {
    let Export { exported_at, records, .. } = export;
    let reason = format!("imported from an export of {exported_at:.0}, not heard of since");
    let record = |record: StoreRecord| {
        let expires = exported_at.checked_add(record.endpoint.ttl.duration());
        match expires.is_ok_and(|expires| expires <= now) {
            true => record.not_heard_of(reason.clone()),
            false => record,
        }
    };
    records.into_iter().map(record).collect()
}

async fn restore(registry: &Registry, records: Vec<StoreRecord>) -> ImportReport {
    let mut report = ImportReport::default();
    for (origin, group) in groups(records) {
        let ids: Vec<_> = group.iter().map(|record| record.endpoint.id.clone()).collect();
        let commands = group.into_iter().map(|record| Command::Restore(Box::new(record)));
        let outcomes = registry.apply(commands.collect(), origin).await;
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => report.imported += 1,
                Err(RegistryError::Exists { id, other }) if id == other => report.existing += 1,
                Err(error) if is_of_record(&error) => report.refused.push((id, error)),
                Err(error) => report.ended = Some(error),
            }
        }
        if report.ended.is_some() {
            break;
        }
    }
    report
}

async fn restore_settings(
    registry: &Registry,
    settings: Vec<Arc<SettingsRecord>>,
    report: &mut ImportReport,
) {
    for record in settings {
        let key = record.key.clone();
        match registry.settings().import((*record).clone()).await {
            Ok(true) => report.settings_imported += 1,
            Ok(false) => report.settings_existing += 1,
            Err(SettingsError::Store(error)) => return report.ended = Some(error),
            Err(error) => report.settings_refused.push((key, error)),
        }
    }
}

/// Whether the error concerns this record alone, so that others may be imported.
fn is_of_record(error: &RegistryError) -> bool {
    use RegistryError as E;
    !matches!(
        error,
        E::Full { .. } | E::Busy(_) | E::Unavailable { .. } | E::ReadOnly { .. } | E::Closed
    )
}

/// Groups the records by where they came from: a request has one origin.
fn groups(records: Vec<StoreRecord>) -> Vec<(CommandOrigin, Vec<StoreRecord>)> {
    let mut groups: Vec<(CommandOrigin, Vec<StoreRecord>)> = Vec::new();
    for record in records {
        let origin = record.origin();
        match groups
            .iter_mut()
            .rev()
            .take(GROUP)
            .find(|(of, group)| *of == origin && group.len() < GROUP)
        {
            Some((_, group)) => group.push(record),
            None => groups.push((origin, vec![record])),
        }
    }
    groups
}

// === impl ImportError ===

impl Remedy for ImportError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Open(error) => error.remedy(),
            Self::NothingKept(error) => error.remedy(),
        }
    }
}

#[cfg(test)]
mod tests;
