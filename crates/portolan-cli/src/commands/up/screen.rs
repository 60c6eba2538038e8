//! The output of `portolan up`: a live table of the services, with their output above it.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, Table};
use portolan_core::HealthStatus;
use portolan_supervisor::stack::{InstanceState, InstanceStatus, OutputLine};

use crate::context::Context;
use crate::output;
use crate::output::background::{self, Latest};
use crate::output::without_controls;

/// The characters before each line of a program, if its name is not longer.
pub(super) const LABEL: u16 = 15;
/// The characters of a name, before ` | `.
const NAME: usize = LABEL as usize - 3;

/// Shows the stack in the mode of the output.
pub(super) struct Screen {
    title: String,
    mode: Mode,
    quiet: bool,
    last: Vec<InstanceStatus>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A table stays at the bottom of the terminal.
    Terminal,
    /// One line per change, between the lines of the programs.
    Plain,
    /// One JSON object per change.
    Json,
}

// === impl Screen ===

impl Screen {
    /// Output does not block from now on.
    pub(super) fn new(context: &Context, url: &str) -> io::Result<Self> {
        let mode = match (context.json, has_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Terminal,
            (false, false) => Mode::Plain,
        };
        background::start(mode == Mode::Terminal, background::FEW)?;
        let title = format!("stack {}, registry at {url}; Ctrl-C stops it", context.scope);
        if mode == Mode::Plain {
            output::note(&title);
        }
        Ok(Self { title, mode, quiet: context.quiet, last: Vec::new() })
    }

    /// Shows the rows if they have changed.
    pub(super) async fn show(&mut self, rows: &[InstanceStatus]) -> io::Result<()> {
        if rows == self.last {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.last, rows.to_vec());
        match self.mode {
            Mode::Json => {
                let line = format!("{}\n", serde_json::json!({ "services": self.last }));
                background::latest_or_wait(line).await
            }
            Mode::Plain if self.quiet => Ok(()),
            Mode::Plain => {
                let changes = changes(&before, rows);
                if changes.is_empty() { Ok(()) } else { background::out(changes).await }
            }
            Mode::Terminal => {
                background::latest(Latest::Live(format!("\n{}\n{}", self.title, self.table())))
            }
        }
    }

    /// Prints output of the services: on standard output, unless that has JSON.
    pub(super) async fn print(&self, lines: &[OutputLine]) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let text: String = lines.iter().map(|line| self.prefixed(line)).collect();
        match self.mode {
            Mode::Json => {
                background::err(text).await;
                Ok(())
            }
            _ => background::out(text).await,
        }
    }

    fn prefixed(&self, line: &OutputLine) -> String {
        let label = label(line.service.as_str(), line.instance);
        match self.mode {
            Mode::Terminal => format!("{label:<NAME$} | {}\n", without_controls(&line.text)),
            _ => format!("{label:<NAME$} | {}\n", line.text),
        }
    }

    fn table(&self) -> Table {
        let mut table = output::table(["SERVICE", "WANTED", "GOT", "HEALTH", "STATE", "FOUND"]);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for row in &self.last {
            table.add_row([
                label(row.service.as_str(), row.instance),
                row.wanted.map_or_else(|| "-".to_owned(), |port| port.to_string()),
                row.got.map_or_else(|| "-".to_owned(), |port| port.to_string()),
                health(row).to_owned(),
                state(row),
                found(row),
            ]);
        }
        table
    }
}

/// Whether standard output is a terminal of a known size: without one a table cannot be drawn.
fn has_terminal() -> bool {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    io::stdout().is_terminal() && size.is_ok_and(|size| size.ws_col > 0 && size.ws_row > 0)
}

/// Returns one line for each instance whose state, port or health has changed.
fn changes(before: &[InstanceStatus], now: &[InstanceStatus]) -> String {
    let seen = |row: &InstanceStatus| {
        let port = row.got.map(|port| format!(" on port {port}")).unwrap_or_default();
        let health = match health(row) {
            "-" => String::new(),
            health => format!(", {health}"),
        };
        let found = found(row);
        let found = if found.is_empty() { found } else { format!("; {found}") };
        format!("{}{port}{health}{found}", state(row))
    };
    let mut lines = String::new();
    for (index, row) in now.iter().enumerate() {
        let text = seen(row);
        if before.get(index).is_none_or(|before| seen(before) != text) {
            let label = label(row.service.as_str(), row.instance);
            lines += &format!("{label:<12} * {text}\n");
        }
    }
    lines
}

fn label(service: &str, instance: u16) -> String {
    match instance {
        1 => service.to_owned(),
        instance => format!("{service} {instance}"),
    }
}

fn health(row: &InstanceStatus) -> &'static str {
    match row.state {
        InstanceState::Running => row.health.as_str(),
        _ if row.health == HealthStatus::Critical => row.health.as_str(),
        _ => "-",
    }
}

fn state(row: &InstanceStatus) -> String {
    match &row.state {
        InstanceState::Waiting => "waiting".to_owned(),
        InstanceState::Starting => "starting".to_owned(),
        InstanceState::NotListening if row.other_ports.is_empty() => "not listening".to_owned(),
        InstanceState::NotListening => {
            let ports: Vec<String> = row.other_ports.iter().map(u16::to_string).collect();
            format!("not listening, but on {}", ports.join(", "))
        }
        InstanceState::Running => {
            row.pid.map_or_else(|| "running".to_owned(), |pid| format!("pid {pid}"))
        }
        InstanceState::Restarting { reason, attempt } => {
            format!("restart {attempt} follows: {reason}")
        }
        InstanceState::Stopping => "stopping".to_owned(),
        InstanceState::Exited { code: 0 } => "ended".to_owned(),
        InstanceState::Exited { code } => format!("exited {code}"),
        InstanceState::Failed { reason, .. } => format!("failed: {reason}"),
    }
}

fn found(row: &InstanceStatus) -> String {
    let found = row.found.iter().map(|(need, address)| match address.as_str() {
        "" => format!("{need} not yet"),
        address => format!("{need} at {address}"),
    });
    found.collect::<Vec<_>>().join(", ")
}
