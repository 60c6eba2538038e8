//! Prints the report of the broadcast service's benchmarks. See `cargo xtask bench broadcast`.

use anyhow::Result;

fn main() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    portolan_benches::print_broadcast_report(&parts)
}
