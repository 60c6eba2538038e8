//! Inspection: the holders and users of ports, and the rules that apply to a port. Changes nothing.

pub(crate) mod ephemeral_overlap;
pub(crate) mod lease_snapshot;
pub(crate) mod listeners;
pub(crate) mod report;
pub(crate) mod rules;
