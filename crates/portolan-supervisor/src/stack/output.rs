//! Captures the output of the programs line by line.

use std::io;
use std::time::Duration;

use portolan_core::ServiceName;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::child::Child;

/// The maximum length of a line in bytes. Longer lines are split.
const LONGEST_LINE: u64 = 16 * 1024;
/// How long a terminal must be silent until a text without a line ending is a line, such as a prompt.
const SILENCE: Duration = Duration::from_millis(200);
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
        let (line, to) = (|| self.line.clone(), || self.to.clone());
        if let Some(pty) = child.pty() {
            self.tasks.spawn(forward(pty, Source::Terminal, line(), to()));
        }
        if let Some(stdout) = stdout {
            self.tasks.spawn(forward(stdout, Source::Pipe, line(), to()));
        }
        if let Some(stderr) = stderr {
            self.tasks.spawn(forward(stderr, Source::Pipe, line(), to()));
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

/// What a program writes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Pipe,
    Terminal,
}

/// Forwards lines until the source or the receiver is closed. Output that is not received yet stays
/// in the source, so a program that prints too fast blocks instead of filling memory.
async fn forward(
    from: impl AsyncRead + Unpin,
    source: Source,
    line: OutputLine,
    to: mpsc::Sender<OutputLine>,
) {
    let mut from = BufReader::new(from);
    while let Some(text) = next_line(&mut from, source).await {
        if to.send(OutputLine { text, ..line.clone() }).await.is_err() {
            // The receiver is gone; drain the source, so that the program does not block.
            _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    }
}

async fn next_line(from: &mut (impl AsyncBufRead + Unpin), source: Source) -> Option<String> {
    let mut bytes = Vec::new();
    match source {
        Source::Pipe => {
            from.take(LONGEST_LINE).read_until(b'\n', &mut bytes).await.ok()?;
        }
        Source::Terminal => read_until_silence(from, &mut bytes).await.ok()?,
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches(['\r', '\n']);
    let text = match source {
        Source::Pipe => text,
        // What it has overwritten, as a progress bar does, is not visible on a terminal.
        Source::Terminal => text.rsplit('\r').next().unwrap_or_default(),
    };
    (!bytes.is_empty()).then(|| text.to_owned())
}

async fn read_until_silence(
    from: &mut (impl AsyncBufRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    from.fill_buf().await?;
    let mut from = from.take(LONGEST_LINE);
    loop {
        let before = bytes.len();
        match timeout(SILENCE, from.read_until(b'\n', bytes)).await {
            Err(_) if bytes.len() > before => {}
            Err(_) => return Ok(()),
            Ok(result) => return result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn terminal_shows_prompts_and_the_last_text_of_a_progress_bar() {
        let (reader, mut writer) = tokio::io::duplex(1024);
        let mut reader = BufReader::new(reader);
        writer.write_all(b"1%\r50%\r100%\r\nname: ").await.unwrap();
        let mut next = async || next_line(&mut reader, Source::Terminal).await;
        assert_eq!(next().await.as_deref(), Some("100%"));
        assert_eq!(next().await.as_deref(), Some("name: "));
        writer.write_all(b"\r\n\r\nend").await.unwrap();
        drop(writer);
        for line in ["", "", "end"] {
            assert_eq!(next().await.as_deref(), Some(line));
        }
        assert_eq!(next().await, None);
    }
}
