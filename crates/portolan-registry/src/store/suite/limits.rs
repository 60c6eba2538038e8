//! How many instances a host or an identity may register.

use portolan_access::{Grants, IdentityLimits, Right, Rule};

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
    let mut case = Case::open(&open).await;
    host_registers_as_many_instances_as_it_may(&mut case).await;
    identity_registers_as_many_instances_as_it_may(&mut case).await;
}

async fn host_registers_as_many_instances_as_it_may(case: &mut Case) {
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
        case.changes(1, PROMPTLY).await;
    }
}

async fn identity_registers_as_many_instances_as_it_may(case: &mut Case) {
    let of = |identity: &str| {
        let rule = Rule {
            rights: vec![Right::Administer],
            scopes: Vec::new(),
            services: Vec::new(),
            addresses: Vec::new(),
        };
        let limits = IdentityLimits { endpoints: Some(1), ..IdentityLimits::default() };
        let grants = Grants::new(identity, vec![rule], Revision(0)).with_limits(limits);
        api().limited_to(Some(Arc::new(grants)))
    };
    let register = |port| {
        let host = "10.0.1.9".parse().unwrap();
        Command::Register(Registration::new("limited".parse().unwrap(), host, port))
    };
    case.apply(register(1), of("payments")).await.unwrap();
    case.changes(1, PROMPTLY).await;
    let refused = case.apply(register(2), of("payments")).await.unwrap_err();
    assert!(matches!(refused, RegistryError::IdentityFull { limit: 1, .. }), "{refused}");
    case.apply(register(3), of("orders")).await.unwrap();
    case.changes(1, PROMPTLY).await;
    let Command::Register(first) = register(1) else { unreachable!() };
    case.apply(Command::Deregister(first.id().into()), of("payments")).await.unwrap();
    case.changes(1, PROMPTLY).await;
    case.apply(register(2), of("payments")).await.unwrap();
}
