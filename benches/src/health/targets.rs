//! The servers that are checked, which record when each check arrives.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// A server of TCP and one of HTTP. They end with this process.
pub(super) struct Targets {
    tcp: SocketAddr,
    http: SocketAddr,
    arrivals: Receiver<Arrival>,
}

/// A check: when it came, and the instance if the check names it.
type Arrival = (Instant, Option<usize>);

/// The checks in a span of time.
pub(super) struct Arrivals(Vec<Arrival>);

// === impl Targets ===

impl Targets {
    pub(super) fn start() -> Result<Self> {
        let (sender, arrivals) = channel();
        let tcp = serve(sender.clone(), |_| None)?;
        let http = serve(sender, answer)?;
        Ok(Self { tcp, http, arrivals })
    }

    /// Every other instance is checked by HTTP, with its number as the path.
    pub(super) fn url_of(&self, number: usize) -> String {
        match number % 2 {
            0 => format!("tcp://{}", self.tcp),
            _ => format!("http://{}/{number}", self.http),
        }
    }

    /// Returns the checks since the last call.
    pub(super) fn take(&self) -> Arrivals {
        Arrivals(self.arrivals.try_iter().collect())
    }
}

fn serve(sender: Sender<Arrival>, answer: fn(TcpStream) -> Option<usize>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let arrived = Instant::now();
            if sender.send((arrived, answer(stream))).is_err() {
                return;
            }
        }
    });
    Ok(address)
}

/// Answers a request, and returns the number in its path.
fn answer(mut stream: TcpStream) -> Option<usize> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request).ok()?;
    stream.write_all(RESPONSE).ok()?;
    let path = std::str::from_utf8(&request[..length]).ok()?.split_whitespace().nth(1)?;
    path.trim_start_matches('/').parse().ok()
}

// === impl Arrivals ===

impl Arrivals {
    /// Returns the most checks in a window, and the mean.
    pub(super) fn spread(&self, window: Duration) -> (f64, f64) {
        let times: Vec<_> = self.0.iter().map(|(time, _)| *time).collect();
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
            return (f64::NAN, f64::NAN);
        };
        let mut counts = HashMap::<u128, usize>::new();
        for time in &times {
            *counts.entry((*time - *first).as_nanos() / window.as_nanos()).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or_default();
        let windows = (*last - *first).as_secs_f64() / window.as_secs_f64();
        (most as f64, times.len() as f64 / windows)
    }

    /// Returns the longest time between two checks of the same instance.
    pub(super) fn longest_gap(&self) -> Duration {
        let mut last = HashMap::new();
        let mut longest = Duration::ZERO;
        for (time, number) in &self.0 {
            let Some(number) = number else { continue };
            if let Some(before) = last.insert(*number, *time) {
                longest = longest.max(time.saturating_duration_since(before));
            }
        }
        longest
    }
}
