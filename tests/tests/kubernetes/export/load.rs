//! Many services: the whole view is right, and one change is one write.

#![allow(clippy::disallowed_methods, reason = "no async runtime, so no paused clock")]

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::ControlPlane;
use portolan_tests::{isolated, wait_for};
use serde_json::{Value, json};

use super::super::load::memory;
use super::{SERVICES, deregister, exporting, register};

const COUNT: usize = 100;
const INSTANCES: usize = 10;

fn all_slices(plane: &ControlPlane<'_>) -> Result<Vec<Value>> {
    let list = plane.get(&plane.slices_path("shop"))?;
    list["items"].as_array().cloned().with_context(|| list.to_string())
}

/// Returns the resource version of each slice by its name.
fn versions(slices: &[Value]) -> BTreeMap<String, String> {
    let text = |slice: &Value, key: &str| slice["metadata"][key].as_str().unwrap_or("").to_owned();
    slices.iter().map(|it| (text(it, "name"), text(it, "resourceVersion"))).collect()
}

#[test]
fn thousand_instances_are_exported_and_one_change_is_one_write() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        for service in 0..COUNT {
            for instance in 1..=INSTANCES {
                let host = format!("10.9.{service}.{instance}");
                let name = format!("s{service}");
                register(&format!("{name}-{instance}"), &name, &host, 41000, &json!({}))?;
            }
        }
        let began = Instant::now();
        let export = exporting(env, &plane, &[])?;
        let slices = wait_for("every endpoint", || {
            let slices = all_slices(&plane)?;
            let count = |it: &Value| it["endpoints"].as_array().map_or(0, Vec::len);
            let endpoints: usize = slices.iter().map(count).sum();
            ensure!(endpoints == COUNT * INSTANCES && slices.len() == COUNT, "{endpoints}");
            Ok(slices)
        })?;
        println!("{} endpoints exported after {:?}", COUNT * INSTANCES, began.elapsed());
        println!("memory of the export: {}", memory(export.id())?);
        let services = plane.get(SERVICES)?["items"].as_array().map_or(0, Vec::len);
        ensure!(services == COUNT, "{services} Services");

        let mut delays = Vec::new();
        let mut before = versions(&slices);
        for instance in 1..INSTANCES {
            let began = Instant::now();
            deregister(&format!("s7-{instance}"))?;
            let after = wait_for("one slice to change", || {
                let after = versions(&all_slices(&plane)?);
                ensure!(after != before);
                Ok(after)
            })?;
            delays.push(began.elapsed());
            let changed = after.iter().filter(|(name, it)| before.get(*name) != Some(it)).count();
            ensure!(changed == 1 && after.len() == COUNT, "{changed} slices were written");
            before = after;
        }
        delays.sort();
        println!("from the request to the registry to the slice in a list: {delays:?}");
        Ok(())
    });
}
