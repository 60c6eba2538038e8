//! Checks ARCHITECTURE.md: its layers against the manifests. Checks that the tests exist that it and the pages on
//! security and behaviours name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Each crate's layer. A crate depends on lower layers only.
const LAYERS: [(&str, u8); 36] = [
    ("portolan-core", 0),
    ("portolan-metrics", 0),
    ("portolan-shared-table", 0),
    ("portolan-access", 1),
    ("portolan-audit", 1),
    ("portolan-host-facts", 1),
    ("portolan-process", 1),
    ("portolan-reservations", 1),
    ("portolan-etcd", 1),
    ("portolan-consul", 1),
    ("portolan-tls", 1),
    ("portolan-port-allocator", 2),
    ("portolan-broadcast", 2),
    ("portolan-health", 2),
    ("portolan-registry", 2),
    ("portolan-http", 2),
    ("portolan-config-manager", 2),
    ("portolan-client", 3),
    ("portolan-testing", 3),
    ("portolan-http-api", 3),
    ("portolan-agent", 4),
    ("portolan-reqwest", 4),
    ("portolan-tower", 4),
    ("portolan-database", 4),
    ("portolan-render", 4),
    ("portolan-docker", 5),
    ("portolan-postgres", 5),
    ("portolan-redis", 5),
    ("portolan-server", 5),
    ("portolan-service", 5),
    ("portolan-supervisor", 5),
    ("portolan-axum", 6),
    ("portolan-cli", 6),
    ("portolan-kubernetes", 6),
    ("portolan-tonic", 6),
    ("portolan", 6),
];

#[test]
fn a_crate_depends_on_lower_layers_only() {
    let layers = BTreeMap::from(LAYERS);
    let manifests = manifests().unwrap();
    assert_eq!(manifests.len(), LAYERS.len(), "the table and the workspace differ");
    for (name, dependencies) in manifests {
        let layer = layers[name.as_str()];
        for dependency in dependencies {
            let below = layers[dependency.as_str()];
            assert!(
                below < layer,
                "{name} (layer {layer}) depends on {dependency} (layer {below})"
            );
        }
    }
}

/// Returns every crate with its dependencies in this workspace.
fn manifests() -> Result<Vec<(String, Vec<String>)>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let folders = fs::read_dir(&crates).with_context(|| crates.display().to_string())?;
    let manifest = |folder: std::io::Result<fs::DirEntry>| {
        let folder = folder?.path();
        let text = fs::read_to_string(folder.join("Cargo.toml"))?;
        let name = folder.file_name().context("no name")?.to_string_lossy().into_owned();
        Ok((name, own_dependencies(&text)))
    };
    folders.map(manifest).collect()
}

fn own_dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[").find(|section| section.starts_with("dependencies]"));
    let lines = section.unwrap_or_default().lines().skip(1);
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines.map(name).filter(|name| name.starts_with("portolan")).collect()
}

#[test]
fn tests_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for folder in ["crates", "tests"] {
        collect_sources(&root.join(folder), &mut sources).unwrap();
    }
    let exists = |test: &str| sources.iter().any(|source| source.contains(&format!("fn {test}(")));
    for (document, at_least) in [
        ("ARCHITECTURE.md", 20),
        ("docs/security.md", 30),
        ("docs/local-boundaries.md", 15),
        ("docs/behaviours.md", 50),
        ("docs/process-runners.md", 30),
    ] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let named = named_tests(&text);
        assert!(named.len() > at_least, "{document}: {named:?}");
        let missing: Vec<_> = named.into_iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{document} names tests that do not exist: {missing:?}");
    }
}

/// Returns the tests in the last column of the tables of which that column is headed `test` or `tests`.
fn named_tests(document: &str) -> BTreeSet<&str> {
    let (mut is_table_of_tests, mut named) = (false, BTreeSet::new());
    for line in document.lines() {
        if !line.starts_with('|') {
            is_table_of_tests = false;
        }
        let column = line.trim_end_matches(" |").rsplit("| ").next().unwrap_or_default();
        is_table_of_tests |= ["test", "tests"].contains(&column);
        if is_table_of_tests {
            named.extend(column.split('`').skip(1).step_by(2));
        }
    }
    named
}

fn collect_sources(folder: &Path, sources: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            collect_sources(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(fs::read_to_string(path)?);
        }
    }
    Ok(())
}
