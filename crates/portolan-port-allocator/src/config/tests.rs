use super::*;

#[test]
fn default_configuration_has_specified_pools() {
    let config = PortAllocatorConfig::default();
    let pools: Vec<_> = config.port_ranges.keys().map(String::as_str).collect();
    assert_eq!(pools, ["api", "cache", "database", "grpc", "metrics", "websocket"]);
    let pools = config.pools();
    let database = pools.get("database").unwrap();
    assert_eq!((database.range.to_string().as_str(), database.default_port), ("5433-5442", 5432));
}

#[test]
fn default_configuration_round_trips() {
    let config = PortAllocatorConfig::default();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<PortAllocatorConfig>(&json).unwrap(), config);
    assert_eq!(serde_json::from_str::<PortAllocatorConfig>("{}").unwrap(), config);
}

#[test]
fn configuration_of_specification_appendix_is_parsed() {
    let json = r#"{"enabled":true,"allow_ephemeral":false,
        "port_ranges":{"database":{"start":5433,"end":5442}},"reserved_ports":[22,80,443]}"#;
    let config: PortAllocatorConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.pools().get("database").unwrap().default_port, 5432);
}
