//! Leases of many instances that end at once: in Portolan over several servers, and in Consul.

use portolan_consul::{ConsulCheckStatus, ConsulInstance};

use super::catalogue::instances;
use super::*;
use crate::MassExpiryConfig;
use crate::store::remote::suite::mass_expiry::{self, COUNT, assert_kept, service};

#[tokio::test]
async fn instances_whose_leases_end_at_once_are_kept_by_all_servers() {
    let agent = Agent::start().await;
    mass_expiry::instances_whose_leases_end_at_once_are_kept_by_all_servers(&config(&agent)).await;
}

/// Their leases have moved to that server.
#[tokio::test]
async fn instances_that_another_server_renews_do_not_protect_a_dead_one() {
    let agent = Agent::start().await;
    let config = config(&agent);
    mass_expiry::instances_that_another_server_renews_do_not_protect_a_dead_one(&config).await;
}

/// The status of the check that shows the health in Portolan.
fn status(instance: &ConsulInstance) -> ConsulCheckStatus {
    let own = instance.checks.iter().find(|check| check.output.starts_with("health: "));
    own.and_then(|check| check.status).expect("a check of Portolan")
}

/// Their checks are renewed as long as they are kept, which is longer than the checks last, and keep their status.
#[tokio::test]
async fn kept_instances_stay_in_consul_with_the_status_from_before() {
    let agent = Agent::start().await;
    let keep = 22 * Ttl::MIN;
    let mass_expiry = MassExpiryConfig { keep, ..MassExpiryConfig::default() };
    let config = RegistryConfig { mass_expiry, ..config(&agent) };
    let server = Server::start(&config).await;
    let mut watch = mass_expiry::register(&server, &server).await;
    let critical = HealthReport::new(HealthStatus::Critical, "refused");
    server.registry.update_health(service(1).id(), critical).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "health");
    for _ in 0..COUNT {
        assert_kept(&mut watch).await;
    }
    let is_told = |instance: &ConsulInstance| {
        let outputs = instance.checks.iter().map(|check| check.output.as_str());
        outputs.into_iter().any(|output| output.starts_with("health: unknown: its lease ended"))
    };
    let told = async {
        while !instances(&agent, "api").await.iter().all(is_told) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("Consul says why");
    let expired = loop {
        let found = instances(&agent, "api").await;
        let first = timeout(Duration::from_millis(200), futures_util::StreamExt::next(&mut watch));
        if let Ok(event) = first.await {
            break event.unwrap();
        }
        let is_critical = |it: &&ConsulInstance| status(it) == ConsulCheckStatus::Critical;
        let critical: Vec<_> = found.iter().filter(is_critical).map(|it| it.service.port).collect();
        assert_eq!((found.len(), critical), (usize::from(COUNT), vec![1]), "{found:?}");
    };
    assert_eq!(expired.change.kind(), "expired");
    let gone = async {
        while !instances(&agent, "api").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("Consul has them no longer");
}
