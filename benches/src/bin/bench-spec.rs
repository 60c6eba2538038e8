//! Prints what the specification expects (its appendix C) beside what is measured. See `cargo xtask bench spec`.

use anyhow::Result;

fn main() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    portolan_benches::print_spec_report(&parts)
}
