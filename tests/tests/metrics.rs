//! The `/metrics` page of the registry.

use anyhow::ensure;
use portolan_tests::{REGISTRY, TIMEOUT, http, metrics, over_each_store};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");

/// The families of the specification, section "Metrics".
const SPECIFIED: &str = include_str!("../../crates/portolan-metrics/src/specified_families.txt");

/// The counters that one service's registration and deregistration increment.
const COUNTED: [&str; 5] = [
    r#"discovery_services_registered_total{service_name="api"}"#,
    r#"discovery_services_deregistered_total{service_name="api"}"#,
    r#"discovery_service_lookups_total{service_name="api",result="success"}"#,
    r#"discovery_announcements_received_total{action="register"}"#,
    r#"discovery_service_lookup_duration_seconds_count{service_name="api"}"#,
];

#[test]
fn metrics_page_has_every_specified_family_and_is_valid() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let mut api = env.service("api", &[], &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        env.discover("api", &[])?.exits(0)?;
        api.terminate()?;
        env.wait_registered("api", 0, TIMEOUT)?;
        let page = http::get(&format!("{REGISTRY}/metrics"))?;
        metrics::check(&page)?;
        let families = metrics::families(&page);
        for family in SPECIFIED.lines() {
            ensure!(families.contains(&family), "{family} is missing in\n{page}");
        }
        for sample in COUNTED {
            ensure!(metrics::value(&page, sample) > 0.0, "{sample} counts nothing in\n{page}");
        }
        Ok(())
    });
}
