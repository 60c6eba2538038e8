//! The fewest steps with the same effect: no canonical encoding, no replay detection, no expiry.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use portolan_core::{Action, ServiceEndpoint};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use socket2::{Domain, Socket, Type};

use super::{BARE_RECEIVES, KEY, ipv4};

/// The bytes of a signature, which follow the message.
const SIGNATURE: usize = 32;
const RECEIVE_BUFFER: usize = 4 << 20;

#[derive(Serialize)]
struct Announcement<'a> {
    r#type: &'a str,
    action: Action,
    service: &'a ServiceEndpoint,
    timestamp: jiff::Timestamp,
    sender: &'a str,
    sequence: u64,
}

#[derive(Deserialize)]
struct Received {
    service: ServiceEndpoint,
}

/// Serialises, signs and sends.
pub(super) struct BareSender {
    socket: UdpSocket,
    group: SocketAddr,
    mac: Hmac<Sha256>,
    sequence: u64,
}

/// Receives, verifies, parses and keeps the last announcement of each instance, in a thread.
pub(super) struct BareReceiver {
    applied: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

// === impl BareSender ===

impl BareSender {
    pub(super) fn open(group: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        Ok(Self { socket: socket.into(), group, mac: mac()?, sequence: 0 })
    }

    pub(super) fn announce(&mut self, service: &ServiceEndpoint) -> Result<()> {
        self.sequence += 1;
        let mut bytes = serde_json::to_vec(&Announcement {
            r#type: "service_announcement",
            action: Action::Heartbeat,
            service,
            timestamp: jiff::Timestamp::now(),
            sender: "0123456789abcdef",
            sequence: self.sequence,
        })?;
        let code = self.mac.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&code);
        self.socket.send_to(&bytes, self.group)?;
        Ok(())
    }
}

// === impl BareReceiver ===

impl BareReceiver {
    pub(super) fn open(group: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&group.into())?;
        socket.join_multicast_v4(ipv4(group)?.ip(), &Ipv4Addr::LOCALHOST)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (applied, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end, mac) = (Arc::clone(&applied), Arc::clone(&stopped), mac()?);
        let thread = std::thread::Builder::new().name(BARE_RECEIVES.to_owned());
        let thread = thread.spawn(move || receive(&socket.into(), &mac, &count, &end))?;
        Ok(Self { applied, stopped, thread: Some(thread) })
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }
}

impl Drop for BareReceiver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        _ = self.thread.take().map(JoinHandle::join);
    }
}

fn receive(socket: &UdpSocket, mac: &Hmac<Sha256>, applied: &AtomicU64, stopped: &AtomicBool) {
    let (mut buffer, mut known) = ([0; 1500], HashMap::new());
    while !stopped.load(Ordering::Relaxed) {
        let size = match socket.recv_from(&mut buffer) {
            Ok((size, _)) => size,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => return,
        };
        let Some((text, signature)) = buffer[..size].split_last_chunk::<SIGNATURE>() else {
            continue;
        };
        if mac.clone().chain_update(text).verify_slice(signature).is_ok()
            && let Ok(Received { service }) = serde_json::from_slice(text)
        {
            known.insert(service.id.clone(), service);
            applied.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn mac() -> Result<Hmac<Sha256>> {
    Ok(Hmac::new_from_slice(KEY.as_bytes())?)
}
