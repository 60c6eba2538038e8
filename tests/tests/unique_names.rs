//! A public type name means one thing in the whole workspace, so that a reader can search for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Modules that reuse names on purpose: the blocking twins of asynchronous types, and the aliases of
/// the facade.
const TWINS: [&str; 2] = ["portolan-client/src/blocking", "portolan/src"];

#[test]
fn public_type_names_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in source_files().unwrap() {
        let text = fs::read_to_string(&file).unwrap();
        for name in text.lines().filter_map(public_type) {
            places.entry(name.to_owned()).or_default().push(file.display().to_string());
        }
    }
    assert!(places.len() > 100, "only {} public types were found", places.len());
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "public type names defined more than once: {places:#?}");
}

#[test]
fn a_public_type_is_recognised_by_its_definition() {
    for (line, name) in [
        ("pub struct Lease<'a> {", Some("Lease")),
        ("pub enum Change {", Some("Change")),
        ("pub trait Store: Send {", Some("Store")),
        ("pub type Labels = Vec<Label>;", Some("Labels")),
        ("pub(crate) struct Hidden;", None),
        ("    pub type Err = Never;", None),
        ("pub use other::Name;", None),
    ] {
        assert_eq!(public_type(line), name, "{line}");
    }
}

/// Returns the name of the public type that a line defines at module level.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ")?;
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    name.split(|c: char| !c.is_alphanumeric()).next()
}

/// Returns every source file of the crates except the twins.
fn source_files() -> Result<Vec<PathBuf>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut files = Vec::new();
    for folder in fs::read_dir(&crates)? {
        collect(&folder?.path().join("src"), &mut files)?;
    }
    let is_twin = |file: &PathBuf| {
        let path = file.strip_prefix(&crates).unwrap_or(file);
        TWINS.iter().any(|twin| path.to_string_lossy().starts_with(twin))
    };
    files.retain(|file| !is_twin(file));
    ensure!(!files.is_empty(), "no source files in {}", crates.display());
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
