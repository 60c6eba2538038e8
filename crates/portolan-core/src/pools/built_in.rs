//! The built-in pools: the specification's default ports and fallback ranges.

use crate::PortRange;

/// The protocol of services that browsers connect to.
pub(super) const HTTP: &str = "http";

/// A pool of the specification.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) default_port: u16,
    pub(super) range: PortRange,
    /// Names that denote this type of service as such.
    pub(super) own_names: &'static [&'static str],
    /// Words of a service name that imply the pool.
    words: &'static [&'static str],
    pub(super) protocol: &'static str,
}

/// The more specific words come first: a `redis-metrics` exporter is in `metrics`.
pub(super) const BUILT_IN: [BuiltIn; 6] = [
    BuiltIn {
        name: "metrics",
        default_port: 9090,
        range: PortRange::known(9100, 9199),
        own_names: &["metrics", "prometheus"],
        words: &["metrics", "exporter", "prometheus"],
        protocol: HTTP,
    },
    BuiltIn {
        name: "grpc",
        default_port: 9090,
        range: PortRange::known(9091, 9109),
        own_names: &["grpc"],
        words: &["grpc"],
        protocol: "grpc",
    },
    BuiltIn {
        name: "websocket",
        default_port: 8000,
        range: PortRange::known(8001, 8020),
        own_names: &["websocket"],
        words: &["websocket", "ws"],
        protocol: HTTP,
    },
    BuiltIn {
        name: "database",
        default_port: 5432,
        range: PortRange::known(5433, 5442),
        own_names: &["postgres", "postgresql", "database"],
        words: &["postgres", "postgresql", "pg", "database", "db"],
        protocol: "tcp",
    },
    BuiltIn {
        name: "cache",
        default_port: 6379,
        range: PortRange::known(6380, 6389),
        own_names: &["redis", "valkey", "cache"],
        words: &["redis", "valkey", "cache"],
        protocol: "tcp",
    },
    BuiltIn {
        name: "api",
        default_port: 8080,
        range: PortRange::known(8081, 8099),
        own_names: &["api", "http"],
        words: &["api", "http", "web"],
        protocol: HTTP,
    },
];

// === impl BuiltIn ===

impl BuiltIn {
    pub(super) fn with_name(name: &str) -> Option<&'static BuiltIn> {
        const { &BUILT_IN }.iter().find(|pool| pool.name == name)
    }
}

/// Returns the name of the first pool one of whose words is a word of the service name. Words are
/// separated by `-`, `_` or `.`; trailing digits are ignored (`postgres2`).
pub(super) fn implied_by(service: &str) -> Option<&'static str> {
    let words = || service.split(['-', '_', '.']).map(|word| word.trim_end_matches(is_digit));
    // A short word must match as a whole: "therapist" is not an API, but "mypostgres" is a database.
    let fits = |word: &&str| {
        words().any(|found| found.eq_ignore_ascii_case(word) || word.len() >= 5 && has(found, word))
    };
    let implied = |pool: &&BuiltIn| pool.words.iter().any(&fits);
    const { &BUILT_IN }.iter().find(implied).map(|pool| pool.name)
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Whether the word contains the part, ignoring ASCII case.
fn has(word: &str, part: &str) -> bool {
    word.as_bytes().windows(part.len()).any(|found| found.eq_ignore_ascii_case(part.as_bytes()))
}
