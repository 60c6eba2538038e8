//! Leases a port and listens on it.
//!
//! `cargo run -p portolan --example lease`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use portolan::PortAllocator;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let allocator = PortAllocator::new(Default::default())?;
    let lease = allocator.allocate("api-server", 8080)?;
    println!("granted {}", lease.port());

    // The socket that holds the port becomes the listener: at no time can another process bind
    // the port.
    let listener = lease.into_listener()?;
    println!("listening on {}", listener.local_addr()?);
    Ok(())
}
