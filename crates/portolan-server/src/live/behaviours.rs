//! What programs expect to change at run time, one test for each, with the settings of Portolan.

use portolan_config_manager::Loader;
use portolan_config_manager::live::{Applied, Author, ChangeRefused, ConfigManager, Unusable};
use portolan_core::Remedy as _;
use serde_json::{Value, json};

use super::LIVE_SETTINGS;
use crate::Settings;

fn manager() -> ConfigManager<Settings> {
    let load = |requested: &Value| {
        let loader = Loader::<Settings>::new().open("port_allocator.port_ranges");
        let unusable = |message: String| Unusable { message, remedy: None };
        let loaded = loader.requested(requested.clone()).load();
        let loaded = loaded.map_err(|error| unusable(error.to_string()))?;
        loaded.value.validate().map_err(|error| unusable(error.with_remedy()))?;
        Ok(loaded)
    };
    ConfigManager::new(load(&Value::Null).unwrap(), LIVE_SETTINGS, load)
}

/// What a part that follows the settings sees after a change.
fn after(change: &Value) -> Settings {
    let manager = manager();
    let followed = manager.follow();
    apply(&manager, change).unwrap();
    let version = followed.borrow();
    version.loaded.value.clone()
}

fn apply(manager: &ConfigManager<Settings>, change: &Value) -> Result<Applied, ChangeRefused> {
    manager.patch(change, None, Author::Program("test".to_owned()))
}

fn reserved(ports: &[u16]) -> Value {
    json!({"port_allocator": {"reserved_ports": ports}})
}

#[test]
fn set_port_range() {
    let pool = json!({"queue": {"default": 5672, "start": 5673, "end": 5682}});
    let settings = after(&json!({"port_allocator": {"port_ranges": pool}}));
    assert!(settings.port_allocator.port_ranges.contains_key("queue"));
    assert!(settings.port_allocator.port_ranges.contains_key("database"), "the others stay");
}

#[test]
fn set_port_range_that_is_invalid() {
    let manager = manager();
    let pool = json!({"queue": {"start": 5682, "end": 5673}});
    apply(&manager, &json!({"port_allocator": {"port_ranges": pool}})).unwrap_err();
    assert_eq!(manager.current().number, 1);
}

#[test]
fn get_port_range() {
    let manager = manager();
    let version = manager.current();
    let pools = &version.loaded.value.port_allocator.port_ranges;
    let database = &pools["database"];
    assert_eq!(database.range().to_string(), "5433-5442");
    assert!(!pools.contains_key("nonexistent"));
}

#[test]
fn enable_broadcast() {
    let manager = manager();
    for enabled in [false, true] {
        apply(&manager, &json!({"broadcast": {"enabled": enabled}})).unwrap();
        assert_eq!(manager.current().loaded.value.broadcast.enabled, enabled);
    }
    // What names files or secrets comes from the configuration file only.
    for secret in [json!({"key": "a key of the channel"}), json!({"key_file": "/etc/key"})] {
        apply(&manager, &json!({"broadcast": secret})).unwrap_err();
    }
    assert_eq!(manager.current().number, 3);
}

#[test]
fn concurrent_access() {
    let manager = manager();
    std::thread::scope(|scope| {
        for reader in 0..10 {
            let manager = &manager;
            scope.spawn(move || {
                for _ in 0..100 {
                    let version = manager.current();
                    assert!(
                        !version.loaded.value.port_allocator.port_ranges.is_empty(),
                        "{reader}"
                    );
                }
            });
        }
        for writer in 0..5 {
            let manager = &manager;
            scope.spawn(move || {
                for change in 0..10 {
                    apply(manager, &reserved(&[1000 + 10 * writer + change])).unwrap();
                }
            });
        }
    });
    // Every change was applied, one after the other.
    assert_eq!(manager.current().number, 51);
}

#[test]
fn set_health_check_interval() {
    let settings = after(&json!({"health": {"interval": "7s"}}));
    assert_eq!(settings.health.interval.as_secs(), 7);
}

#[test]
fn set_discovery_strategies() {
    let settings = after(&json!({"discovery": {"strategies": ["registry", "dns"]}}));
    assert_eq!(settings.discovery.strategies.len(), 2);
    let manager = manager();
    let error = apply(&manager, &json!({"discovery": {"strategies": []}})).unwrap_err();
    assert!(error.to_string().contains("discovery.strategies"), "{error}");
}

#[test]
fn add_reserved_port() {
    let settings = after(&reserved(&[22, 80, 443, 8080]));
    assert_eq!(settings.port_allocator.reserved_ports, [22, 80, 443, 8080]);
}

#[test]
fn add_reserved_port_that_is_reserved_already() {
    let manager = manager();
    let applied = apply(&manager, &reserved(&[22, 80, 443])).unwrap();
    assert_eq!((applied.version, applied.changed.len()), (1, 0));
}

#[test]
fn remove_reserved_port() {
    let settings = after(&reserved(&[22, 443]));
    assert_eq!(settings.port_allocator.reserved_ports, [22, 443]);
}

#[test]
fn several_sections_at_once() {
    let settings = after(&json!({
        "health": {"interval": "7s"},
        "logging": {"level": "debug"},
        "port_allocator": {"reserved_ports": [22]},
    }));
    assert_eq!(settings.logging.level.as_deref(), Some("debug"));
    assert_eq!(settings.port_allocator.reserved_ports, [22]);
}
