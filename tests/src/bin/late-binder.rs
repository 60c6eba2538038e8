//! A server as they are: it is told a port, takes its time, and binds it only then.

// What it says is read by the test that started it.
#![allow(clippy::print_stdout, reason = "it reports to the test on standard output")]

use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long it prepares before it binds: the scenario's own delay, in which others come first
/// where nothing keeps the port.
const PREPARES: Duration = Duration::from_millis(250);

fn main() -> Result<()> {
    let port: u16 = std::env::args().nth(1).context("usage: late-binder PORT")?.parse()?;
    sleep(PREPARES);
    let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot bind");
    match &listener {
        Ok(_) => println!("bound {port}"),
        Err(error) => println!("failed {port}: {error:#}"),
    }
    for connection in listener?.incoming() {
        drop(connection?);
    }
    Ok(())
}
