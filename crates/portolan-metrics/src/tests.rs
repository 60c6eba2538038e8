use super::*;

fn sample(text: &str, start: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no {start} in\n{text}")).to_owned()
}

#[test]
fn clones_share_values_under_the_specified_names() {
    let metrics = Metrics::new();
    metrics.port_allocated("database");
    metrics.clone().port_allocated("database");
    metrics.service_lookup("api", OperationResult::Failure, Duration::from_millis(3));
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
fn specified_families_are_described_without_samples() {
    let text = Metrics::new().encode();
    let families = include_str!("specified_families.txt");
    assert_eq!(families.lines().count(), 16);
    for family in families.lines() {
        assert!(text.contains(&format!("# HELP {family} ")), "{family} is missing in\n{text}");
    }
}

#[test]
fn service_names_beyond_the_limit_share_one_label() {
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

#[test]
fn service_names_do_not_use_up_pool_labels() {
    let metrics = Metrics::new();
    for number in 0..MAX_SERVICE_NAMES {
        metrics.service_registered(&format!("service-{number}"));
    }
    metrics.port_allocated("database");
    let text = metrics.encode();
    assert!(text.contains(r#"discovery_ports_allocated_total{service_type="database"} 1"#));
}

#[test]
fn failed_lookups_do_not_use_up_service_labels() {
    let metrics = Metrics::new();
    for number in 0..2 * MAX_SERVICE_NAMES {
        metrics.service_lookup(
            &format!("guess-{number}"),
            OperationResult::Failure,
            Duration::ZERO,
        );
    }
    metrics.service_registered("api");
    metrics.service_lookup("api", OperationResult::Failure, Duration::ZERO);
    let text = metrics.encode();
    for line in [
        r#"discovery_services_registered_total{service_name="api"} 1"#,
        r#"discovery_service_lookups_total{service_name="api",result="failure"} 1"#,
        r#"discovery_service_lookups_total{service_name="guess-0",result="failure"} 1"#,
        r#"discovery_service_lookups_total{service_name="_other",result="failure"} 1500"#,
    ] {
        assert!(text.contains(line), "no {line}");
    }
}

#[test]
fn announced_names_do_not_use_up_service_labels() {
    let metrics = Metrics::new();
    for number in 0..2 * MAX_SERVICE_NAMES {
        metrics.service_announced(&format!("made-up-{number}"));
        metrics.unhealthy_services(&format!("made-up-{number}"), 0);
    }
    metrics.service_registered("api");
    metrics.service_announced("api");
    let text = metrics.encode();
    for line in [
        r#"discovery_services_registered_total{service_name="api"} 2"#,
        r#"discovery_services_registered_total{service_name="_other"} 2000"#,
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains("made-up"));
}

#[test]
fn shared_gauge_is_the_sum_of_its_services() {
    let metrics = Metrics::new();
    for number in 0..MAX_SERVICE_NAMES {
        metrics.service_registered(&format!("service-{number}"));
    }
    let other =
        || sample(&metrics.encode(), r#"discovery_unhealthy_services{service_name="_other"}"#);
    for (name, count, sum) in [("a", 2, 2), ("b", 3, 5), ("a", 1, 4), ("b", 0, 1), ("a", 0, 0)] {
        metrics.unhealthy_services(name, count);
        assert!(other().ends_with(&format!(" {sum}")), "{name} {count}: {}", other());
    }
}

#[tokio::test(start_paused = true)]
async fn made_up_names_do_not_keep_the_labels() {
    let metrics = Metrics::new();
    metrics.service_registered("in-use");
    for number in 0..MAX_SERVICE_NAMES {
        metrics.service_registered(&format!("made-up-{number}"));
    }
    metrics.unhealthy_services("made-up-0", 2);
    metrics.service_registered("api");
    metrics.unhealthy_services("api", 1);
    let line = r#"discovery_services_registered_total{service_name="api"} 1"#;
    assert!(!metrics.encode().contains(line));
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(60)).await;
        metrics.health_check("in-use", OperationResult::Success);
    }
    metrics.service_registered("api");
    for number in 0..MAX_SERVICE_NAMES {
        metrics.service_registered(&format!("more-{number}"));
    }
    let text = metrics.encode();
    for line in [
        line,
        r#"discovery_services_registered_total{service_name="in-use"} 1"#,
        r#"discovery_unhealthy_services{service_name="api"} 1"#,
        r#"discovery_unhealthy_services{service_name="_other"} 2"#,
    ] {
        assert!(text.contains(line), "no {line}");
    }
    assert!(!text.contains("made-up"), "{text}");
    let labels = text.lines().filter(|it| it.starts_with("discovery_services_registered_total"));
    assert_eq!(labels.count(), MAX_SERVICE_NAMES + 1);
}
