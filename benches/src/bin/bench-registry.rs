//! Prints the report of the registry's benchmarks, or the parts that are named as arguments. See
//! `cargo xtask bench registry`.

use anyhow::Result;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        #[cfg(feature = "full")]
        [only, port] if only == portolan_benches::LISTEN => portolan_benches::listen(port),
        #[cfg(feature = "full")]
        [only, address, file] if only == portolan_benches::BARE => {
            portolan_benches::serve_bare(address, file.as_ref())
        }
        #[cfg(feature = "full")]
        [only, address] if only == portolan_benches::MAP => portolan_benches::serve_map(address),
        parts => portolan_benches::print_registry_report(parts),
    }
}
