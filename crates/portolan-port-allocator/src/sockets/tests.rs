use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

#[test]
fn the_listener_of_a_port_is_found_with_its_process() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(listener_pid(port).unwrap().pid, std::process::id());
    let foreign = &owners_of_ports(&[port])[&port];
    assert_eq!(foreign.socket_address(port), Some(listener.local_addr().unwrap()));
    assert!(foreign.listening);
    assert!(listeners().iter().any(|(listening, _)| *listening == port));
}

#[test]
fn a_listener_on_ipv6_is_found_too() {
    // Where IPv6 is off there is nothing to find.
    let Ok(listener) = TcpListener::bind(("::1", 0)) else { return };
    let address = listener.local_addr().unwrap();
    assert_eq!(owners_of_ports(&[address.port()])[&address.port()].address, Some(address.ip()));
}

#[test]
fn a_socket_of_udp_is_found() {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let foreign = &owners_of_ports(&[port])[&port];
    assert_eq!(foreign.process.as_ref().unwrap().pid, std::process::id());
}

#[test]
fn a_connection_without_a_listener_is_a_leftover() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _server = listener.accept().unwrap();
    drop(listener);
    assert!(has_leftovers(port));
}

#[test]
fn the_kernel_answers_what_it_lists() {
    let listener = TcpListener::bind(("::", 0)).or_else(|_| TcpListener::bind(("0.0.0.0", 0)));
    let listener = listener.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _server = listener.accept().unwrap();
    let own = client.local_addr().unwrap().port();
    for (which, of, count) in [
        (Which::Listening, port, 1),
        (Which::Connected, port, 1),
        (Which::All, port, 2),
        (Which::Listening, own, 0),
        (Which::All, own, 1),
    ] {
        let mut answered = diag::tcp(which, Some(of)).unwrap();
        let mut listed = listed_tcp(which, Some(of));
        for sockets in [&mut answered, &mut listed] {
            sockets.sort_unstable_by_key(|socket| socket.inode);
        }
        assert_eq!((answered.len(), &answered), (count, &listed), "{which:?}");
    }
    let all = diag::tcp(Which::Listening, None).unwrap();
    assert!(all.iter().any(|socket| socket.port == port && socket.listening));
}

#[test]
fn a_line_is_read_field_by_field() {
    let line = "   3: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                1000        0 12345 1 0000000000000000 100 0 0 10 0";
    let socket = parse(line, "0A").unwrap();
    assert_eq!((socket.port, socket.uid, socket.inode), (5432, 1000, 12_345));
    assert!(socket.listening);
}

#[test]
fn a_line_that_is_none_is_passed_over() {
    for line in ["", "0:", "0: zz:zz 0 0A", "0: 0100007F 0:0 0A a b c 0 0 1", "0: é00007F:1 0 0A"]
    {
        assert_eq!(parse(line, "0A"), None, "{line:?}");
    }
}
