//! Discovers a service in a program without an asynchronous runtime.
//!
//! `cargo run -p portolan --example blocking -- postgres-primary`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use portolan::blocking::DiscoveryClient;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("name a service, such as postgres-primary")?;
    let client = DiscoveryClient::builder().build_blocking()?;
    let endpoint = client.discover(&name)?;
    println!("{}", endpoint.address());
    client.close();
    Ok(())
}
