//! The Prometheus text format, version 0.0.4.
//!
//! The library writes OpenMetrics, which names a counter's family without the suffix `_total` of its
//! samples and omits families without samples. `promtool` and most scrapers read the older format,
//! which uses one name for both. Families without samples are described as well, so that dashboards
//! and alerts can be written before the first event.

use std::fmt::Write as _;

use prometheus_client::registry::Registry;

/// The metadata of a family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Description {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Encodes every family of the registry, including those without samples.
pub(crate) fn encode(registry: &Registry, descriptions: &[Description]) -> String {
    let mut samples = String::new();
    prometheus_client::encoding::text::encode(&mut samples, registry)
        .expect("writing to a String does not fail");
    let mut text = String::with_capacity(samples.len() + 128 * descriptions.len());
    let mut described = Vec::new();
    for line in samples.lines() {
        match line.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next()) {
            Some(family) => {
                let description = descriptions.iter().find(|known| known.name == family);
                described.extend(description.map(|known| known.name));
                description.into_iter().for_each(|known| known.write(&mut text));
            }
            None if line.starts_with('#') => {}
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    let empty = descriptions.iter().filter(|known| !described.contains(&known.name));
    empty.for_each(|known| known.write(&mut text));
    text
}

// === impl Description ===

impl Description {
    fn write(&self, to: &mut String) {
        let &Self { name, help, kind } = self;
        let (suffix, kind) = match kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        writeln!(to, "# HELP {name}{suffix} {help}.\n# TYPE {name}{suffix} {kind}")
            .expect("writing to a String does not fail");
    }
}
