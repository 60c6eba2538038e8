//! Kernel parameters, read from `/proc/sys` (sysctl(8)).

use crate::files;

/// Returns the value of a parameter, given with slashes (`net/ipv4/ip_local_port_range`), without
/// surrounding white space. Empty if the kernel has no such parameter.
pub fn value(name: &str) -> String {
    files::read(&format!("/proc/sys/{name}")).trim().to_owned()
}

/// Whether IPv6 sockets accept no IPv4 unless they ask for it (`net.ipv6.bindv6only`). `None`
/// without IPv6.
pub fn is_ipv6_only() -> Option<bool> {
    match value("net/ipv6/bindv6only").as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Returns how many files all processes have open, and how many they may have (`fs.file-nr`).
pub fn open_files() -> Option<(u64, u64)> {
    parse_file_nr(&value("fs/file-nr"))
}

/// Parses `open  unused  limit` (proc_sys_fs(5)).
fn parse_file_nr(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let open = numbers.next()?.ok()?;
    Some((open, numbers.nth(1)?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_the_first_and_the_third_number() {
        assert_eq!(parse_file_nr("1200\t0\t9223372036854775807"), Some((1200, i64::MAX as u64)));
        for text in ["", "1", "1 2", "1 2 x", "x 0 1"] {
            assert_eq!(parse_file_nr(text), None, "{text:?}");
        }
        assert!(open_files().is_some_and(|(open, limit)| 0 < open && open < limit));
    }

    #[test]
    fn unknown_parameter_is_empty() {
        assert_eq!(value("net/ipv4/no_such_parameter"), "");
        assert_ne!(value("net/ipv4/ip_local_port_range"), "");
    }
}
