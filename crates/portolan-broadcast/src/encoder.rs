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

use crate::signature::Signing;
use crate::{BroadcastConfig, BroadcastError};

/// The size of a query to other hosts on a channel without a key, which limit their responses by it: several fit.
const QUERY_SIZE: usize = 1200;

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
        loop {
            let (service_copy, in_reply_to) = (service.clone(), in_reply_to.map(str::to_owned));
            let announcement = ServiceAnnouncement { action, service: service_copy, in_reply_to };
            match self.write(signing, stamp, Body::ServiceAnnouncement(Box::new(announcement)), ttl)
            {
                Err(_) if service.addresses.pop().is_some() => {}
                written => return written,
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
        let mut bytes = self.write(signing, self.next_stamp(), Body::ServiceQuery(query), ttl)?;
        if is_for_others && signing.is_open() {
            bytes.resize(bytes.len().max(QUERY_SIZE.min(self.limit)), b' ');
        }
        Ok(bytes)
    }

    fn write(
        &self,
        signing: &Signing,
        stamp: Stamp,
        body: Body,
        ttl: Ttl,
    ) -> Result<Vec<u8>, TooLarge> {
        let message = Message {
            version: VERSION.to_owned(),
            body,
            timestamp: stamp.timestamp,
            ttl,
            sender: Some(self.sender.clone()),
            sequence: Some(stamp.sequence),
            key_id: signing.key_id().map(str::to_owned),
            audience: signing.audience().map(str::to_owned),
            signature: None,
        };
        let bytes = match signing.is_open() {
            true => serde_json::to_vec(&message),
            false => signed(&message, signing),
        };
        let bytes = bytes.expect("a message is made of text and numbers");
        let (size, limit) = (bytes.len(), self.limit);
        if size > limit { Err(TooLarge { size, limit }) } else { Ok(bytes) }
    }
}

fn signed(message: &Message, signing: &Signing) -> serde_json::Result<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_value(serde_json::to_value(message)?)?;
    signing.keys.sign(&mut object);
    serde_json::to_vec(&object)
}

/// Returns 16 random hexadecimal digits, which identify a sender or a query.
pub(crate) fn random_text() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests;
