//! Tests of the harness itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use anyhow::ensure;
use portolan_tests::{Proxy, dns::Dns, isolated, metrics, postgres, postgres::Postgres, redis};

#[test]
fn two_postgres_servers_have_distinct_data_directories() {
    isolated(|env| {
        let (one, two) = (Postgres::prepare(env, "one")?, Postgres::prepare(env, "two")?);
        let _servers = (one.start(env, 5432)?, two.start(env, 5433)?);
        ensure!(postgres::data_directory_at("127.0.0.1", 5432)? == one.data_directory());
        ensure!(postgres::data_directory_at("127.0.0.1", 5433)? == two.data_directory());
        Ok(())
    });
}

#[test]
fn redis_ping_succeeds_only_on_a_redis_port() {
    isolated(|env| {
        let _server = redis::start(env, 6379)?;
        ensure!(redis::ping(6380).is_err());
        Ok(())
    });
}

#[test]
fn a_dns_server_starts() {
    isolated(|env| {
        let dns = Dns::start(env, 5353, &[("postgres-1", 5432)])?;
        ensure!(dns.address() == "127.0.0.1:5353");
        Ok(())
    });
}

#[test]
fn promtool_accepts_valid_metrics_and_rejects_invalid_ones() {
    let good = "# HELP some_total Some.\n# TYPE some_total counter\nsome_total 1\n";
    metrics::check(good).unwrap();
    assert_eq!(metrics::families(good), ["some_total"]);
    assert!(metrics::check("this is {nothing\n").is_err());
}

#[test]
fn foreign_listener_holds_its_port_until_dropped() {
    isolated(|env| {
        let foreign = env.foreign_listener(8080)?;
        ensure!(env.foreign_listener(8080).is_err());
        drop(foreign);
        env.foreign_listener(8080).map(drop)
    });
}

#[test]
fn dropping_a_process_ends_its_process_group() {
    isolated(|env| {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo started; wait"]);
        let mut process = env.spawn("shell", command)?;
        process.wait_for_line("started")?;
        ensure!(env.processes()?.len() == 2, "{:?}", env.processes());
        drop(process);
        ensure!(env.processes()?.is_empty(), "{:?}", env.processes());
        Ok(())
    });
}

#[test]
fn early_exit_error_contains_the_output() {
    isolated(|env| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo fatal error >&2; exit 3"]);
        let error = env.spawn("shell", command)?.wait_for_line("started").unwrap_err().to_string();
        ensure!(error.contains("fatal error"), "{error}");
        Ok(())
    });
}

#[test]
fn proxy_forwards_except_while_disconnected() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to_port(server.local_addr().unwrap().port()).unwrap();
    let address = proxy.url().replace("http://", "");
    let connect = || TcpStream::connect(&address).unwrap();

    let mut one = connect();
    let mut far = server.accept().unwrap().0;
    far.write_all(b"here").unwrap();
    let mut received = [0; 4];
    one.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"here");

    proxy.disconnect();
    assert_eq!(one.read(&mut received).unwrap_or(0), 0, "the old connection is still open");
    assert_eq!(connect().read(&mut received).unwrap_or(0), 0, "a new connection was accepted");

    proxy.reconnect();
    let mut two = connect();
    server.accept().unwrap().0.write_all(b"back").unwrap();
    two.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"back");
}
