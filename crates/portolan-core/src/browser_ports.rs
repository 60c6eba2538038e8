//! Ports that browsers block.

/// The sorted "bad ports" of the WHATWG Fetch standard
/// (<https://fetch.spec.whatwg.org/#port-blocking>): ports of old protocols whose servers may
/// interpret an HTTP request as commands.
const BLOCKED: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

/// Returns whether browsers and other implementations of the Fetch standard refuse HTTP on this
/// port.
pub fn is_blocked_by_browsers(port: u16) -> bool {
    BLOCKED.binary_search(&port).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pools;

    #[test]
    fn table_is_sorted_without_duplicates() {
        assert!(BLOCKED.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn only_the_ports_of_the_fetch_standard_are_blocked() {
        for port in [0, 1, 22, 4190, 5060, 6000, 6665, 6667, 6669, 6679, 6697, 10_080] {
            assert!(is_blocked_by_browsers(port), "{port}");
        }
        for port in [2, 80, 443, 5062, 6001, 6664, 6670, 8080, 10_081, 65_535] {
            assert!(!is_blocked_by_browsers(port), "{port}");
        }
    }

    #[test]
    fn built_in_pools_have_no_blocked_port() {
        for pool in Pools::default().iter() {
            let mut ports = pool.range.ports().chain([pool.default_port]);
            assert!(!ports.any(is_blocked_by_browsers), "{}", pool.name);
        }
    }
}
