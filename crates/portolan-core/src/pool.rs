//! The six kinds of service that have a port of their own and a range to fall back on.

use crate::PortRange;

/// A kind of service: its default port, the range behind it, and the names it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The pool's name, as configuration, flags and metric labels write it.
    pub name: &'static str,
    /// The port that such services have by convention.
    pub default_port: u16,
    /// Where to look when the default is taken.
    pub fallback: PortRange,
    /// Names that mean a service of this kind itself, as in "the" `postgres`: the default port
    /// answers to them.
    pub own_names: &'static [&'static str],
    /// Parts of a name that tell its kind: `postgres-primary` is a `database`.
    pub name_parts: &'static [&'static str],
    /// The protocol that an endpoint of this kind speaks unless it says otherwise.
    pub protocol: &'static str,
}

/// Every pool of the specification. The first whose `name_parts` fit a name is its pool, so the
/// more telling ones stand first: a `redis-metrics` exporter serves metrics.
pub const POOLS: [Pool; 6] = [
    Pool {
        name: "metrics",
        default_port: 9090,
        fallback: range(9100, 9199),
        own_names: &["metrics", "prometheus"],
        name_parts: &["metrics", "exporter", "prometheus"],
        protocol: "http",
    },
    Pool {
        name: "grpc",
        default_port: 9090,
        fallback: range(9091, 9109),
        own_names: &["grpc"],
        name_parts: &["grpc"],
        protocol: "grpc",
    },
    Pool {
        name: "websocket",
        default_port: 8000,
        fallback: range(8001, 8020),
        own_names: &["websocket"],
        name_parts: &["websocket", "ws"],
        protocol: "http",
    },
    Pool {
        name: "database",
        default_port: 5432,
        fallback: range(5433, 5442),
        own_names: &["postgres", "postgresql", "database"],
        name_parts: &["postgres", "postgresql", "pg", "database", "db"],
        protocol: "tcp",
    },
    Pool {
        name: "cache",
        default_port: 6379,
        fallback: range(6380, 6389),
        own_names: &["redis", "valkey", "cache"],
        name_parts: &["redis", "valkey", "cache"],
        protocol: "tcp",
    },
    Pool {
        name: "api",
        default_port: 8080,
        fallback: range(8081, 8099),
        own_names: &["api", "http"],
        name_parts: &["api", "http", "web"],
        protocol: "http",
    },
];

const fn range(start: u16, end: u16) -> PortRange {
    PortRange::known(start, end)
}

// === impl Pool ===

impl Pool {
    /// The pool of that name.
    pub fn named(name: &str) -> Option<&'static Pool> {
        POOLS.iter().find(|pool| pool.name == name)
    }

    /// The pool that a service's name speaks of: one of its words, parted by `-`, `_` or `.`, is a
    /// word of the pool, digits at the end aside (`postgres2`), or contains a long one.
    pub fn of_service(service: &str) -> Option<&'static Pool> {
        let words = || {
            let words = service.split(['-', '_', '.']);
            words.map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()))
        };
        // A short part must be the whole word: "therapist" is no API, but "mypostgres" is a database.
        let fits = |part: &str| {
            let is_telling = part.len() >= 5;
            words().any(|word| word.eq_ignore_ascii_case(part) || is_telling && has(word, part))
        };
        POOLS.iter().find(|pool| pool.name_parts.iter().any(|part| fits(part)))
    }

    /// Whether such services are what browsers connect to.
    pub fn speaks_http(&self) -> bool {
        self.protocol == "http"
    }

    /// Whether the name means this kind of service itself, with no instance told apart.
    pub fn is_own_name(&self, service: &str) -> bool {
        self.own_names.iter().any(|own| service.eq_ignore_ascii_case(own))
    }
}

/// Whether the word has the part in it, in whichever case.
fn has(word: &str, part: &str) -> bool {
    word.as_bytes().windows(part.len()).any(|found| found.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool_of(service: &str) -> Option<&'static str> {
        Pool::of_service(service).map(|pool| pool.name)
    }

    #[test]
    fn a_name_tells_its_pool_by_its_words() {
        for (service, pool) in [
            ("postgres-primary", "database"),
            ("postgres2", "database"),
            ("orders.db", "database"),
            ("redis", "cache"),
            ("api-server", "api"),
            ("user_grpc", "grpc"),
            ("redis-metrics", "metrics"),
            ("chat-ws", "websocket"),
            ("mypostgres", "database"),
        ] {
            assert_eq!(pool_of(service), Some(pool), "{service}");
        }
    }

    #[test]
    fn a_short_word_within_a_word_tells_nothing() {
        for service in ["worker", "therapist", "news", "dbus"] {
            assert_eq!(pool_of(service), None, "{service}");
        }
    }

    #[test]
    fn only_the_kinds_own_name_answers_to_its_default_port() {
        let database = Pool::named("database").unwrap();
        assert!(database.is_own_name("postgres"));
        assert!(!database.is_own_name("postgres-2"));
    }
}
