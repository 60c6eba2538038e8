use super::*;

fn pools(settings: &[(&str, PoolRange)], services: &[(&str, &str)]) -> Pools {
    let services = services.iter().map(|(name, pool)| ((*name).to_owned(), (*pool).to_owned()));
    let settings = settings.iter().map(|(name, range)| ((*name).to_owned(), *range));
    let ranges = PoolRange::built_in().into_iter().chain(settings).collect();
    Pools::new(&ranges, &services.collect())
}

fn range(start: u16, end: u16) -> PoolRange {
    PortRange::known(start, end).into()
}

#[test]
fn words_of_a_service_name_imply_its_pool() {
    let pools = Pools::default();
    for (service, pool) in [
        ("postgres-primary", "database"),
        ("postgres2", "database"),
        ("orders.db", "database"),
        ("redis", "cache"),
        ("api-server", "api"),
        ("user_grpc", "grpc"),
        ("redis-metrics", "metrics"),
        ("chat-ws", "websocket"),
        ("mypostgres", "database"),
    ] {
        assert_eq!(pools.of_service(service).map(|pool| pool.name.as_str()), Some(pool));
    }
    for service in ["worker", "therapist", "news", "dbus"] {
        assert_eq!(pools.of_service(service), None, "{service}");
    }
}

#[test]
fn own_name_denotes_the_type_and_no_instance() {
    let pools = Pools::default();
    let pool_of = |name| pools.with_own_name(name).map(|pool| pool.name.as_str());
    assert_eq!(pool_of("Postgres"), Some("database"));
    assert_eq!(pool_of("postgres-2"), None);
}

#[test]
fn configured_default_port_replaces_the_built_in_one() {
    let pools = pools(&[("database", range(15_433, 15_440).with_default(15_432))], &[]);
    let database = pools.of_service("postgres").unwrap();
    assert_eq!((database.default_port, database.has_port(15_433)), (15_432, true));
    assert!(!database.has_port(5432) && pools.with_port(5432).next().is_none());
}

#[test]
fn default_port_left_open_is_the_built_in_one_or_the_first_of_the_range() {
    let pools = pools(&[("api", range(8500, 8510)), ("jobs", range(7500, 7510))], &[]);
    let default_port = |name| pools.get(name).unwrap().default_port;
    assert_eq!((default_port("api"), default_port("jobs")), (8080, 7500));
}

#[test]
fn custom_pool_for_browsers_has_the_protocol_http() {
    let settings = [("web", range(3000, 3010).with_http(true)), ("jobs", range(7500, 7510))];
    let pools = pools(&settings, &[]);
    let protocol = |pool, service| pools.protocol(Some(pool), service).map(|p| p.to_string());
    assert_eq!(protocol("web", "shop").as_deref(), Some("http"));
    assert_eq!(protocol("web", "redis").as_deref(), Some("http"));
    assert_eq!(protocol("jobs", "shop"), None);
    assert_eq!(protocol("jobs", "orders-grpc").as_deref(), Some("grpc"));
    assert_eq!(pools.protocol(None, "redis").unwrap(), "tcp");
}

#[test]
fn http_flag_of_a_built_in_pool_changes_no_protocol() {
    let pools = pools(&[("api", range(8500, 8510).with_http(false))], &[]);
    let api = pools.get("api").unwrap();
    assert_eq!((api.http, api.protocol.as_ref().unwrap().as_str()), (false, "http"));
}

#[test]
fn assigned_service_is_in_its_pool_whatever_its_name_implies() {
    let pools = pools(&[("jobs", range(7500, 7510))], &[("orders-db", "jobs"), ("x", "gone")]);
    assert_eq!(pools.of_service("orders-db").unwrap().name, "jobs");
    assert_eq!(pools.of_service("x"), None);
    assert_eq!(pools.dangling_service(), Some(("x", "gone")));
}

#[test]
fn settings_survive_a_round_trip_and_invalid_numbers_are_rejected() {
    let settings = range(1, 5).with_default(9).with_http(true);
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<PoolRange>(&json).unwrap(), settings);
    for json in [
        r#"{"start":0,"end":5}"#,
        r#"{"start":9,"end":5}"#,
        r#"{"start":1,"end":70000}"#,
        r#"{"start":1,"end":5,"default":0}"#,
        r#"{"start":1,"end":5,"extra":1}"#,
    ] {
        assert!(serde_json::from_str::<PoolRange>(json).is_err(), "{json} was accepted");
    }
}
