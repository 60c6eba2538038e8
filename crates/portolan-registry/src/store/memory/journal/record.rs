//! The values of a journal and of a snapshot.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{HealthReport, Revision, ServiceEndpoint, ServiceId};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::SettingsRecord;
use crate::store::owner::Owner;

/// The version of the format.
pub(crate) const VERSION: u32 = 2;
/// The oldest version that is read. It has no settings of services.
pub(crate) const OLDEST: u32 = 1;

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// `journal` or `snapshot`.
    pub(crate) portolan: String,
    pub(crate) version: u32,
    /// The revision in which the journal begins, or of the snapshot.
    pub(crate) revision: Revision,
    /// The number of instances in a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instances: Option<usize>,
    /// The number of settings of services in a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<usize>,
}

/// Every other line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// The length of the file of which it is known that it is on the disk. Damage before it is not the torn
    /// end of a crash.
    pub(crate) synced: u64,
    /// Where the line begins in the file. A line at another place shows that others were removed, moved or repeated. Missing
    /// in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    pub(crate) records: Vec<Record>,
}

/// The state in which a journal begins.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The revision of the last change.
    pub(crate) revision: Revision,
    pub(crate) instances: Vec<Instance>,
    pub(crate) settings: Vec<Arc<SettingsRecord>>,
}

/// Every other line of a snapshot.
#[derive(Debug)]
pub(crate) enum SnapshotLine {
    /// An array.
    Instances(Vec<Instance>),
    /// The member `settings` of an object.
    Settings(Vec<Arc<SettingsRecord>>),
}

/// A change of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record {
    /// A server started with this state.
    Started {
        /// The revision that it starts with. Earlier ones that are not in the journal were never committed.
        revision: Revision,
    },
    /// An instance is stored.
    Put {
        kind: PutKind,
        endpoint: Arc<ServiceEndpoint>,
        owner: Owner,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<HealthReport>,
        /// Until when it is kept although its lease ended, because too many ended at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An instance is removed. It is the whole instance, so that the history needs no earlier record.
    Remove { kind: RemoveKind, endpoint: Arc<ServiceEndpoint>, revision: Revision },
    /// The lease of an instance is renewed.
    Renew { id: ServiceId, at: Timestamp },
    /// The settings of a service are stored, with their versions.
    Settings(Arc<SettingsRecord>),
}

/// The change that storing an instance means for watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PutKind {
    Registered,
    Updated,
    Health,
    /// None.
    Renewed,
}

/// The reason of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RemoveKind {
    Deregistered,
    Expired,
}

/// An instance with its owner and its lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) endpoint: Arc<ServiceEndpoint>,
    pub(crate) owner: Owner,
    /// When the lease ends.
    pub(crate) ends: Timestamp,
    /// Whether the lease was extended since its last renewal, because no server ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) extended: bool,
    /// The health of an instance that is kept although its lease ended while no server ran. Its next heartbeat
    /// restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<HealthReport>,
    /// Whether it is kept although its lease ended, because too many ended at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) protected: bool,
    /// Whether the lease ended while no server ran, which its health does not show yet.
    #[serde(skip)]
    pub(crate) overdue: bool,
}

// === impl Batch ===

impl Batch {
    /// What is wrong with the place at which it was found, if something is.
    pub(crate) fn misplaced(&self, offset: u64) -> Option<String> {
        match self.offset {
            Some(written) if written != offset => Some(format!(
                "it was written at the offset {written} and is at {offset}: lines were removed, moved or repeated"
            )),
            // A line cannot follow on what was written later.
            None if self.synced > offset => Some(format!(
                "it follows on {} bytes and is at the offset {offset}: lines before it were removed or moved",
                self.synced
            )),
            _ => None,
        }
    }
}

// === impl Record ===

impl Record {
    /// Whether the callers wait until the record is on the disk.
    pub(crate) fn needs_sync(&self) -> bool {
        !matches!(self, Self::Renew { .. })
    }
}

// === impl SnapshotLine ===

impl<'de> Deserialize<'de> for SnapshotLine {
    /// Without a copy of the line, which an untagged enum makes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;

        impl<'de> Visitor<'de> for Line {
            type Value = SnapshotLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of instances, or an object of settings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<SnapshotLine, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(SnapshotLine::Instances)
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<SnapshotLine, A::Error> {
                #[derive(Deserialize)]
                struct Settings {
                    settings: Vec<Arc<SettingsRecord>>,
                }
                let line = Settings::deserialize(MapAccessDeserializer::new(members));
                line.map(|Settings { settings }| SnapshotLine::Settings(settings))
            }
        }

        deserializer.deserialize_any(Line)
    }
}
