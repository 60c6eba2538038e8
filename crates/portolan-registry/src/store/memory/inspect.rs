//! Reads a data directory, whether a server uses it or not.

use std::io;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::data_dir::DataDir;
use super::error::DataDirError;
use super::journal::recovery::{Recovered, TornEnd, read};
use crate::RegistryConfig;
use crate::store::inspect::{InspectError, Inspection, NothingKept, StoreProblem};
use crate::store::record::StoreRecord;

/// How often it is read again, because the server has replaced a file meanwhile.
const ATTEMPTS: usize = 5;

pub(super) fn inspect(config: &RegistryConfig) -> BoxFuture<'_, Result<Inspection, InspectError>> {
    async move {
        let path = config.data_dir.clone().ok_or(NothingKept)?;
        let read = tokio::task::spawn_blocking(move || {
            let (dir, user) = DataDir::open(&path)?;
            Ok::<_, DataDirError>((read_again(&dir)?, dir, user))
        });
        let (recovered, dir, user) = read.await.expect("reading does not panic")?;
        Ok(inspection(recovered, &dir, user))
    }
    .boxed()
}

/// Reads the directory. The files that a server removes meanwhile are no longer needed.
fn read_again(dir: &DataDir) -> Result<Recovered, DataDirError> {
    for _ in 1..ATTEMPTS {
        match read(dir) {
            Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(DataDirError::Missing { .. }) => {}
            result => return result,
        }
    }
    read(dir)
}

fn inspection(recovered: Recovered, dir: &DataDir, user: Option<u32>) -> Inspection {
    let Recovered { instances, settings, revision, torn, .. } = recovered;
    let records = instances.into_values().map(|instance| StoreRecord {
        endpoint: (*instance.endpoint).clone(),
        owner: instance.owner,
    });
    // A server that runs is writing there.
    let torn = torn.filter(|_| user.is_none());
    Inspection {
        store: super::NAME,
        location: dir.path().display().to_string(),
        revision,
        records: records.collect(),
        settings: settings.into_values().collect(),
        servers: user.map(server).into_iter().collect(),
        problems: torn.as_ref().map(problem).into_iter().collect(),
    }
}

fn server(pid: u32) -> String {
    if pid == 0 { "a process".to_owned() } else { format!("process {pid}") }
}

fn problem(torn: &TornEnd) -> StoreProblem {
    StoreProblem {
        is_damage: false,
        place: torn.path.display().to_string(),
        problem: format!("a crash has torn its end: {} bytes were not committed", torn.length),
        remedy: "the next server cuts them off; nothing that was acknowledged is lost".to_owned(),
    }
}
