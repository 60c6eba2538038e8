//! Captures the output of the programs line by line.

use std::time::Duration;

use portolan_core::ServiceName;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::child::Child;

/// The maximum length of a line in bytes. Longer lines are split.
const LONGEST_LINE: u64 = 16 * 1024;
/// Time limit for reading the remaining output of a program that has exited. A pipe holds at most
/// 64 KiB, but a descendant outside the process group may keep it open indefinitely.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// The service.
    pub service: ServiceName,
    /// The instance of the service, counted from 1.
    pub instance: u16,
    /// The line without its line ending.
    pub text: String,
}

/// Forwards the output of one instance, across restarts of its program.
pub(super) struct Printers {
    tasks: JoinSet<()>,
    line: OutputLine,
    to: mpsc::Sender<OutputLine>,
}

// === impl Printers ===

impl Printers {
    pub(super) fn new(service: ServiceName, instance: u16, to: mpsc::Sender<OutputLine>) -> Self {
        let line = OutputLine { service, instance, text: String::new() };
        Self { tasks: JoinSet::new(), line, to }
    }

    /// Forwards the output of this program. Called once per program.
    pub(super) fn attach(&mut self, child: &mut Child) {
        let (stdout, stderr) = child.output();
        if let Some(stdout) = stdout {
            self.tasks.spawn(forward(stdout, self.line.clone(), self.to.clone()));
        }
        if let Some(stderr) = stderr {
            self.tasks.spawn(forward(stderr, self.line.clone(), self.to.clone()));
        }
    }

    /// Reads the remaining output of programs that have exited, for a short time.
    pub(super) async fn finish(mut self) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(DRAIN_TIMEOUT, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Forwards lines until the pipe or the receiver is closed. Output that is not received yet stays
/// in the pipe, so a program that prints too fast blocks instead of filling memory.
async fn forward(from: impl AsyncRead + Unpin, line: OutputLine, to: mpsc::Sender<OutputLine>) {
    let mut from = BufReader::new(from);
    while let Some(text) = next_line(&mut from).await {
        if to.send(OutputLine { text, ..line.clone() }).await.is_err() {
            // The receiver is gone; drain the pipe, so that the program does not block.
            _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    }
}

async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST_LINE).read_until(b'\n', &mut bytes).await.ok()?;
    let text = String::from_utf8_lossy(&bytes);
    (read > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
}
