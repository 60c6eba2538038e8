//! Prints how fast ports are allocated, beside what the system allows: the whole table, or the
//! parts that are named as arguments. See `cargo xtask bench ports`.

use anyhow::Result;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [only] if only == portolan_benches::COPY => portolan_benches::play(),
        [first, file] if first == portolan_benches::STARTED => {
            portolan_benches::tell_start(file.as_ref())
        }
        parts => portolan_benches::print_table(parts),
    }
}
