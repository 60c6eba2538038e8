use jiff::Timestamp;
use portolan_core::endpoint::DRAINING;
use portolan_core::{Registration, Ttl};

use super::*;

fn endpoint(hosts: &[&str]) -> ServiceEndpoint {
    let mut hosts = hosts.iter().map(|host| host.parse().unwrap());
    let mut registration = Registration::new("web".parse().unwrap(), hosts.next().unwrap(), 8080);
    registration.addresses = hosts.collect();
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
}

fn addresses(hosts: &[&str]) -> Result<Vec<String>, String> {
    let offers = offers(&endpoint(hosts), &[]).map_err(|refusal| refusal.to_string())?;
    Ok(offers.iter().map(|offer| offer.address.to_string()).collect())
}

#[test]
fn first_address_of_each_family_that_pods_reach_is_offered() {
    let hosts = ["127.0.0.1", "10.0.0.7", "192.168.1.7", "fd00::7"];
    assert_eq!(addresses(&hosts).unwrap(), ["10.0.0.7", "fd00::7"]);
}

#[test]
fn addresses_that_pods_do_not_reach_are_refused_with_the_reason() {
    for (host, reason) in [
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("localhost", "localhost is a loopback address"),
        ("::1", "::1 is a loopback address"),
        ("169.254.0.7", "169.254.0.7 is a link-local address"),
        ("db.example.org", "db.example.org is a host name"),
    ] {
        let refusal = addresses(&[host]).unwrap_err();
        assert!(refusal.starts_with(reason), "{refusal}");
    }
}

#[test]
fn only_addresses_of_the_networks_are_offered() {
    let networks = ["10.0.0.0/8".parse().unwrap()];
    let offers = offers(&endpoint(&["192.168.1.7", "10.0.0.7"]), &networks).unwrap();
    assert_eq!(offers[0].address.to_string(), "10.0.0.7");
    let refusal = super::offers(&endpoint(&["192.168.1.7"]), &networks).unwrap_err();
    assert_eq!(refusal, Refusal::Outside("192.168.1.7".parse().unwrap()));
}

#[test]
fn what_comes_from_a_cluster_or_from_a_datagram_is_not_offered() {
    let mut imported = endpoint(&["10.0.0.7"]);
    imported.metadata.insert(CLUSTER, "kubernetes");
    assert_eq!(offers(&imported, &[]), Err(Refusal::FromCluster("kubernetes".into())));
    let announced = ServiceEndpoint { source: Source::Broadcast, ..endpoint(&["10.0.0.7"]) };
    assert_eq!(offers(&announced, &[]), Err(Refusal::Broadcast));
}

#[test]
fn conditions_follow_health_and_draining() {
    let conditions = |health, draining: bool| {
        let mut endpoint = ServiceEndpoint { health, ..endpoint(&["10.0.0.7"]) };
        if draining {
            endpoint.metadata.insert(DRAINING.0, DRAINING.1);
        }
        let Conditions { ready, serving, terminating } = super::conditions(&endpoint);
        (ready.unwrap(), serving.unwrap(), terminating.unwrap())
    };
    assert_eq!(conditions(HealthStatus::Passing, false), (true, true, false));
    assert_eq!(conditions(HealthStatus::Warning, false), (true, true, false));
    assert_eq!(conditions(HealthStatus::Critical, false), (false, false, false));
    // Nobody checks it.
    assert_eq!(conditions(HealthStatus::Unknown, false), (true, true, false));
    assert_eq!(conditions(HealthStatus::Passing, true), (false, true, true));
    assert_eq!(conditions(HealthStatus::Critical, true), (false, false, true));
}
