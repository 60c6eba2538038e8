//! Tokens: random texts whose digests a server knows.

use std::fmt;

use jiff::Timestamp;
use portolan_core::{Secret, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The beginning of each token, so that scanners for secrets find it.
const PREFIX: &str = "portolan";

/// What is known of a token: enough to recognise it, and not to use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// The id, which is not secret: eight hexadecimal digits.
    pub id: String,
    /// The identity that it proves.
    pub identity: String,
    /// The SHA-256 digest of the token. The token has 256 random bits, so that its digest tells nothing about it.
    pub sha256: Sha256Digest,
    /// When it was created.
    pub created: Timestamp,
    /// When it expires; never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest(pub(crate) [u8; 32]);

/// A token that was just created. Only its record is kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The token.
    pub secret: Secret,
    /// What is kept.
    pub record: TokenRecord,
}

/// The records of a file, which has one on each line, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenFile {
    records: Vec<TokenRecord>,
}

/// Returns the digest by which a server recognises a token.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

// === impl NewToken ===

impl NewToken {
    /// Creates a random token of an identity.
    pub fn new(identity: &str, created: Timestamp, expires: Option<Timestamp>) -> Self {
        let id = hex::encode(&rand::random::<[u8; 4]>());
        let secret = format!("{PREFIX}_{id}_{}", hex::encode(&rand::random::<[u8; 32]>()));
        let sha256 = Sha256Digest(digest(&secret));
        let record = TokenRecord { id, identity: identity.to_owned(), sha256, created, expires };
        Self { secret: secret.into(), record }
    }
}

// === impl TokenFile ===

impl TokenFile {
    /// Parses the lines of a file. Empty ones do not count.
    ///
    /// # Errors
    ///
    /// The number of the first line that is not a record, from 1, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut file = Self::default();
        for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let record: TokenRecord = serde_json::from_str(text)
                .map_err(|error| (line + 1, format!("it is not the record of a token: {error}")))?;
            if file.find(&record.id).is_some() {
                return Err((line + 1, format!("the id {:?} occurs twice", record.id)));
            }
            file.records.push(record);
        }
        Ok(file)
    }

    /// The file with these records.
    ///
    /// # Errors
    ///
    /// The id that occurs twice.
    pub fn from_records(records: Vec<TokenRecord>) -> Result<Self, String> {
        let mut file = Self::default();
        for record in records {
            if file.find(&record.id).is_some() {
                return Err(record.id);
            }
            file.records.push(record);
        }
        Ok(file)
    }

    /// Returns the records in the order of the file.
    pub fn records(&self) -> &[TokenRecord] {
        &self.records
    }

    /// Adds a record.
    pub fn add(&mut self, record: TokenRecord) {
        self.records.push(record);
    }

    /// Removes the record with this id, and returns it.
    pub fn remove(&mut self, id: &str) -> Option<TokenRecord> {
        let index = self.records.iter().position(|record| record.id == id)?;
        Some(self.records.remove(index))
    }

    fn find(&self, id: &str) -> Option<&TokenRecord> {
        self.records.iter().find(|record| record.id == id)
    }
}

impl fmt::Display for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.records {
            writeln!(f, "{}", serde_json::json!(record))?;
        }
        Ok(())
    }
}

// === impl Sha256Digest ===

impl TryFrom<String> for Sha256Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        hex::decode(&text).map(Self).ok_or("expected 64 lowercase hexadecimal digits")
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        hex::encode(&digest.0)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_what_was_written() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (mut file, token) = (TokenFile::default(), NewToken::new("api", now, Some(now)));
        file.add(token.record.clone());
        file.add(NewToken::new("api", now, None).record);
        let text = file.to_string();
        assert!(!text.contains(token.secret.expose()));
        assert_eq!(TokenFile::parse(&text).unwrap(), file);
        assert_eq!(file.remove(&token.record.id), Some(token.record));
        assert_eq!((file.records().len(), file.remove("none")), (1, None));
    }

    #[test]
    fn damaged_line_is_named() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let record = serde_json::json!(NewToken::new("api", now, None).record).to_string();
        let digest = record.split('"').find(|part| part.len() == 64).unwrap();
        for (text, line) in [
            ("x", 1),
            (&*format!("{record}\n\n{record}\n"), 3),
            (&record.replace(digest, "00"), 1),
            (&record.replace("identity", "who"), 1),
        ] {
            assert_eq!(TokenFile::parse(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn tokens_differ() {
        let now = Timestamp::UNIX_EPOCH;
        let (first, second) = (NewToken::new("a", now, None), NewToken::new("a", now, None));
        assert_ne!(first.secret, second.secret);
        assert_eq!(first.secret.expose().len(), 82);
    }
}
