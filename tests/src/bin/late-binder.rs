//! A server that binds its port only after a delay, as real servers do.

// The test that started the program reads its output.
#![allow(clippy::print_stdout, reason = "the test reads standard output")]

use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

/// The delay before the bind, in which another process takes the port if nothing holds it.
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
