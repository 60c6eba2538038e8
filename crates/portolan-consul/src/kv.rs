//! Keys and transactions.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::client::Call;
use crate::{ConsulClient, ConsulError, ConsulSession};

/// The largest list of keys: 100,000 endpoints have about 150 MB.
const MAX_LIST: usize = 512 * 1024 * 1024;
/// How long a list that is read without waiting may take.
const LIST: Duration = Duration::from_secs(60);
const DENIED: &str = "Permission denied";

/// The keys with a prefix, as they were at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct KvList {
    /// The index of the last change to these keys, from which the next call waits.
    pub index: u64,
    /// The keys, in order.
    pub entries: Vec<KvEntry>,
}

/// The names of the keys with a prefix, as they were at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct KvKeys {
    /// The index of the last change to these keys or their values, from which the next call waits.
    pub index: u64,
    /// The keys, in order.
    pub names: Vec<String>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// The value in base64: decoded when it is needed, because most of a list is known already.
    value: Option<String>,
    /// The index of the write; all keys of a transaction have the same.
    pub modify_index: u64,
    /// The session that holds the key as a lock.
    pub session: Option<ConsulSession>,
}

/// Writes that take effect together, if every check holds. At most [`KvTransaction::LIMIT`] operations.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct KvTransaction {
    operations: Vec<Operation>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Operation {
    Kv(KvOperation),
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct KvOperation {
    verb: &'static str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<ConsulSession>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    #[serde(default)]
    results: Option<Vec<Written>>,
    #[serde(default)]
    errors: Option<Vec<Failed>>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "KV")]
    kv: WrittenKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenKey {
    modify_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    what: String,
}

// === impl ConsulClient ===

impl ConsulClient {
    /// Returns the keys with a prefix, none if there are none. With an index other than 0 it waits until they have
    /// changed since, or for `wait`.
    ///
    /// # Errors
    ///
    /// If Consul does not answer, denies the access, or the list is too large.
    pub async fn list(
        &self,
        prefix: &str,
        index: u64,
        wait: Duration,
    ) -> Result<KvList, ConsulError> {
        let call = Call::get(format!("kv/{prefix}")).query("recurse", "");
        let call = if index == 0 { call.within(LIST) } else { call.wait(index, wait) };
        let answer = self.send(call.limit(MAX_LIST)).await?;
        let index = answer.index()?;
        let is_empty = answer.status == StatusCode::NOT_FOUND;
        Ok(KvList { index, entries: if is_empty { Vec::new() } else { answer.json()? } })
    }

    /// Returns the names of the keys with a prefix, and waits as [`list`](Self::list) does.
    ///
    /// # Errors
    ///
    /// If Consul does not answer, denies the access, or the list is too large.
    pub async fn keys(
        &self,
        prefix: &str,
        index: u64,
        wait: Duration,
    ) -> Result<KvKeys, ConsulError> {
        let call = Call::get(format!("kv/{prefix}")).query("keys", "");
        let call = if index == 0 { call } else { call.wait(index, wait) };
        let answer = self.send(call.limit(MAX_LIST)).await?;
        let index = answer.index()?;
        let is_empty = answer.status == StatusCode::NOT_FOUND;
        Ok(KvKeys { index, names: if is_empty { Vec::new() } else { answer.json()? } })
    }

    /// Returns a key, if it exists, as every write that was acknowledged has left it.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn key(&self, key: &str) -> Result<Option<KvEntry>, ConsulError> {
        let answer = self.send(Call::get(format!("kv/{key}")).query("consistent", "")).await?;
        answer.index()?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let mut entries: Vec<KvEntry> = answer.json()?;
        Ok(entries.pop())
    }

    /// Returns names that begin with a prefix: keys, and folders with a `/` at their end.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>, ConsulError> {
        let call = Call::get(format!("kv/{prefix}")).query("keys", "").query("separator", "/");
        let answer = self.send(call).await?;
        answer.index()?;
        if answer.status == StatusCode::NOT_FOUND { Ok(Vec::new()) } else { answer.json() }
    }

    /// Writes, if every check holds. Returns the index of the writes, 0 if there are none; `None` if a check
    /// does not hold.
    ///
    /// # Errors
    ///
    /// If Consul does not answer, so that it is unknown whether it took effect, or if it denies the access.
    pub async fn transact(&self, transaction: &KvTransaction) -> Result<Option<u64>, ConsulError> {
        // A transaction that only checks is a read, which must not be one of the past.
        let call = Call::put("txn").query("consistent", "").json(transaction);
        let answer = self.send(call).await?;
        if answer.status == StatusCode::CONFLICT {
            let results: Results = serde_json::from_slice(&answer.body)
                .map_err(|_| ConsulError::Rejected { what: "txn".into(), reason: answer.text() })?;
            let failed = results.errors.unwrap_or_default();
            let denied = failed.into_iter().find(|failed| failed.what.contains(DENIED));
            return match denied {
                Some(Failed { what: reason }) => {
                    Err(ConsulError::Denied { what: "txn".into(), reason })
                }
                None => Ok(None),
            };
        }
        let results: Results = answer.json()?;
        let written = results.results.unwrap_or_default();
        Ok(Some(written.iter().map(|it| it.kv.modify_index).max().unwrap_or(0)))
    }
}

// === impl KvEntry ===

impl KvEntry {
    /// Returns the value; `None` if it is not base64, as Consul's is.
    pub fn value(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.value.as_deref().unwrap_or_default()).ok()
    }
}

// === impl KvTransaction ===

impl KvTransaction {
    /// The largest number of operations.
    pub const LIMIT: usize = 64;

    /// Requires that a key was written at this index last, or does not exist if it is 0.
    #[must_use]
    pub fn check(self, key: &str, index: u64) -> Self {
        match index {
            0 => self.add(KvOperation { verb: "check-not-exists", ..KvOperation::on(key) }),
            _ => self.add(KvOperation {
                verb: "check-index",
                index: Some(index),
                ..KvOperation::on(key)
            }),
        }
    }

    /// Writes a key if it was written at this index last, or does not exist if it is 0.
    #[must_use]
    pub fn write_if(self, key: &str, value: &[u8], index: u64) -> Self {
        let (value, index) = (Some(STANDARD.encode(value)), Some(index));
        self.add(KvOperation { verb: "cas", value, index, ..KvOperation::on(key) })
    }

    /// Writes a key.
    #[must_use]
    pub fn write(self, key: &str, value: &[u8]) -> Self {
        let value = Some(STANDARD.encode(value));
        self.add(KvOperation { verb: "set", value, ..KvOperation::on(key) })
    }

    /// Deletes a key if it was written at this index last.
    #[must_use]
    pub fn delete_if(self, key: &str, index: u64) -> Self {
        let index = Some(index);
        self.add(KvOperation { verb: "delete-cas", index, ..KvOperation::on(key) })
    }

    /// Writes a key and locks it with a session, if no other session holds it.
    #[must_use]
    pub fn lock(self, key: &str, value: &[u8], session: &ConsulSession) -> Self {
        let (value, session) = (Some(STANDARD.encode(value)), Some(session.clone()));
        self.add(KvOperation { verb: "lock", value, session, ..KvOperation::on(key) })
    }

    /// Requires that a session holds a key.
    #[must_use]
    pub fn check_session(self, key: &str, session: &ConsulSession) -> Self {
        let session = Some(session.clone());
        self.add(KvOperation { verb: "check-session", session, ..KvOperation::on(key) })
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it has no operation.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn add(mut self, operation: KvOperation) -> Self {
        self.operations.push(Operation::Kv(operation));
        self
    }
}

// === impl KvOperation ===

impl KvOperation {
    fn on(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_is_written_as_consul_reads_it() {
        let session = ConsulSession("0d0e".to_owned());
        let transaction = KvTransaction::default()
            .check("a", 0)
            .check("b", 7)
            .check_session("e", &session)
            .write_if("c", b"text", 0)
            .write("f", b"")
            .delete_if("d", 9)
            .lock("e", b"x", &session);
        insta::assert_snapshot!(serde_json::to_string_pretty(&transaction).unwrap());
        assert_eq!(transaction.len(), 7);
    }
}
