//! The file of an export: a header, a line for each instance and for the settings of each service, and an end by which a cut file is noticed.
//!
//! ```json
//! {"portolan":"export","version":1,"store":"memory","revision":7,"exported_at":"2026-11-27T09:00:00Z"}
//! {"endpoint":{"id":"api@10.0.0.7:8080","name":"api"},"owner":{"peer":"10.0.0.7"}}
//! {"settings":{"scope":"default","name":"api","versions":[]}}
//! {"end":{"instances":1,"settings":1}}
//! ```

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{Remedy, Revision};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::SettingsRecord;
use crate::store::{Inspection, StoreRecord};

/// The value of `portolan` in the header.
const KIND: &str = "export";
/// The version of the format.
const VERSION: u32 = 2;
/// The oldest version that is read. It has no settings of services.
const OLDEST: u32 = 1;
/// The largest line in bytes: the largest registration has 300 kB.
const LINE: u64 = 1 << 20;

/// The data of a registry at some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// The store that it comes from, by its name in `service_registry.storage_backend`.
    pub store: String,
    /// The revision of its last change.
    pub revision: Revision,
    /// When it was read.
    pub exported_at: Timestamp,
    /// The instances.
    pub records: Vec<StoreRecord>,
    /// The settings of services.
    pub settings: Vec<Arc<SettingsRecord>>,
}

/// Why a file is not an export. Do not retry: the file must change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidExport {
    /// It cannot be read.
    #[error("cannot read the export: {0}")]
    Io(#[source] io::Error),
    /// The first line is not the header of an export.
    #[error("line 1 is not the header of an export: {0}")]
    Header(String),
    /// It was written by another version.
    #[error("the export has the format {found}, this version reads {VERSION}")]
    Version {
        /// The version of its format.
        found: u32,
    },
    /// A line is not an instance.
    #[error("line {line} is not an instance: {problem}")]
    Line {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The end is missing, or says another number of instances.
    #[error("the export is cut off after {read} instances{}", said(*.expected))]
    CutOff {
        /// The number of instances that were read.
        read: usize,
        /// The number that the end says, if there is one.
        expected: Option<usize>,
    },
    /// The end says another number of settings.
    #[error("the export is cut off after the settings of {read} services{}", said(*.expected))]
    SettingsCutOff {
        /// The number that was read.
        read: usize,
        /// The number that the end says.
        expected: Option<usize>,
    },
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    portolan: Cow<'a, str>,
    version: u32,
    store: Cow<'a, str>,
    revision: Revision,
    exported_at: Timestamp,
}

/// What the header of every version has.
#[derive(Deserialize)]
struct AnyVersion {
    portolan: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    end: End,
}

#[derive(Serialize, Deserialize)]
struct End {
    instances: usize,
    #[serde(default)]
    settings: usize,
}

/// A line of settings.
#[derive(Serialize, Deserialize)]
struct SettingsLine<T> {
    settings: T,
}

// === impl Export ===

impl Export {
    /// The data that was read from a store at this time.
    pub fn new(inspection: Inspection, exported_at: Timestamp) -> Self {
        let Inspection { store, revision, records, settings, .. } = inspection;
        Self { store: store.to_owned(), revision, exported_at, records, settings }
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let header = Header {
            portolan: KIND.into(),
            version: VERSION,
            store: self.store.as_str().into(),
            revision: self.revision,
            exported_at: self.exported_at,
        };
        write_line(&mut to, &header)?;
        self.records.iter().try_for_each(|record| write_line(&mut to, record))?;
        let line = |settings| write_line(&mut to, &SettingsLine { settings });
        self.settings.iter().try_for_each(line)?;
        let (instances, settings) = (self.records.len(), self.settings.len());
        write_line(&mut to, &EndLine { end: End { instances, settings } })?;
        to.flush()
    }

    /// Reads a file as a whole, so that nothing is imported of one that is cut off.
    ///
    /// # Errors
    ///
    /// [`InvalidExport`] if it is not an export, or damaged.
    pub fn read(from: impl BufRead) -> Result<Self, InvalidExport> {
        let mut lines = Lines { from, number: 0 };
        let header =
            lines.next()?.ok_or_else(|| InvalidExport::Header("it is empty".to_owned()))?;
        let Header { store, revision, exported_at, .. } = read_header(&header)?;
        let (store, mut records, mut settings) = (store.into_owned(), Vec::new(), Vec::new());
        while let Some(line) = lines.next()? {
            if let Ok(EndLine { end }) = serde_json::from_slice(&line) {
                let (read, expected) = (records.len(), Some(end.instances));
                if end.instances != read {
                    return Err(InvalidExport::CutOff { read, expected });
                }
                if end.settings != settings.len() {
                    let (read, expected) = (settings.len(), Some(end.settings));
                    return Err(InvalidExport::SettingsCutOff { read, expected });
                }
                return Ok(Self { store, revision, exported_at, records, settings });
            }
            if line.starts_with(b"{\"settings\":") {
                let SettingsLine { settings: one } = lines.parse(&line)?;
                settings.push(one);
                continue;
            }
            records.push(lines.parse(&line)?);
        }
        Err(InvalidExport::CutOff { read: records.len(), expected: None })
    }
}

fn read_header(line: &[u8]) -> Result<Header<'_>, InvalidExport> {
    let invalid = |error| InvalidExport::Header(in_line(&error));
    let any: AnyVersion = serde_json::from_slice(line).map_err(invalid)?;
    if any.portolan != KIND {
        return Err(InvalidExport::Header(format!("it begins a {:?}", any.portolan)));
    }
    if !(OLDEST..=VERSION).contains(&any.version) {
        return Err(InvalidExport::Version { found: any.version });
    }
    serde_json::from_slice(line).map_err(invalid)
}

/// The text of an error without the number of the line, which the parser does not know.
fn in_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn write_line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}

/// The lines of a file, each of bounded length.
struct Lines<R> {
    from: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, InvalidExport> {
        let mut line = Vec::new();
        let read = self.from.by_ref().take(LINE).read_until(b'\n', &mut line);
        if read.map_err(InvalidExport::Io)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() != Some(&b'\n') && u64::try_from(line.len()).is_ok_and(|len| len == LINE) {
            return Err(self.invalid(format!("it is longer than {LINE} bytes")));
        }
        Ok(Some(line))
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, InvalidExport> {
        serde_json::from_slice(line).map_err(|error| self.invalid(in_line(&error)))
    }

    fn invalid(&self, problem: String) -> InvalidExport {
        InvalidExport::Line { line: self.number, problem }
    }
}

// === impl InvalidExport ===

impl Remedy for InvalidExport {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Io(_) => return None,
            Self::Version { .. } => "use the version of portolan that wrote it",
            Self::Header(_) => "give a file that `portolan store export` has written",
            Self::Line { .. } => {
                "export again, or remove the line and correct the number in the last one"
            }
            Self::CutOff { .. } | Self::SettingsCutOff { .. } => "export again",
        };
        Some(remedy.into())
    }
}

fn said(expected: Option<usize>) -> String {
    expected.map(|expected| format!(", its end says {expected}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Incarnation, Registration, Ttl};
    use proptest::prelude::*;

    use super::*;
    use crate::CommandOrigin;
    use crate::store::owner::Owner;

    fn export(instances: u16) -> Export {
        let record = |number| {
            let host = Host::loopback();
            let mut registration = Registration::new("api".parse().unwrap(), host, 8080 + number);
            registration.incarnation = Some(Incarnation::new(u64::from(number)));
            let mut owner = Owner::new(&CommandOrigin::local());
            owner.fenced.push((registration.id(), Incarnation::new(99)));
            let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
            StoreRecord { endpoint, owner }
        };
        Export {
            store: "memory".to_owned(),
            revision: Revision(7),
            exported_at: Timestamp::UNIX_EPOCH,
            records: (0..instances).map(record).collect(),
            settings: (0..instances / 2).map(settings).collect(),
        }
    }

    fn settings(number: u16) -> Arc<SettingsRecord> {
        let entry = crate::SettingsEntry {
            version: 1,
            at: Timestamp::UNIX_EPOCH,
            author: "ann".to_owned(),
            action: crate::SettingsAction::Set,
            from: None,
            value: Some(serde_json::json!({"number": number})),
        };
        let name = format!("api-{number}").parse().unwrap();
        let key = crate::SettingsKey { scope: "shop".parse().unwrap(), name };
        Arc::new(SettingsRecord { key, schema: None, versions: vec![Arc::new(entry)] })
    }

    fn written(export: &Export) -> Vec<u8> {
        let mut file = Vec::new();
        export.write(&mut file).unwrap();
        file
    }

    fn error(file: &[u8]) -> String {
        Export::read(file).unwrap_err().with_remedy().to_string()
    }

    #[test]
    fn export_is_read_as_it_was_written() {
        for instances in [0, 1, 3] {
            let export = export(instances);
            assert_eq!(Export::read(written(&export).as_slice()).unwrap(), export);
        }
    }

    #[test]
    fn cut_file_is_noticed_at_every_byte() {
        let file = written(&export(2));
        for length in 0..file.len() - 1 {
            Export::read(&file[..length]).unwrap_err();
        }
    }

    #[test]
    fn error_texts_and_remedies() {
        let text = String::from_utf8(written(&export(1))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let files = [
            String::new(),
            "not an export".to_owned(),
            text.replacen("export", "journal", 1),
            text.replacen("\"version\":2", "\"version\":3", 1),
            [lines[0], "{}", lines[2]].join("\n"),
            lines[..2].join("\n"),
            [lines[0], lines[2]].join("\n"),
            text.replacen("\"settings\":0", "\"settings\":1", 1),
            format!("{}\n{}", lines[0], "x".repeat(1 << 20)),
        ];
        insta::assert_snapshot!(files.map(|file| error(file.as_bytes())).join("\n"));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = written(&export(0));
            _ = Export::read(bytes.as_slice());
            file.extend_from_slice(&bytes);
            _ = Export::read(file.as_slice());
        }
    }
}
