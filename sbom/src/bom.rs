//! The document: CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>).

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::lock::Checksums;
use crate::metadata::{Metadata, Package, Use};

pub(crate) fn bom(metadata: &Metadata, checksums: &Checksums) -> Result<Value> {
    let root = metadata.root()?;
    let graph = metadata.graph()?;
    let packages: HashMap<_, _> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let package =
        |id: &str| packages.get(id).copied().with_context(|| format!("{id} is not described"));
    let (mut components, mut dependencies) = (Vec::new(), Vec::new());
    for (id, (used, on)) in &graph {
        let described = package(id)?;
        if described.id != root.id {
            let kind = if Metadata::is_program(described) { "application" } else { "library" };
            components.push(component(described, kind, Some(*used), checksums));
        }
        let on = on.iter().map(|id| Ok(reference(package(id)?)));
        let on: Vec<_> = on.collect::<Result<_>>()?;
        dependencies.push(json!({ "ref": reference(described), "dependsOn": on }));
    }
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(root, "application", None, checksums) },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, kind: &str, used: Option<Use>, checksums: &Checksums) -> Value {
    let Package { name, version, license, description, repository, .. } = package;
    let mut component = Map::new();
    let mut set = |member: &str, value: Value| component.insert(member.to_owned(), value);
    set("type", kind.into());
    set("bom-ref", reference(package).into());
    set("name", name.as_str().into());
    set("version", version.as_str().into());
    if let Some(description) = description {
        set("description", description.trim().into());
    }
    if used == Some(Use::Build) {
        set("scope", "excluded".into());
    }
    if let Some(sum) = checksums.get(&(name.clone(), version.clone())) {
        set("hashes", json!([{ "alg": "SHA-256", "content": sum }]));
    }
    if let Some(license) = license {
        // Cargo permits the separator of before SPDX.
        set("licenses", json!([{ "expression": license.replace('/', " OR ") }]));
    }
    if package.source.is_some() {
        set("purl", reference(package).into());
    }
    if let Some(repository) = repository {
        set("externalReferences", json!([{ "type": "vcs", "url": repository }]));
    }
    Value::Object(component)
}

/// The package URL (<https://github.com/package-url/purl-spec>), which also identifies the package in the document.
fn reference(package: &Package) -> String {
    // A `+` of build metadata means a space in a URL.
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn texts<'a>(values: &'a Value, member: &str) -> Vec<&'a str> {
        let values = values.as_array().unwrap().iter();
        values.map(|value| value[member].as_str().unwrap_or_default()).collect()
    }

    #[test]
    fn bill_of_this_project_is_valid_and_complete() {
        let bom = crate::bom().unwrap();
        assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
        assert_eq!(bom["metadata"]["component"]["name"], "portolan-cli");
        let components = &bom["components"];
        let names: BTreeSet<_> = texts(components, "name").into_iter().collect();
        for part in ["portolan-core", "portolan-etcd", "tokio", "aws-lc-rs", "landlock", "kube"] {
            assert!(names.contains(part), "{part} is missing");
        }
        let programs = components.as_array().unwrap().iter();
        let programs: Vec<_> = programs.filter(|it| it["type"] == "application").collect();
        assert_eq!(programs.len(), 1, "besides the one that the document is about");
        assert_eq!(programs[0]["name"], "portolan-kubernetes");
        // Neither what deny.toml forbids, nor what only tests use.
        for none in ["ring", "openssl", "proptest", "insta", "portolan-tests"] {
            assert!(!names.contains(none), "{none}");
        }
        let scope_of = |name: &str| {
            let mut all = components.as_array().unwrap().iter();
            all.find(|component| component["name"] == name).unwrap()["scope"].clone()
        };
        assert_eq!((scope_of("cc"), scope_of("tokio")), (json!("excluded"), Value::Null));
        for component in components.as_array().unwrap() {
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
            let is_foreign = component["purl"].is_string();
            let sum = component["hashes"][0]["content"].as_str().unwrap_or_default();
            assert_eq!(sum.len() == 64, is_foreign, "{component}");
        }
    }

    #[test]
    fn every_reference_is_to_one_component() {
        let bom = crate::bom().unwrap();
        let mut references = texts(&bom["components"], "bom-ref");
        references.push(bom["metadata"]["component"]["bom-ref"].as_str().unwrap());
        let unique: BTreeSet<_> = references.iter().copied().collect();
        assert_eq!(unique.len(), references.len());
        let dependencies = &bom["dependencies"];
        assert_eq!(texts(dependencies, "ref").into_iter().collect::<BTreeSet<_>>(), unique);
        let on = dependencies
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|it| it["dependsOn"].as_array().unwrap());
        assert!(on.clone().count() > 0);
        assert!(on.map(|it| it.as_str().unwrap()).all(|it| unique.contains(it)));
    }
}
