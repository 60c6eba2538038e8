//! Encodes the messages of this process, with sequence number, timestamp and signature, and within the
//! datagram size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::announcement::VERSION;
use portolan_core::{
    Action, Body, Message, ServiceAnnouncement, ServiceEndpoint, ServiceQuery, Ttl,
};
use serde_json::{Map, Value};

use crate::canonical::{CanonicalText, canonical, canonical_text};
use crate::signature::{SIGNATURE, Signing};
use crate::{BroadcastConfig, BroadcastError};

/// The size of a query to other hosts on a channel without a key, which limit their responses by it: several fit.
const QUERY_SIZE: usize = 1200;

/// Few messages are larger, in bytes.
const USUAL_SIZE: usize = 1024;

/// The encoder of one sender, from its start to its end.
#[derive(Debug)]
pub(crate) struct Encoder {
    sender: String,
    sequence: AtomicU64,
    ttl: Ttl,
    limit: usize,
}

/// The number and the time of a message. Copies of a message have the same, and count as one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    sequence: u64,
    timestamp: Timestamp,
}

/// The message exceeds the datagram size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

// === impl Encoder ===

impl Encoder {
    pub(crate) fn new(config: &BroadcastConfig) -> Result<Self, BroadcastError> {
        Ok(Self {
            sender: random_text(),
            sequence: AtomicU64::new(1),
            ttl: Ttl::new(config.ttl).map_err(BroadcastError::Ttl)?,
            limit: config.max_datagram,
        })
    }

    /// Returns the stamp of the next message.
    pub(crate) fn next_stamp(&self) -> Stamp {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        Stamp { sequence, timestamp: Timestamp::now() }
    }

    /// Encodes an announcement, or with the id of a query the response to it.
    pub(crate) fn announcement(
        &self,
        signing: &Signing,
        action: Action,
        service: ServiceEndpoint,
        in_reply_to: Option<&str>,
    ) -> Result<Vec<u8>, TooLarge> {
        self.stamped_announcement(signing, self.next_stamp(), action, service, in_reply_to)
    }

    /// Encodes an announcement with this stamp: copies with one stamp count as one message. Further
    /// addresses that do not fit into a datagram are left out.
    pub(crate) fn stamped_announcement(
        &self,
        signing: &Signing,
        stamp: Stamp,
        action: Action,
        mut service: ServiceEndpoint,
        in_reply_to: Option<&str>,
    ) -> Result<Vec<u8>, TooLarge> {
        // It must not outlast the lease of the instance.
        let ttl = self.ttl.min(service.ttl);
        let in_reply_to = in_reply_to.map(str::to_owned);
        loop {
            let announcement =
                ServiceAnnouncement { action, service, in_reply_to: in_reply_to.clone() };
            let body = Body::ServiceAnnouncement(Box::new(announcement));
            let message = self.message(signing, stamp, body, ttl);
            let written = self.write(signing, &message);
            let (Err(_), Body::ServiceAnnouncement(too_large)) = (&written, message.body) else {
                return written;
            };
            service = too_large.service;
            if service.addresses.pop().is_none() {
                return written;
            }
        }
    }

    /// Encodes a query that is obsolete after `wait`; without a key one for other hosts is followed by space, so that more respond.
    pub(crate) fn query(
        &self,
        signing: &Signing,
        query: ServiceQuery,
        wait: Duration,
        is_for_others: bool,
    ) -> Result<Vec<u8>, TooLarge> {
        let wait = wait.clamp(Ttl::MIN, self.ttl.duration());
        let ttl = Ttl::new(wait).unwrap_or(self.ttl);
        let body = Body::ServiceQuery(query);
        let mut bytes =
            self.write(signing, &self.message(signing, self.next_stamp(), body, ttl))?;
        if is_for_others && signing.is_open() {
            bytes.resize(bytes.len().max(QUERY_SIZE.min(self.limit)), b' ');
        }
        Ok(bytes)
    }

    fn message(&self, signing: &Signing, stamp: Stamp, body: Body, ttl: Ttl) -> Message {
        Message {
            version: VERSION.to_owned(),
            body,
            timestamp: stamp.timestamp,
            ttl,
            sender: Some(self.sender.clone()),
            sequence: Some(stamp.sequence),
            key_id: signing.key_id().map(str::to_owned),
            audience: signing.audience().map(str::to_owned),
            signature: None,
        }
    }

    fn write(&self, signing: &Signing, message: &Message) -> Result<Vec<u8>, TooLarge> {
        let bytes = match signing.is_open() {
            true => serde_json::to_vec(message),
            false => signed(message, signing),
        };
        let bytes = bytes.expect("a message is made of text and numbers");
        let (size, limit) = (bytes.len(), self.limit);
        if size > limit { Err(TooLarge { size, limit }) } else { Ok(bytes) }
    }
}

fn signed(message: &Message, signing: &Signing) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    serde_json::to_writer(&mut bytes, message)?;
    let text = String::from_utf8(bytes).map_err(serde::ser::Error::custom)?;
    let Some(CanonicalText { text: mut signed, signature_at, .. }) = canonical_text(&text) else {
        return signed_by_tree(&text, signing);
    };
    if let Some(signature) = signing.keys.signature(&signed) {
        signed.insert_str(signature_at, &format!("\"{SIGNATURE}\":\"{signature}\","));
    }
    Ok(signed.into_bytes())
}

/// Signs any message, such as one with unusual names in its metadata.
fn signed_by_tree(text: &str, signing: &Signing) -> serde_json::Result<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_str(text)?;
    if let Some(signature) = signing.keys.signature(&canonical(&object)) {
        object.insert(SIGNATURE.to_owned(), signature.into());
    }
    serde_json::to_vec(&object)
}

/// Returns 16 random hexadecimal digits, which identify a sender or a query.
pub(crate) fn random_text() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests;
