//! `portolan ports check`: everything that there is to be said of one port.

use clap::Args;
use portolan_core::port;
use portolan_port_allocator::{PortListener, PortReport, PortRule, PortState, SystemPorts};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::output;

pub(super) const AFTER_HELP: &str = "\
Exit status 0 where the port is free to be granted, 4 where it is not.

After a program was started on a claimed port (`ports alloc --depth claimed`), this verifies it: \
the listeners say who answers there.";

/// Options of `portolan ports check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The port
    #[arg(value_parser = port::parse)]
    port: u16,
}

/// What is printed.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    report: PortReport,
    listeners: Vec<PortListener>,
    rules: Vec<Told>,
}

/// A rule, for programs and for people.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    rule: PortRule,
    text: String,
}

// === impl Check ===

impl Check {
    pub(super) fn run(&self, context: &Context) -> Ending {
        let allocator = context.allocator()?;
        let config = &context.settings().port_allocator;
        let rules = PortRule::all(self.port, config, &SystemPorts::of_this_host());
        let told = |rule: PortRule| Told { text: rule.to_string(), rule };
        let explained = Explained {
            report: allocator.check(self.port),
            listeners: allocator.listeners(self.port),
            rules: rules.into_iter().map(told).collect(),
        };
        match context.json {
            true => output::json(&explained)?,
            false => explained.print()?,
        }
        let is_free = explained.report.state == PortState::Free;
        Ok(if is_free { Exit::Done } else { Exit::NoPort })
    }
}

// === impl Explained ===

impl Explained {
    fn print(&self) -> Result<(), Failure> {
        output::line(&self.report)?;
        if !self.report.pools.is_empty() {
            output::line(format_args!("  pools: {}", self.report.pools.join(", ")))?;
        }
        if self.report.holder.is_some() && self.listeners.is_empty() {
            output::line("  listener: nobody yet")?;
        }
        for listener in &self.listeners {
            output::line(format_args!("  listener: {listener}"))?;
        }
        for Told { text, .. } in &self.rules {
            output::line(format_args!("  rule: {text}"))?;
        }
        Ok(())
    }
}
