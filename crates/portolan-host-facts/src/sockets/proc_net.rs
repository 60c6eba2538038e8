//! Sockets from `/proc/net/tcp`, `/proc/net/udp` and their IPv6 twins (proc_net(5)).

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Filter, Socket};
use crate::files;

/// `TCP_LISTEN`.
const TCP_LISTEN: &str = "0A";
/// `TCP_CLOSE`, the state of a UDP socket that is not connected.
const UDP_UNCONNECTED: &str = "07";

/// Lists TCP sockets; none if the list cannot be read.
pub(super) fn tcp(filter: Filter, port: Option<u16>) -> Vec<Socket> {
    let is_wanted = |socket: &Socket| {
        let has_state = match filter {
            Filter::All => true,
            Filter::Listening => socket.listening,
            Filter::Connected => !socket.listening,
            Filter::BoundOnly => false,
        };
        has_state && port.is_none_or(|port| port == socket.port)
    };
    list("tcp", TCP_LISTEN).chain(list("tcp6", TCP_LISTEN)).filter(is_wanted).collect()
}

/// Lists UDP sockets; none if the list cannot be read.
pub(super) fn udp() -> impl Iterator<Item = Socket> {
    list("udp", UDP_UNCONNECTED).chain(list("udp6", UDP_UNCONNECTED))
}

/// Fails if the list of TCP sockets cannot be read.
pub(super) fn check_readable() -> io::Result<()> {
    File::open(path("tcp")).map(drop)
}

/// With `thread-self`, because a thread may have moved to another network namespace.
fn path(name: &str) -> String {
    format!("/proc/thread-self/net/{name}")
}

/// An unreadable list is empty: IPv6 may be off, or `/proc` hidden.
fn list(name: &str, listening: &'static str) -> impl Iterator<Item = Socket> + use<> {
    let text = files::read(&path(name));
    let sockets: Vec<Socket> =
        text.lines().skip(1).filter_map(|line| parse(line, listening)).collect();
    sockets.into_iter()
}

pub(super) fn parse(line: &str, listening: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let (_, remote_port) = fields.get(2)?.split_once(':')?;
    Some(Socket {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        remote_port: u16::from_str_radix(remote_port, 16).ok()?,
        listening: *fields.get(3)? == listening,
        // The list does not say.
        ipv6_only: false,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// An address is one or four 32-bit words in this machine's byte order, eight hexadecimal digits
/// each.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_is_parsed() {
        let line = "   3: 0100007F:1538 0100007F:D431 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 12345 1 0000000000000000 100 0 0 10 0";
        let socket = parse(line, TCP_LISTEN).unwrap();
        assert_eq!((socket.port, socket.remote_port), (5432, 54_321));
        assert_eq!((socket.uid, socket.inode, socket.listening), (1000, 12_345, true));
        if cfg!(target_endian = "little") {
            assert_eq!(socket.address, IpAddr::from([127, 0, 0, 1]));
        }
    }

    #[test]
    fn malformed_line_is_skipped() {
        for line in [
            "",
            "0:",
            "0: zz:zz 0:0 0A",
            "0: 0100007F 0:0 0A a b c 0 0 1",
            "0: é00007F:1 0:0 0A a b c 0 0 1",
            "0: 0100007F:1 0 0A a b c 0 0 1",
        ] {
            assert_eq!(parse(line, TCP_LISTEN), None, "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_line_is_parsed(text: String, fields in prop::collection::vec("[0-9A-Fé:]{0,40}", 0..12)) {
            for text in [text, fields.join(" ")] {
                let socket = parse(&text, TCP_LISTEN);
                prop_assert!(socket.is_none_or(|it| it.address == it.address.to_canonical()));
            }
        }
    }
}
