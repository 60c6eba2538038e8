//! The pseudo-terminal of a program (pty(7)): the program has one end as its standard input, output and error, and as its
//! controlling terminal; Portolan reads the other one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, ReadBuf};

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}

/// Portolan's end. The kernel sends SIGHUP to the program when the last copy is closed.
#[derive(Debug, Clone)]
pub struct Pty(Arc<AsyncFd<OwnedFd>>);

// === impl WindowSize ===

impl Default for WindowSize {
    /// That of the first terminals, which programs assume if they do not know it.
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

// === impl Pty ===

impl Pty {
    /// Creates a terminal of this size, and returns its other end as well. `owner` may open it again by its name, as
    /// `/dev/stdout` does.
    #[allow(deprecated, reason = "sound for an `OwnedFd`; the replacement is unsafe code")]
    pub(super) fn open(size: WindowSize, owner: Option<u32>) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let own_end = openpt(flags)?;
        grantpt(&own_end)?;
        unlockpt(&own_end)?;
        let other_end = ioctl_tiocgptpeer(&own_end, flags)?;
        if owner.is_some() {
            fchown(&other_end, owner, None)?;
        }
        set_size(&own_end, size)?;
        rustix::io::ioctl_fionbio(&own_end, true)?;
        Ok((Self(Arc::new(AsyncFd::new(own_end)?)), other_end))
    }

    /// Changes the size. The kernel tells the program by SIGWINCH. Errors are ignored: the program may be gone already.
    pub fn resize(&self, size: WindowSize) {
        _ = set_size(self.0.get_ref(), size);
    }
}

fn set_size(terminal: impl AsFd, WindowSize { rows, columns }: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

impl AsyncRead for Pty {
    /// Returns the end of the output when no process has the other end any more.
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            match rustix::io::read(self.0.get_ref(), buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::IO) => return Poll::Ready(Ok(())),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}
