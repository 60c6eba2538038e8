//! Prints the software bill of materials of a release: CycloneDX 1.5 in JSON, of what the programs `portolan`, with the feature
//! `full`, and `portolan-kubernetes` consist of. `cargo xtask sbom` runs it.
//!
//! It has no serial number and no time, so that it is equal for equal sources.

mod bom;
mod lock;
mod metadata;

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Result;

use metadata::Metadata;

fn main() -> Result<()> {
    let bom = bom()?;
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&bom)?)?;
    Ok(())
}

fn bom() -> Result<serde_json::Value> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let metadata = Metadata::read(&project)?;
    bom::bom(&metadata, &lock::checksums(&project)?)
}
