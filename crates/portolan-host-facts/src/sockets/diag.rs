//! TCP sockets from sock_diag(7). The kernel visits the requested sockets only, while reading
//! `/proc/net/tcp` makes it visit its whole connection table, which takes many milliseconds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::libc;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::{Filter, Socket};

/// The kernel answers at once. The timeout is for sandboxes that emulate netlink.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The kernel fills 32 KiB at most.
const BUFFER: usize = 32 * 1024;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`, and `NLM_F_REQUEST`.
const DUMP: u16 = 0x301;
const ONE: u16 = 0x001;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The sizes of `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const RESPONSE: usize = 72;

/// Where the fields of `struct inet_diag_sockid` are in a request; the cookie is the last one.
const SOURCE_PORT: usize = HEADER + 8;
const DESTINATION_PORT: usize = SOURCE_PORT + 2;
const SOURCE: usize = DESTINATION_PORT + 2;
const DESTINATION: usize = SOURCE + 16;
const COOKIE: usize = HEADER + REQUEST - 8;

/// `INET_DIAG_SKV6ONLY`.
const IPV6_ONLY: u16 = 11;

/// `TCP_LISTEN`, `TCP_BOUND_INACTIVE`, and the mask of all states.
const LISTEN: u8 = 10;
const BOUND_INACTIVE: u8 = 13;
const ALL: u32 = 0xfff | 1 << BOUND_INACTIVE;

/// Returns the connected socket with exactly these addresses, which the kernel finds without a search. Not one whose process has
/// closed it: the kernel says of it neither the user nor the inode.
pub(super) fn connected(local: SocketAddr, remote: SocketAddr) -> io::Result<Socket> {
    let mut kernel = Kernel::open()?;
    let mut found = Vec::new();
    let request = connection_request(kernel.question, local, remote)?;
    rustix::net::send(&kernel.socket, &request, SendFlags::empty())?;
    // One message, which no other one follows.
    kernel.receive(&mut found)?;
    // The kernel returns a listener on the port if there is no connection.
    let is_open = |socket: &Socket| socket.inode != 0 && socket.remote_port == remote.port();
    found.into_iter().find(is_open).ok_or(io::ErrorKind::NotFound.into())
}

/// The families of sockets.
const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// A socket to the kernel's sock_diag(7), for one question at a time.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// The number of the last question. Answers to others are skipped: a process that was forked has the same socket.
    question: u32,
}

/// Lists the sockets of both families that are bound to the port, or to any port for `None`.
pub(super) fn tcp(filter: Filter, port: Option<u16>) -> io::Result<Vec<Socket>> {
    let mut kernel = Kernel::open()?;
    let mut sockets = Vec::new();
    for family in FAMILIES {
        kernel.ask(family, filter, port, &mut sockets)?;
    }
    Ok(sockets)
}

// === impl Kernel ===

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self { socket, buffer: vec![0; BUFFER], question: std::process::id() })
    }

    /// Whether a socket listens on the TCP port. After an error the next answer may be that of this question.
    pub(super) fn has_listener(&mut self, port: u16) -> io::Result<bool> {
        let mut found = Vec::new();
        for family in FAMILIES {
            self.ask(family, Filter::Listening, Some(port), &mut found)?;
            if !found.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ask(
        &mut self,
        family: i32,
        filter: Filter,
        port: Option<u16>,
        sockets: &mut Vec<Socket>,
    ) -> io::Result<()> {
        let family = u8::try_from(family).map_err(io::Error::other)?;
        self.question = self.question.wrapping_add(1);
        let request = request(self.question, family, filter, port);
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        while !self.receive(sockets)? {}
        // The kernel does not filter sockets that are only bound by port.
        sockets.retain(|socket| port.is_none_or(|port| port == socket.port));
        Ok(())
    }

    /// Reads one datagram of the answer; true if it was the last.
    fn receive(&mut self, sockets: &mut Vec<Socket>) -> io::Result<bool> {
        let (_, length) = rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)?;
        let bytes = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        read_messages(bytes, self.question, sockets)
    }
}

fn request(question: u32, family: u8, filter: Filter, port: Option<u16>) -> [u8; HEADER + REQUEST] {
    let states = match filter {
        Filter::All => ALL,
        Filter::Listening => 1 << LISTEN,
        Filter::Connected => ALL & !(1 << LISTEN | 1 << BOUND_INACTIVE),
        Filter::BoundOnly => 1 << BOUND_INACTIVE,
    };
    let mut message = header(question, DUMP, family, states);
    message[SOURCE_PORT..][..2].copy_from_slice(&port.unwrap_or_default().to_be_bytes());
    message
}

/// A request for one socket, whatever its cookie.
fn connection_request(
    question: u32,
    local: SocketAddr,
    remote: SocketAddr,
) -> io::Result<[u8; HEADER + REQUEST]> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut message = header(question, ONE, u8::try_from(family).map_err(io::Error::other)?, ALL);
    for (at, port) in [(SOURCE_PORT, local.port()), (DESTINATION_PORT, remote.port())] {
        message[at..][..2].copy_from_slice(&port.to_be_bytes());
    }
    for (at, address) in [(SOURCE, local.ip()), (DESTINATION, remote.ip())] {
        match address {
            IpAddr::V4(address) => message[at..][..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => message[at..][..16].copy_from_slice(&address.octets()),
        }
    }
    message[COOKIE..].copy_from_slice(&[0xff; 8]);
    Ok(message)
}

fn header(question: u32, flags: u16, family: u8, states: u32) -> [u8; HEADER + REQUEST] {
    let mut message = [0; HEADER + REQUEST];
    let length = (HEADER + REQUEST) as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[8..12].copy_from_slice(&question.to_ne_bytes());
    message[HEADER] = family;
    message[HEADER + 1] = libc::IPPROTO_TCP as u8;
    message[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
    message
}

/// Parses a datagram from anybody, for the fuzz target only.
#[cfg(fuzzing)]
pub fn parse_datagram(bytes: &[u8]) -> Option<usize> {
    let mut sockets = Vec::new();
    read_messages(bytes, 0, &mut sockets).ok()?;
    Some(sockets.len())
}

/// Parses the messages of one datagram that answer the question; true if they were the last.
fn read_messages(mut bytes: &[u8], question: u32, sockets: &mut Vec<Socket>) -> io::Result<bool> {
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, _, _, g, h, i, j, ..] = *header;
        let (length, kind) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
        let body = bytes.get(HEADER..length as usize).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            _ if u32::from_ne_bytes([g, h, i, j]) != question => {}
            DONE => return Ok(true),
            ERROR => return Err(error(body)),
            BY_FAMILY => sockets.extend(parse(body)),
            _ => {}
        }
        let padded = (length as usize).next_multiple_of(4);
        bytes = bytes.get(padded..).unwrap_or_default();
    }
    Ok(false)
}

fn error(body: &[u8]) -> io::Error {
    match body.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
        Some(code) if code < 0 => io::Error::from_raw_os_error(code.saturating_neg()),
        _ => io::ErrorKind::InvalidData.into(),
    }
}

/// Parses a `struct inet_diag_msg` and its attributes.
fn parse(message: &[u8]) -> Option<Socket> {
    let body = message.first_chunk::<RESPONSE>()?;
    let word = |at: usize| Some(u32::from_ne_bytes(*body[at..].first_chunk()?));
    let address = match i32::from(body[0]) {
        libc::AF_INET => Ipv4Addr::from(*body[8..].first_chunk::<4>()?).into(),
        libc::AF_INET6 => {
            IpAddr::from(Ipv6Addr::from(*body[8..].first_chunk::<16>()?)).to_canonical()
        }
        _ => return None,
    };
    Some(Socket {
        address,
        port: u16::from_be_bytes([body[4], body[5]]),
        remote_port: u16::from_be_bytes([body[6], body[7]]),
        listening: body[1] == LISTEN,
        ipv6_only: attribute(&message[RESPONSE..], IPV6_ONLY) == Some(&[1]),
        uid: word(64)?,
        inode: word(68)?.into(),
    })
}

/// Returns the value of a netlink attribute, rtnetlink(7).
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(&[a, b, c, d]) = bytes.first_chunk() {
        let (length, kind) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        let value = bytes.get(4..length.into())?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn netlink_error_is_returned() {
        let mut message = [0_u8; 36];
        message[..4].copy_from_slice(&36_u32.to_ne_bytes());
        message[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        message[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        let error = read_messages(&message, 0, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn answer_to_another_question_is_skipped() {
        let mut message = [0_u8; 20];
        message[..4].copy_from_slice(&20_u32.to_ne_bytes());
        message[4..6].copy_from_slice(&DONE.to_ne_bytes());
        message[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        assert!(!read_messages(&message, 8, &mut Vec::new()).unwrap());
        assert!(read_messages(&message, 7, &mut Vec::new()).unwrap());
    }

    #[test]
    fn one_socket_to_the_kernel_answers_many_questions() {
        let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
        let only_bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let [served, other] =
            [listener.local_addr().unwrap().port(), only_bound.local_addr().unwrap().port()];
        let mut kernel = Kernel::open().unwrap();
        for _ in 0..3 {
            assert!(kernel.has_listener(served).unwrap());
            // Another program may listen on it by chance, but hardly so that the two sources differ.
            assert_eq!(kernel.has_listener(other).unwrap(), crate::has_listener(other));
        }
    }

    #[test]
    fn attribute_is_found_behind_others_and_never_beyond_the_end() {
        let bytes = [5_u16.to_ne_bytes(), 8_u16.to_ne_bytes(), [7, 0], [0, 0]].concat();
        let bytes = [bytes, [5_u16, IPV6_ONLY].map(u16::to_ne_bytes).concat(), vec![1]].concat();
        assert_eq!(attribute(&bytes, IPV6_ONLY), Some(&[1][..]));
        assert_eq!(attribute(&bytes, 9), None);
        assert_eq!(attribute(&bytes[..12], IPV6_ONLY), None);
        assert_eq!(attribute(&[0; 8], IPV6_ONLY), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_netlink_message_is_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0_u32..220, kind in 0_u16..22) {
            let mut message = bytes;
            for (at, byte) in length.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()).enumerate() {
                if let Some(place) = message.get_mut(at) {
                    *place = byte;
                }
            }
            // A length below the header's is an error, and no length makes the loop endless.
            let question = u32::from_ne_bytes(*message.get(8..).unwrap_or_default().first_chunk().unwrap_or(&[0; 4]));
            drop(read_messages(&message, question, &mut Vec::new()));
        }
    }
}
