//! What the programs print, line by line, on its way to whoever shows it.

use std::time::Duration;

use portolan_core::ServiceName;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::child::Child;

/// The longest line of a program's output that is passed on in one piece, in bytes.
const LONGEST_LINE: u64 = 16 * 1024;
/// How long to wait for the last words of a program that has ended: a pipe holds 64 KiB, which is
/// read in no time, but a descendant that left the group may hold it open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The same where the time is up already.
const LAST_WORDS_AT_LEAST: Duration = Duration::from_millis(50);

/// A line that a service printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// The service.
    pub service: ServiceName,
    /// Which of its instances, counted from 1.
    pub instance: u16,
    /// The line, without its end.
    pub text: String,
}

/// Passes on what one instance prints, however often its program is started.
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

    /// Passes on what this program prints; once a program.
    pub(super) fn attach(&mut self, child: &mut Child) {
        let (stdout, stderr) = child.output();
        if let Some(stdout) = stdout {
            self.tasks.spawn(pass_on(stdout, self.line.clone(), self.to.clone()));
        }
        if let Some(stderr) = stderr {
            self.tasks.spawn(pass_on(stderr, self.line.clone(), self.to.clone()));
        }
    }

    /// Waits for the last words of programs that have ended, not much beyond the deadline.
    pub(super) async fn finish(mut self, deadline: Option<Instant>) {
        let now = Instant::now();
        let latest = now + LAST_WORDS;
        let deadline = deadline.map_or(latest, |end| end.clamp(now + LAST_WORDS_AT_LEAST, latest));
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Passes lines on until the pipe or the reader is closed. What is not read stays in the pipe and
/// slows the program down, as a terminal would, instead of filling our memory.
async fn pass_on(from: impl AsyncRead + Unpin, line: OutputLine, to: mpsc::Sender<OutputLine>) {
    let mut from = BufReader::new(from);
    while let Some(text) = next_line(&mut from).await {
        if to.send(OutputLine { text, ..line.clone() }).await.is_err() {
            // Nobody reads any more; the program must still be able to print.
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
