//! The thread that chains and writes records, and its bounded queue.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portolan_metrics::Metrics;
use serde_json::{Map, Value};
use tracing::{info, warn};

use crate::loss::loss;
use crate::sink::{Sink, Written};
use crate::{AuditConfig, AuditError, AuditLayer, AuditSink};

/// How many records wait. A record has about 1 KB.
const QUEUE: usize = 4096;
/// How many records are written at once.
const BATCH: usize = 256;
/// How long the process waits for the last records at its end.
const FINISH: Duration = Duration::from_secs(2);
/// How often the end of the process is checked for while no record arrives.
const IDLE: Duration = Duration::from_millis(50);

type Members = Map<String, Value>;

/// The sending side: never blocks.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Record(Members),
    /// Open the sink, and say whether that failed.
    Open(SyncSender<Result<(), AuditError>>),
    /// Write what came before, and end.
    Finish(SyncSender<()>),
}

/// Keeps the audit log open. When it is dropped, the records that wait are written, for two seconds at most.
#[derive(Debug)]
pub struct AuditGuard {
    queue: Queue,
    thread: Option<JoinHandle<()>>,
}

/// Starts the audit log that the settings describe; `None` if audit events go to the log.
///
/// A sink that cannot be opened is a warning in the log when there is something to record, unless [`AuditGuard::open`] opens it
/// before.
///
/// # Errors
///
/// The thread cannot be started.
pub fn start(
    config: &AuditConfig,
    metrics: Metrics,
) -> Result<Option<(AuditLayer, AuditGuard)>, AuditError> {
    if config.sink == AuditSink::Log {
        return Ok(None);
    }
    let sink = Sink::new(config);
    let (sender, receiver) = sync_channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Queue { sender, lost: Arc::clone(&lost) };
    let writer = Writer { sink, receiver, lost, metrics, failing: false, unrecorded: 0 };
    let thread = thread::Builder::new()
        .name("audit".to_owned())
        .spawn(|| writer.run())
        .map_err(AuditError::Thread)?;
    let guard = AuditGuard { queue: queue.clone(), thread: Some(thread) };
    Ok(Some((AuditLayer::new(queue), guard)))
}

struct Writer {
    sink: Sink,
    receiver: Receiver<Message>,
    lost: Arc<AtomicU64>,
    metrics: Metrics,
    /// Whether the last write failed.
    failing: bool,
    /// How many records are lost that no record says of yet.
    unrecorded: u64,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn push(&self, members: Members) {
        if self.sender.try_send(Message::Record(members)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

// === impl AuditGuard ===

impl AuditGuard {
    /// Opens the sink, so that a mistake in the settings is found at the start. Call it once events reach the log: what is
    /// wrong with the end of a file is a warning there.
    ///
    /// # Errors
    ///
    /// The sink cannot be opened.
    pub fn open(&self) -> Result<(), AuditError> {
        let (done, opened) = sync_channel(1);
        let ended = || AuditError::Thread(io::Error::other("it has ended"));
        self.queue.sender.send(Message::Open(done)).map_err(|_| ended())?;
        opened.recv().unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for AuditGuard {
    fn drop(&mut self) {
        let (done, finished) = sync_channel(1);
        let sent = self.queue.sender.try_send(Message::Finish(done));
        // A queue that is full, or a sink that hangs, must not keep the process.
        if sent.is_ok()
            && finished.recv_timeout(FINISH).is_ok()
            && let Some(thread) = self.thread.take()
        {
            _ = thread.join();
        }
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self) {
        loop {
            let first = match self.receiver.recv_timeout(IDLE) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.write(Vec::new());
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut records = Vec::new();
            let mut finish = None;
            let waiting = std::iter::once(first).chain(self.receiver.try_iter());
            for message in waiting.take(BATCH) {
                match message {
                    Message::Record(members) => records.push(members),
                    Message::Open(done) => _ = done.try_send(self.sink.open()),
                    Message::Finish(done) => {
                        finish = Some(done);
                        break;
                    }
                }
            }
            self.write(records);
            if let Some(done) = finish {
                self.sink.close();
                _ = done.try_send(());
                return;
            }
        }
    }

    /// Writes records, and before them how many were lost since.
    fn write(&mut self, records: Vec<Members>) {
        let overflowed = self.lost.swap(0, Ordering::Relaxed);
        if overflowed > 0 {
            self.lose(overflowed);
            warn!(lost = overflowed, "Audit records lost, because the audit log could not keep up");
        }
        let losses = (self.unrecorded > 0).then(|| loss(self.unrecorded, "Audit records lost"));
        let before = usize::from(losses.is_some());
        let records: Vec<_> = losses.into_iter().chain(records).collect();
        if records.is_empty() {
            return;
        }
        let Written { count, result } = self.sink.write(&records);
        if count >= before {
            self.unrecorded = 0;
        }
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                info!("Audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                let failed = records.len() - count.max(before);
                self.lose(u64::try_from(failed).unwrap_or(u64::MAX));
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(%error, "Audit log cannot be written, records are lost");
                }
                thread::sleep(IDLE);
            }
        }
    }

    /// Counts lost records, each once, whenever it will be recorded.
    fn lose(&mut self, count: u64) {
        self.metrics.audit_lost(count);
        self.unrecorded += count;
    }
}
