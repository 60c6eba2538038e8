//! How the programs of a stack are connected to a terminal.

use serde::Deserialize;

use super::entry::ServiceEntry;
use crate::child::{Terminal, WindowSize};

/// The setting `stdin` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdinMode {
    /// It stays open, and nothing is written to it. Some programs end when it is closed.
    #[default]
    Open,
    /// It is empty, for a program that reads it to its end.
    Closed,
}

// === impl ServiceEntry ===

impl ServiceEntry {
    /// Returns how the program is connected. The size of the terminal is known when the program starts.
    pub(super) fn terminal(&self) -> Terminal {
        match self.tty {
            true => Terminal::Own(WindowSize::default()),
            false => Terminal::Captured { closed_stdin: self.stdin == StdinMode::Closed },
        }
    }
}
