use super::*;

fn sample(text: &str, start: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no {start} in\n{text}")).to_owned()
}

#[test]
fn clones_count_together_under_the_specified_names() {
    let metrics = Metrics::new();
    metrics.port_allocated("database");
    metrics.clone().port_allocated("database");
    metrics.service_lookup("api", Outcome::Failure, Duration::from_millis(3));
    let text = metrics.encode();
    assert_eq!(
        sample(&text, r#"discovery_ports_allocated_total{service_type="database"}"#),
        r#"discovery_ports_allocated_total{service_type="database"} 2"#
    );
    assert_eq!(
        sample(&text, "discovery_service_lookups_total{"),
        r#"discovery_service_lookups_total{service_name="api",result="failure"} 1"#
    );
    assert!(
        text.contains(r#"discovery_service_lookup_duration_seconds_count{service_name="api"} 1"#)
    );
}

#[test]
fn every_specified_family_is_described_before_anything_happened() {
    let text = Metrics::new().encode();
    for family in [
        "discovery_ports_allocated_total",
        "discovery_ports_released_total",
        "discovery_port_conflicts_total",
        "discovery_services_registered_total",
        "discovery_services_deregistered_total",
        "discovery_service_lookups_total",
        "discovery_service_lookup_duration_seconds",
        "discovery_requests_total",
        "discovery_request_duration_seconds",
        "discovery_cache_hits_total",
        "discovery_cache_misses_total",
        "discovery_announcements_sent_total",
        "discovery_announcements_received_total",
        "discovery_broadcast_errors_total",
        "discovery_health_checks_total",
        "discovery_unhealthy_services",
    ] {
        assert!(text.contains(&format!("# HELP {family} ")), "{family} is missing in\n{text}");
    }
}

#[test]
fn names_beyond_the_limit_share_one_label() {
    let metrics = Metrics::new();
    for number in 0..MAX_SERVICE_NAMES + 500 {
        metrics.service_registered(&format!("service-{number}"));
    }
    let text = metrics.encode();
    let labels =
        text.lines().filter(|line| line.starts_with("discovery_services_registered_total"));
    assert_eq!(labels.count(), MAX_SERVICE_NAMES + 1);
    assert!(text.contains(r#"discovery_services_registered_total{service_name="_other"} 500"#));
}
