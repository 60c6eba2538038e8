//! The checksums in Cargo.lock, which `cargo metadata` does not show.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The SHA-256 of packages, by name and version.
pub(crate) type Checksums = HashMap<(String, String), String>;

pub(crate) fn checksums(project: &Path) -> Result<Checksums> {
    let path = project.join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(parse(&text))
}

/// Cargo writes the file, always in the same form.
fn parse(text: &str) -> Checksums {
    let packages = text.split("[[package]]").skip(1);
    let entry = |package: &str| {
        let value = |key: &str| {
            let prefix = format!("{key} = \"");
            let line = package.lines().find_map(|line| line.strip_prefix(&prefix))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    };
    packages.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_belongs_to_a_name_and_a_version() {
        let text = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ff\"\n\n\
                    [[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let expected = (("a".to_owned(), "1.0.0".to_owned()), "ff".to_owned());
        assert_eq!(parse(text), HashMap::from([expected]));
    }
}
