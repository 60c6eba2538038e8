use super::*;

#[test]
fn every_pool_of_the_specification_is_there_by_default() {
    let config = PortAllocatorConfig::default();
    let pools: Vec<_> = config.port_ranges.keys().map(String::as_str).collect();
    assert_eq!(pools, ["api", "cache", "database", "grpc", "metrics", "websocket"]);
    let database = config.port_ranges["database"];
    assert_eq!((database.range().to_string().as_str(), database.default_port("database")), {
        ("5433-5442", 5432)
    });
}

#[test]
fn the_defaults_survive_being_written_and_read() {
    let config = PortAllocatorConfig::default();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<PortAllocatorConfig>(&json).unwrap(), config);
    assert_eq!(serde_json::from_str::<PortAllocatorConfig>("{}").unwrap(), config);
}

#[test]
fn the_appendix_is_read_as_it_stands_there() {
    let json = r#"{"enabled":true,"allow_ephemeral":false,
        "port_ranges":{"database":{"start":5433,"end":5442}},"reserved_ports":[22,80,443]}"#;
    let config: PortAllocatorConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.port_ranges["database"].default_port("database"), 5432);
}

#[test]
fn a_pool_of_ones_own_begins_at_its_first_port_unless_told_otherwise() {
    let range = PortRange::new(21_001, 21_010).unwrap();
    assert_eq!(PoolRange::from(range).default_port("mine"), 21_001);
    assert_eq!(PoolRange::new(range).with_default(21_000).default_port("mine"), 21_000);
}

#[test]
fn numbers_that_are_no_pool_are_refused() {
    for json in [
        r#"{"start":0,"end":5}"#,
        r#"{"start":9,"end":5}"#,
        r#"{"start":1,"end":70000}"#,
        r#"{"start":1,"end":5,"default":0}"#,
        r#"{"start":1,"end":5,"extra":1}"#,
    ] {
        assert!(serde_json::from_str::<PoolRange>(json).is_err(), "{json} was taken");
    }
}
