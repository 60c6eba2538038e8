//! Prints the report of the discovery client's benchmarks. See `cargo xtask bench client`.

use anyhow::Result;

fn main() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    portolan_benches::print_client_report(&parts)
}
