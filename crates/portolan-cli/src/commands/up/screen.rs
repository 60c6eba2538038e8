//! The output of `portolan up`: a live table of the services, with their output above it.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, Table};
use portolan_core::HealthStatus;
use portolan_supervisor::stack::{InstanceState, InstanceStatus, OutputLine};

use crate::context::Context;
use crate::output;

/// Shows the table in the mode of the output.
pub(super) struct Screen {
    title: String,
    mode: Mode,
    quiet: bool,
    last: Vec<InstanceStatus>,
}

enum Mode {
    /// The table stays at the bottom of the terminal.
    Terminal,
    /// The table is printed again after each change.
    Plain,
    /// One JSON object per change.
    Json,
}

// === impl Screen ===

impl Screen {
    pub(super) fn new(context: &Context, url: &str) -> Self {
        let mode = match (context.json, io::stdout().is_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Terminal,
            (false, false) => Mode::Plain,
        };
        let title = format!("stack {}, registry at {url}; Ctrl-C stops it", context.scope);
        Self { title, mode, quiet: context.quiet, last: Vec::new() }
    }

    /// Shows the rows if they have changed.
    pub(super) fn show(&mut self, rows: &[InstanceStatus]) -> io::Result<()> {
        if rows == self.last {
            return Ok(());
        }
        self.last = rows.to_vec();
        match self.mode {
            Mode::Json => output::try_line(serde_json::json!({ "services": self.last })),
            Mode::Plain => output::try_line(format_args!("{}\n{}\n", self.title, self.table())),
            Mode::Terminal => output::live(format!("\n{}\n{}", self.title, self.table())),
        }
    }

    /// Prints output of the services above the table.
    pub(super) fn print(&self, lines: &[OutputLine]) {
        if self.quiet {
            return;
        }
        let text = lines.iter().map(|line| {
            format!("{:<12} | {}\n", label(line.service.as_str(), line.instance), line.text)
        });
        output::above(text.collect::<String>().as_bytes());
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
        InstanceState::NotListening => "not listening".to_owned(),
        InstanceState::Running => {
            row.pid.map_or_else(|| "running".to_owned(), |pid| format!("pid {pid}"))
        }
        InstanceState::Stopping => "stopping".to_owned(),
        InstanceState::Exited { code: 0 } => "ended".to_owned(),
        InstanceState::Exited { code } => format!("exited {code}"),
        InstanceState::Failed { reason } => format!("failed: {reason}"),
    }
}

fn found(row: &InstanceStatus) -> String {
    let found = row.found.iter().map(|(need, address)| match address.as_str() {
        "" => format!("{need} not yet"),
        address => format!("{need} at {address}"),
    });
    found.collect::<Vec<_>>().join(", ")
}
