//! A TCP proxy that a test can disconnect and slow down.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;

/// Forwards connections to another port until it is disconnected.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    ended: AtomicBool,
    cut: AtomicBool,
    /// In milliseconds.
    delay: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy to a port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be bound.
    pub fn to_port(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for the proxy")?;
        let (address, state) = (listener.local_addr()?, Arc::<State>::default());
        let shared = Arc::clone(&state);
        let listening = thread::spawn(move || listen(&listener, port, &shared));
        Ok(Self { address, state, listening: Some(listening) })
    }

    /// Returns the proxy's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection and refuses new ones.
    pub fn disconnect(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.state.close_all();
    }

    /// Passes on whatever it reads only after this time, in both directions, as a long line would.
    pub fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay.store(millis, Ordering::SeqCst);
    }

    /// Accepts connections again.
    pub fn reconnect(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which then sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

// === impl State ===

impl State {
    fn close_all(&self) {
        let mut connections = self.connections.lock();
        for connection in connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn track(&self, connection: &TcpStream) -> io::Result<()> {
        let kept = connection.try_clone()?;
        self.connections.lock().push(kept);
        Ok(())
    }
}

fn listen(listener: &TcpListener, port: u16, state: &State) {
    thread::scope(|threads| {
        for connection in listener.incoming() {
            if state.ended.load(Ordering::SeqCst) {
                break;
            }
            let through = !state.cut.load(Ordering::SeqCst);
            let Some(near) = connection.ok().filter(|_| through) else { continue };
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            if let (Ok(()), Ok(())) = (state.track(&near), state.track(&far)) {
                let (near_reader, far_reader) = (near.try_clone(), far.try_clone());
                threads.spawn(move || forward(near_reader, &far, state));
                threads.spawn(move || forward(far_reader, &near, state));
            }
        }
        state.close_all();
    });
}

fn forward(from: io::Result<TcpStream>, to: &TcpStream, state: &State) {
    if let Ok(from) = from {
        let _ = copy(from, to, state);
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn copy(mut from: TcpStream, mut to: &TcpStream, state: &State) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let delay = state.delay.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        to.write_all(&buffer[..read])?;
    }
}
