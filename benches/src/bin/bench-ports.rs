//! Prints the report of the port allocator's benchmarks, or the parts that are named as arguments. See
//! `cargo xtask bench ports`.

use anyhow::Result;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [only] if only == portolan_benches::WORKER => portolan_benches::run_worker(),
        [first, file] if first == portolan_benches::STARTED => {
            portolan_benches::write_start_time(file.as_ref())
        }
        parts => portolan_benches::print_report(parts),
    }
}
