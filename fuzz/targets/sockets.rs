//! Datagrams of sock_diag(7): the list of sockets, whatever the kernel or somebody in its place writes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_host_facts::parse_datagram;

fuzz_target!(|data: &[u8]| {
    let sockets = parse_datagram(data).unwrap_or_default();
    // A message with a socket has a header of 16 bytes and 72 more.
    assert!(sockets <= data.len() / 88, "{sockets} sockets in {} bytes", data.len());
});
