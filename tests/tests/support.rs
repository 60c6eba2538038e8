//! The parts that the other tests stand on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use anyhow::ensure;
use portolan_tests::{Proxy, dns::Dns, isolated, metrics, postgres, postgres::Postgres, redis};

#[test]
fn two_postgres_servers_run_side_by_side_and_are_told_apart() {
    isolated(|world| {
        let (one, two) = (Postgres::prepare(world, "one")?, Postgres::prepare(world, "two")?);
        let _servers = (one.start(world, 5432)?, two.start(world, 5433)?);
        ensure!(postgres::data_directory_at("127.0.0.1", 5432)? == one.data_directory());
        ensure!(postgres::data_directory_at("127.0.0.1", 5433)? == two.data_directory());
        Ok(())
    });
}

#[test]
fn a_redis_answers_and_a_port_without_one_does_not() {
    isolated(|world| {
        let _server = redis::start(world, 6379)?;
        ensure!(redis::ping(6380).is_err());
        Ok(())
    });
}

#[test]
fn a_dns_server_starts() {
    isolated(|world| {
        let dns = Dns::start(world, 5353, &[("postgres-1", 5432)])?;
        ensure!(dns.address() == "127.0.0.1:5353");
        Ok(())
    });
}

#[test]
fn promtool_tells_good_metrics_from_bad_ones() {
    let good = "# HELP some_total Some.\n# TYPE some_total counter\nsome_total 1\n";
    metrics::check(good).unwrap();
    assert_eq!(metrics::families(good), ["some_total"]);
    assert!(metrics::check("this is {nothing\n").is_err());
}

#[test]
fn a_stranger_keeps_everybody_else_off_its_port() {
    isolated(|world| {
        let stranger = world.stranger(8080)?;
        ensure!(world.stranger(8080).is_err());
        drop(stranger);
        world.stranger(8080).map(drop)
    });
}

#[test]
fn a_process_ends_with_its_group_when_it_is_dropped() {
    isolated(|world| {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo started; wait"]);
        let mut process = world.spawn("shell", command)?;
        process.line("started")?;
        ensure!(world.processes()?.len() == 2, "{:?}", world.processes());
        drop(process);
        ensure!(world.processes()?.is_empty(), "{:?}", world.processes());
        Ok(())
    });
}

#[test]
fn a_process_that_ends_too_early_is_an_error_that_shows_what_it_said() {
    isolated(|world| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no luck today >&2; exit 3"]);
        let error = world.spawn("shell", command)?.line("started").unwrap_err().to_string();
        ensure!(error.contains("no luck today"), "{error}");
        Ok(())
    });
}

#[test]
fn a_proxy_passes_on_until_it_is_cut_and_again_when_it_is_mended() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(server.local_addr().unwrap().port()).unwrap();
    let address = proxy.url().replace("http://", "");
    let connect = || TcpStream::connect(&address).unwrap();

    let mut one = connect();
    let mut far = server.accept().unwrap().0;
    far.write_all(b"here").unwrap();
    let mut said = [0; 4];
    one.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"here");

    proxy.cut();
    assert_eq!(one.read(&mut said).unwrap_or(0), 0, "the old connection still stands");
    assert_eq!(connect().read(&mut said).unwrap_or(0), 0, "a new connection got through");

    proxy.mend();
    let mut two = connect();
    server.accept().unwrap().0.write_all(b"back").unwrap();
    two.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"back");
}
