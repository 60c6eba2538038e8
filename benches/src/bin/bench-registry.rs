//! Prints the report of the registry's benchmarks, or the parts that are named as arguments. See
//! `cargo xtask bench registry`.

use anyhow::Result;

fn main() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    portolan_benches::print_registry_report(&parts)
}
