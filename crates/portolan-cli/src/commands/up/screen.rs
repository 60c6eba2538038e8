//! What `portolan up` shows: a table that stays current, with what the services print above it.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table};
use portolan_core::HealthStatus;
use portolan_supervisor::stack::{OutputLine, Row, State};

use crate::context::Context;
use crate::exit::Failure;
use crate::output;

/// Where the table is drawn.
pub(super) struct Screen {
    title: String,
    mode: Mode,
    quiet: bool,
    last: Vec<Row>,
}

enum Mode {
    /// Redrawn in its place; this many lines are to be taken back.
    Terminal { drawn: usize },
    /// Printed again after each change.
    Plain,
    /// One JSON object a change.
    Json,
}

// === impl Screen ===

impl Screen {
    pub(super) fn new(context: &Context, url: &str) -> Self {
        let mode = match (context.json, io::stdout().is_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Terminal { drawn: 0 },
            (false, false) => Mode::Plain,
        };
        let title = format!("stack {} with its registry at {url}; Ctrl-C stops all", context.scope);
        Self { title, mode, quiet: context.quiet, last: Vec::new() }
    }

    /// Shows the rows, where they are not what is shown already.
    pub(super) fn show(&mut self, rows: &[Row]) -> Result<(), Failure> {
        if rows == self.last {
            return Ok(());
        }
        self.last = rows.to_vec();
        self.take_back()?;
        self.draw()
    }

    /// Prints what a service printed, above the table.
    pub(super) fn print(&mut self, line: &OutputLine) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        self.take_back()?;
        output::note(format_args!(
            "{:<12} | {}",
            label(line.service.as_str(), line.instance),
            line.text
        ));
        match self.mode {
            Mode::Terminal { .. } => self.draw(),
            _ => Ok(()),
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let table = self.table();
        match &mut self.mode {
            Mode::Json => output::json(&serde_json::json!({ "services": self.last })),
            Mode::Plain => output::line(format_args!("{}\n{table}\n", self.title)),
            Mode::Terminal { drawn } => {
                let text = format!("\n{}\n{table}", self.title);
                *drawn = text.lines().count();
                output::line(text)
            }
        }
    }

    /// Clears the table from the terminal (ECMA-48: cursor up, erase below).
    fn take_back(&mut self) -> Result<(), Failure> {
        if let Mode::Terminal { drawn } = &mut self.mode
            && *drawn > 0
        {
            let mut out = io::stdout().lock();
            write!(out, "\x1b[{drawn}A\x1b[J").map_err(Failure::failed)?;
            *drawn = 0;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = output::table(["SERVICE", "WANTED", "GOT", "HEALTH", "STATE", "FOUND"]);
        // Within the terminal's width no line wraps, so the lines drawn are the lines counted.
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

fn health(row: &Row) -> &'static str {
    match row.state {
        State::Running => row.health.as_str(),
        _ if row.health == HealthStatus::Critical => row.health.as_str(),
        _ => "-",
    }
}

fn state(row: &Row) -> String {
    match &row.state {
        State::Waiting => "waiting".to_owned(),
        State::Running => row.pid.map_or_else(|| "running".to_owned(), |pid| format!("pid {pid}")),
        State::Stopping => "stopping".to_owned(),
        State::Exited { code: 0 } => "ended".to_owned(),
        State::Exited { code } => format!("exited {code}"),
        State::Failed { reason } => format!("failed: {reason}"),
    }
}

fn found(row: &Row) -> String {
    let found = row.found.iter().map(|(need, address)| match address.as_str() {
        "" => format!("{need} not yet"),
        address => format!("{need} at {address}"),
    });
    found.collect::<Vec<_>>().join(", ")
}
