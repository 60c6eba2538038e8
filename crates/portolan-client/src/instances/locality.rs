//! Which instances are near.

/// Whether near instances are preferred: those on this host, then those of this zone, then all others. By default all are equal.
///
/// A nearer instance is preferred only while it is as usable as the others: one that is critical, drains, or to which a caller
/// could not connect has no precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Locality {
    /// Whether instances on this host come first.
    pub(crate) same_host: bool,
    /// The zone of this process.
    pub(crate) zone: Option<String>,
}
