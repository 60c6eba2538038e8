//! Output on threads of its own, for commands that must go on while nobody reads their output: a terminal that is stopped
//! (Ctrl-S), a pager, a pipe that is not read.
//!
//! A queue has a bound. While a write has been pending for [`STALLED`], what does not fit is dropped, counted, and reported once
//! the output is read again.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use tokio::time::Instant;

use super::live;

/// How much output is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volume {
    /// How many texts wait for each output.
    queue: usize,
    /// How long messages are collected before they are written. A thread that is woken for each line costs more than the line.
    collect: Duration,
}

/// The output of a command that prints what its programs print.
pub(crate) const FEW: Volume = Volume { queue: 16, collect: Duration::ZERO };
/// That of a server, whose log must not lose lines in a burst of requests. A line has some hundred bytes.
pub(crate) const MANY: Volume = Volume { queue: 4096, collect: Duration::from_millis(1) };
/// How many bytes of messages are written at once.
const BATCH: usize = 64 * 1024;
/// The time after which a pending write says that nobody reads.
const STALLED: Duration = Duration::from_secs(1);
/// How often a full queue is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// The two outputs; standard error has the same thread as standard output if a live text is below both.
struct Outputs {
    out: Lane,
    err: Lane,
}

static OUTPUTS: OnceLock<Outputs> = OnceLock::new();

#[derive(Clone)]
struct Lane {
    queue: SyncSender<Job>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pending_since: Option<Instant>,
    /// Lines that were dropped and not reported.
    dropped: usize,
    /// The latest text that replaces earlier ones, to be shown when the thread gets to it.
    latest: Option<Latest>,
    failed: Option<io::ErrorKind>,
}

enum Job {
    Out(String),
    Above(Vec<u8>),
    Latest,
    Flush(SyncSender<()>),
}

/// A text that makes earlier ones of its kind obsolete.
pub(crate) enum Latest {
    /// The live text at the bottom of the terminal.
    Live(String),
    /// A line on standard output.
    Line(String),
}

/// From now on nothing that is printed blocks its caller. `shared` if both outputs are one
/// terminal with a live text.
pub(crate) fn start(shared: bool, volume: Volume) -> io::Result<()> {
    let out = Lane::start("stdout", volume)?;
    let err = if shared { out.clone() } else { Lane::start("stderr", volume)? };
    _ = OUTPUTS.set(Outputs { out, err });
    Ok(())
}

/// Whether output is written by threads of its own.
pub(super) fn is_started() -> bool {
    OUTPUTS.get().is_some()
}

/// Prints on standard error; dropped if nobody reads it. Returns whether output is in the background.
pub(super) fn above(text: &[u8]) -> bool {
    let Some(outputs) = OUTPUTS.get() else { return false };
    outputs.err.offer(Job::Above(text.to_vec()));
    true
}

/// Prints on standard output, and waits for room as long as somebody reads.
pub(crate) async fn out(text: String) -> io::Result<()> {
    match OUTPUTS.get() {
        Some(outputs) => outputs.out.send(Job::Out(text)).await,
        None => Ok(()),
    }
}

/// Prints on standard error, above a live text, and waits for room as long as somebody reads.
pub(crate) async fn err(text: String) {
    if let Some(outputs) = OUTPUTS.get() {
        _ = outputs.err.send(Job::Above(text.into_bytes())).await;
    }
}

/// Shows a text that replaces earlier ones; if nobody reads, only the last one is shown later.
pub(crate) fn latest(text: Latest) -> io::Result<()> {
    match OUTPUTS.get() {
        Some(Outputs { out, .. }) => {
            out.state.lock().latest = Some(text);
            // If the queue is full, the thread shows it after the next job.
            _ = out.queue.try_send(Job::Latest);
            out.result()
        }
        None => Ok(()),
    }
}

/// Prints a line on standard output; if nobody reads, only the last one is printed later.
pub(crate) async fn latest_or_wait(text: String) -> io::Result<()> {
    let Some(Outputs { out, .. }) = OUTPUTS.get() else { return Ok(()) };
    if out.state.lock().is_stalled() {
        return latest(Latest::Line(text));
    }
    out.send(Job::Out(text)).await
}

/// Prints a line on standard output without waiting; dropped if nobody reads it.
pub(super) fn line(text: String) -> io::Result<()> {
    match OUTPUTS.get() {
        Some(outputs) => {
            outputs.out.offer(Job::Out(text));
            outputs.out.result()
        }
        None => Ok(()),
    }
}

/// Waits until everything is printed, but no longer than this.
pub(crate) fn finish(limit: Duration) {
    let Some(outputs) = OUTPUTS.get() else { return };
    let until = Instant::now() + limit;
    for lane in [&outputs.out, &outputs.err] {
        let (done, wait) = sync_channel(1);
        let mut job = Job::Flush(done);
        while let Err(TrySendError::Full(again)) = lane.queue.try_send(job) {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(RETRY);
            job = again;
        }
        _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

// === impl Lane ===

impl Lane {
    fn start(name: &str, Volume { queue, collect }: Volume) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(queue);
        let state = Arc::new(Mutex::new(State::default()));
        let lane = Self { queue, state: state.clone() };
        // The process ends without it: it may be blocked for ever.
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write(&jobs, collect, &state))?;
        Ok(lane)
    }

    fn offer(&self, job: Job) {
        if let Err(TrySendError::Full(job)) = self.queue.try_send(job) {
            self.state.lock().dropped += job.lines();
        }
    }

    async fn send(&self, mut job: Job) -> io::Result<()> {
        while let Err(error) = self.queue.try_send(job) {
            let TrySendError::Full(again) = error else { break };
            if self.state.lock().is_stalled() {
                self.state.lock().dropped += again.lines();
                break;
            }
            job = again;
            tokio::time::sleep(RETRY).await;
        }
        self.result()
    }

    fn result(&self) -> io::Result<()> {
        self.state.lock().failed.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl State {
    fn is_stalled(&self) -> bool {
        self.pending_since.is_some_and(|since| since.elapsed() >= STALLED)
    }
}

impl Job {
    fn lines(&self) -> usize {
        match self {
            Self::Out(text) => text.lines().count(),
            Self::Above(text) => text.split(|byte| *byte == b'\n').count() - 1,
            Self::Latest | Self::Flush(_) => 0,
        }
    }
}

/// Takes the next job, with the messages behind it if it is one. The other job is what came after them.
fn take(jobs: &Receiver<Job>, collect: Duration) -> Option<(Job, Option<Job>)> {
    let mut job = jobs.recv().ok()?;
    let Job::Above(text) = &mut job else { return Some((job, None)) };
    if !collect.is_zero() {
        std::thread::sleep(collect);
    }
    while text.len() < BATCH {
        match jobs.try_recv() {
            Ok(Job::Above(more)) => text.extend(more),
            Ok(other) => return Some((job, Some(other))),
            Err(_) => break,
        }
    }
    Some((job, None))
}

fn write(jobs: &Receiver<Job>, collect: Duration, state: &Mutex<State>) {
    let mut next = None;
    while let Some((job, behind)) =
        next.take().map(|job| (job, None)).or_else(|| take(jobs, collect))
    {
        next = behind;
        state.lock().pending_since = Some(Instant::now());
        let dropped = std::mem::take(&mut state.lock().dropped);
        if dropped > 0 {
            live::above_now(
                format!("warning: {dropped} lines of output were dropped while nobody read it\n")
                    .as_bytes(),
            );
        }
        let result = match job {
            Job::Out(text) => live::out_now(&text),
            Job::Above(text) => {
                live::above_now(&text);
                Ok(())
            }
            Job::Latest => Ok(()),
            Job::Flush(done) => {
                _ = done.try_send(());
                Ok(())
            }
        };
        let latest = state.lock().latest.take();
        let result = result.and(match latest {
            Some(Latest::Live(text)) => live::live_now(text),
            Some(Latest::Line(text)) => live::out_now(&text),
            None => Ok(()),
        });
        let mut state = state.lock();
        state.pending_since = None;
        state.failed = state.failed.or(result.err().map(|error| error.kind()));
    }
}

/// Writes everything, also if a program that shares the descriptor has made it non-blocking, as Node.js does.
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::new(&to, PollFlags::OUT)];
                _ = rustix::event::poll(&mut ready, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn everything_is_written_to_a_descriptor_that_does_not_block() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let text = vec![b'x'; 300_000];
        let written = std::thread::spawn(move || write_all(&writer, &text));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        written.join().unwrap().unwrap();
        assert_eq!(read.len(), 300_000);
    }

    #[tokio::test]
    async fn text_is_dropped_and_counted_only_once_nobody_has_read_for_a_while() {
        let (queue, jobs) = sync_channel(1);
        let lane = Lane { queue, state: Arc::default() };
        lane.state.lock().pending_since = Instant::now().checked_sub(STALLED);
        lane.send(Job::Out("first\n".into())).await.unwrap();
        lane.send(Job::Out("a\nb\n".into())).await.unwrap();
        assert_eq!(lane.state.lock().dropped, 2);
        drop(jobs);
    }
}
