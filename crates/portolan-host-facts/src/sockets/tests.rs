use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn listener_is_found_with_its_process() {
    let (listener, port) = listener();
    let owner = &owners_of_ports(&[port])[&port];
    assert_eq!(owner.process.as_ref().unwrap().pid, std::process::id());
    let uid = rustix::process::geteuid().as_raw();
    assert!(listening_users().contains(&(port, uid)));
    assert_eq!(owner.socket_address(port), Some(listener.local_addr().unwrap()));
    assert!(owner.listening);
    assert_eq!(listening_socket_owner(port).as_ref(), Some(owner));
    let (_, inode) = *listening_inodes().iter().find(|(listed, _)| *listed == port).unwrap();
    assert!(is_listening(port, inode).unwrap() && !is_listening(port, inode + 1).unwrap());
}

#[test]
fn ipv6_listener_is_found() {
    // Without IPv6 there is nothing to find.
    let Ok(listener) = TcpListener::bind(("::1", 0)) else { return };
    let address = listener.local_addr().unwrap();
    assert_eq!(owners_of_ports(&[address.port()])[&address.port()].address, Some(address.ip()));
}

#[test]
fn udp_socket_is_found() {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    assert!(has_udp_socket(port));
    let owner = &owners_of_ports(&[port])[&port];
    assert_eq!(owner.process.as_ref().unwrap().pid, std::process::id());
}

#[test]
fn connections_outlive_their_listener() {
    let (listener, port) = listener();
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _server = listener.accept().unwrap();
    drop(listener);
    assert!(has_connections(port) && !has_listener(port));
}

#[test]
fn connection_is_accepted_once_a_process_has_its_socket() {
    let (listener, port) = listener();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let peer = client.local_addr().unwrap().port();
    assert!(!is_accepted(port, peer));
    let _server = listener.accept().unwrap();
    assert!(is_accepted(port, peer));
}

#[test]
fn user_of_a_connection_is_known_until_its_process_closes_it() {
    let uid = rustix::process::geteuid().as_raw();
    for bound in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let listener = TcpListener::bind(bound).unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = if bound.starts_with("[::1]") { "::1" } else { "127.0.0.1" };
        let client = TcpStream::connect((host, port)).unwrap();
        let (server, from) = listener.accept().unwrap();
        let to = server.local_addr().unwrap();
        assert_eq!(connected_user(from, to), Some(uid), "{bound}");
        assert_eq!(connected_user(from, ([127, 0, 0, 1], 1).into()), None, "{bound}");
        drop(client);
        assert_eq!(connected_user(from, to), None, "{bound}");
        // A listener on the port of the closed connection is not its client.
        drop(server);
        let _other = TcpListener::bind((host, from.port()));
        assert_eq!(connected_user(from, to), None, "{bound}");
    }
}

#[test]
fn sock_diag_and_proc_net_agree() {
    let listener = TcpListener::bind(("::", 0)).or_else(|_| TcpListener::bind(("0.0.0.0", 0)));
    let listener = listener.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _server = listener.accept().unwrap();
    let own = client.local_addr().unwrap().port();
    for (filter, of, count) in [
        (Filter::Listening, port, 1),
        (Filter::Connected, port, 1),
        (Filter::All, port, 2),
        (Filter::Listening, own, 0),
        (Filter::All, own, 1),
    ] {
        let mut from_diag = diag::tcp(filter, Some(of)).unwrap();
        let mut from_proc = proc_net::tcp(filter, Some(of));
        for sockets in [&mut from_diag, &mut from_proc] {
            sockets.sort_unstable_by_key(|socket| socket.inode);
        }
        assert_eq!((from_diag.len(), &from_diag), (count, &from_proc), "{filter:?}");
    }
    let all = diag::tcp(Filter::Listening, None).unwrap();
    assert!(all.iter().any(|socket| socket.port == port && socket.listening));
}

#[test]
fn socket_owner_text_has_known_details() {
    let process = Process { pid: 9, name: "redis-server".into(), user: "redis".into() };
    let known = SocketOwner {
        process: Some(process),
        address: Some(IpAddr::from([127, 0, 0, 1])),
        user: Some("redis".into()),
        listening: true,
    };
    let text = "redis-server (pid 9, user redis), which listens on 127.0.0.1";
    assert_eq!(known.to_string(), text);
    let hidden = SocketOwner { process: None, ..known };
    assert_eq!(hidden.to_string(), "a process of user redis, which listens on 127.0.0.1");
    assert_eq!(SocketOwner::default().to_string(), "a process that the system does not name");
}
