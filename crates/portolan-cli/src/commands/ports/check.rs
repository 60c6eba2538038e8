//! `portolan ports check`: explains one port.

use clap::Args;
use portolan_core::port;
use portolan_port_allocator::{PortListener, PortReport, PortRule, PortState, SystemPorts};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

pub(super) const AFTER_HELP: &str = "\
The exit status is 0 if the port can be leased, else 4.

After a program was started on a claimed port (`ports alloc --depth claimed`), the listeners show \
whether it is the one that was meant.";

/// Options of `portolan ports check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Port to explain
    #[arg(value_parser = port::parse)]
    port: u16,
    /// Explain whether it can be leased for UDP as well
    #[arg(long)]
    udp: bool,
}

/// The explanation of a port.
#[derive(Serialize)]
struct Explanation {
    #[serde(flatten)]
    report: PortReport,
    listeners: Vec<PortListener>,
    rules: Vec<RuleText>,
}

/// A rule, as data and as text.
#[derive(Serialize)]
struct RuleText {
    #[serde(flatten)]
    rule: PortRule,
    text: String,
}

// === impl Check ===

impl Check {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let allocator = context.allocator()?;
        let config = &context.settings().port_allocator;
        let rules = PortRule::all(self.port, config, &SystemPorts::read());
        let with_text = |rule: PortRule| RuleText { text: rule.to_string(), rule };
        let explanation = Explanation {
            report: match self.udp {
                true => allocator.check_with_udp(self.port),
                false => allocator.check(self.port),
            },
            listeners: allocator.listeners(self.port),
            rules: rules.into_iter().map(with_text).collect(),
        };
        if context.json {
            output::json(&explanation)?;
        } else {
            explanation.print()?;
        }
        let is_free = explanation.report.state == PortState::Free;
        Ok(if is_free { Exit::Done } else { Exit::NoPort })
    }
}

// === impl Explanation ===

impl Explanation {
    fn print(&self) -> Result<(), Failure> {
        output::line(&self.report)?;
        if !self.report.pools.is_empty() {
            output::line(format_args!("  pools: {}", self.report.pools.join(", ")))?;
        }
        if self.report.holder.is_some() && self.listeners.is_empty() {
            output::line("  listener: none")?;
        }
        for listener in &self.listeners {
            output::line(format_args!("  listener: {listener}"))?;
        }
        for RuleText { text, .. } in &self.rules {
            output::line(format_args!("  rule: {text}"))?;
        }
        Ok(())
    }
}
