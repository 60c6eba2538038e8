//! The systemd journal and syslog: one datagram a record.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::AuditError;

/// How long the daemon may take to accept a record.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Facility `authpriv`, severity `info` (RFC 3164, section 4.1.1).
const PRIORITY: u8 = 10 * 8 + 6;

/// A daemon that accepts records on a socket.
#[derive(Debug)]
pub(crate) struct Daemon {
    path: &'static str,
    format: fn(&str) -> String,
    socket: Option<UnixDatagram>,
}

// === impl Daemon ===

impl Daemon {
    /// The systemd journal, in its native protocol: a field a line.
    pub(crate) fn journal() -> Self {
        let format = |record: &str| {
            format!(
                "SYSLOG_IDENTIFIER=portolan-audit\nSYSLOG_FACILITY=10\nPRIORITY=6\nMESSAGE={record}\n"
            )
        };
        Self { path: "/run/systemd/journal/socket", format, socket: None }
    }

    /// The syslog daemon.
    pub(crate) fn syslog() -> Self {
        let format =
            |record: &str| format!("<{PRIORITY}>portolan-audit[{}]: {record}", std::process::id());
        Self { path: "/dev/log", format, socket: None }
    }

    pub(crate) fn connect(&mut self) -> Result<(), AuditError> {
        self.try_connect().map_err(|source| AuditError::Socket { socket: self.path, source })
    }

    /// Sends a record, which has no line feed. A daemon that was restarted has a new socket.
    pub(crate) fn send(&mut self, record: &str) -> Result<(), AuditError> {
        let datagram = (self.format)(record);
        let sent = self.try_send(&datagram).or_else(|_| {
            self.socket = None;
            self.try_send(&datagram)
        });
        sent.map_err(|source| AuditError::Socket { socket: self.path, source })
    }

    fn try_send(&mut self, datagram: &str) -> io::Result<()> {
        self.try_connect()?;
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.send(datagram.as_bytes()).map(drop)
    }

    fn try_connect(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.connect(self.path)?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            self.socket = Some(socket);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_have_the_format_of_their_daemon() {
        let record = r#"{"sequence":1}"#;
        let journal = (Daemon::journal().format)(record);
        assert!(journal.ends_with("PRIORITY=6\nMESSAGE={\"sequence\":1}\n"), "{journal}");
        let syslog = (Daemon::syslog().format)(record);
        assert!(syslog.starts_with("<86>portolan-audit["), "{syslog}");
        assert!(syslog.ends_with(r#"]: {"sequence":1}"#), "{syslog}");
    }

    #[test]
    fn daemon_receives_a_record_and_may_be_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let path: &'static str = folder.path().join("log").to_str().unwrap().to_owned().leak();
        let mut daemon = Daemon { path, format: str::to_owned, socket: None };
        assert!(daemon.connect().is_err());
        for record in ["a", "b"] {
            let listener = UnixDatagram::bind(path).unwrap();
            daemon.send(record).unwrap();
            let mut buffer = [0; 8];
            assert_eq!(listener.recv(&mut buffer).unwrap(), 1);
            assert_eq!(&buffer[..1], record.as_bytes());
            drop(listener);
            std::fs::remove_file(path).unwrap();
        }
    }
}
