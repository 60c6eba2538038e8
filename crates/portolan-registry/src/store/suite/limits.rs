//! How many instances a host may register.

use super::*;
use crate::{ClientsConfig, RegistryConfig};

/// `clients.endpoints` of the stores.
const ENDPOINTS: usize = 2;

/// Returns the settings with a limit of two instances.
pub(crate) fn limited(config: RegistryConfig) -> RegistryConfig {
    let clients = ClientsConfig { endpoints: ENDPOINTS, ..config.clients };
    RegistryConfig { clients, ..config }
}

/// Runs on an empty store with [`limited`] settings.
pub(crate) async fn run(open: impl Fn() -> StoreParts) {
    host_registers_as_many_instances_as_it_may(Case::open(&open).await).await;
}

async fn host_registers_as_many_instances_as_it_may(mut case: Case) {
    let register = |name: &str, port| {
        let host = "10.0.0.9".parse().unwrap();
        Command::Register(Registration::new(name.parse().unwrap(), host, port))
    };
    for port in 1..=2 {
        case.apply(register(&format!("made-up-{port}"), port), from("10.0.0.9")).await.unwrap();
        case.changes(1, PROMPTLY).await;
    }
    let refused = case.apply(register("made-up-3", 3), from("10.0.0.9")).await.unwrap_err();
    assert!(matches!(refused, RegistryError::ClientFull { limit: ENDPOINTS, .. }), "{refused}");
    // It may renew what it has, and others are not affected.
    case.apply(register("made-up-1", 1), from("10.0.0.9")).await.unwrap();
    case.apply(register("honest", 4), from("10.0.0.8")).await.unwrap();
    case.changes(1, PROMPTLY).await;
    for port in 5..9 {
        case.apply(register(&format!("local-{port}"), port), api()).await.unwrap();
    }
}
