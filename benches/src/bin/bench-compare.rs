//! Compares two reports that were written with `--json`. See `cargo xtask bench compare`.

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [before, after] => portolan_benches::print_comparison(before.as_ref(), after.as_ref()),
        _ => bail!("expected two files that `--json` has written"),
    }
}
