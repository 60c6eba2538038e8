//! The size of the terminals of the programs: that of the terminal of `portolan up`, less what stands before each line.

use std::io;

use portolan_supervisor::child::WindowSize;
use tokio::sync::watch;

use super::screen::LABEL;

/// Follows the size.
pub(super) struct Window(watch::Sender<WindowSize>);

// === impl Window ===

impl Window {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(size()))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<WindowSize> {
        self.0.subscribe()
    }

    /// Tells the programs if the size has changed.
    pub(super) fn follow(&self) {
        let now = size();
        self.0.send_if_modified(|known| std::mem::replace(known, now) != now);
    }
}

fn size() -> WindowSize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > LABEL => {
            WindowSize { rows: size.ws_row, columns: size.ws_col - LABEL }
        }
        _ => WindowSize::default(),
    }
}
