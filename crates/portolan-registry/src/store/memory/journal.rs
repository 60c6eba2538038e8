//! The journal of the store `memory`: a write-ahead log and snapshots in its data directory.
//!
//! The state is in memory. Every change appends a [`Record`](record::Record) to the state's outbox; the writer
//! thread appends what has accumulated to the newest journal file and synchronises it (fdatasync(2)) once for all
//! of it, which is a group commit. Only then are the callers answered and the feeds told. A lease renewal
//! alone is written and not synchronised: after a power failure a lease may end up to a heartbeat earlier, and
//! [`recovery`] extends it by as much.
//!
//! A file is UTF-8 text. A line is the CRC-32 of a JSON value, a space, and the value (see [`frame`]). The first
//! line is the [`record::Header`].

use std::sync::Arc;

use tracing::{info, warn};

use super::data_dir::DataDir;
use super::error::DataDirError;
use super::exposure::exposure;
use super::outbox::Durability;
use recovery::Recovered;
use writer::Writer;

pub(super) mod frame;
mod log_file;
pub(super) mod record;
pub(super) mod recovery;
pub(super) mod writer;

/// Opens the journal for writing; read-only if the file system is full or read-only.
pub(super) fn open_writer(
    dir: Arc<DataDir>,
    recovered: &Recovered,
) -> Result<(Durability, Writer), DataDirError> {
    let Recovered { journal, revision, snapshot_length, .. } = *recovered;
    let writer = Writer::open(Arc::clone(&dir), journal, revision, snapshot_length);
    let started = writer.and_then(|mut writer| {
        writer.started(revision)?;
        if recovered.is_outdated {
            writer.upgrade(&recovered.snapshot())?;
        }
        Ok(writer)
    });
    match started {
        Ok(writer) => Ok((Durability::Journal, writer)),
        Err(error) if error.is_read_only() => {
            warn!(%error, "Data directory cannot be written, the registry is read-only");
            let reason = error.to_string().into();
            Ok((Durability::ReadOnly { reason, recording: false }, Writer::read_only(dir, journal)))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn log_recovery(dir: &DataDir, recovered: &Recovered) {
    let path = dir.path().display();
    match exposure(dir.path()) {
        Ok(None) => {}
        Ok(Some(reason)) => {
            let remedy =
                "let it belong to the user of the server, with the mode 0700 (chown, chmod go-rwx)";
            warn!(%path, %reason, remedy, "Other users can replace the files of the data directory, and with them every registration");
        }
        Err(error) => warn!(%path, %error, "Owner of the data directory cannot be told"),
    }
    if let Some(torn) = &recovered.torn {
        let file = torn.path.display();
        warn!(path = %file, bytes = torn.length, "Torn end of the journal was cut off");
    }
    info!(%path, endpoints = recovered.instances.len(), "Data directory opened");
}
