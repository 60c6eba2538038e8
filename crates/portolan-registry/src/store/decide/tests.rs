use portolan_core::Host;

use super::*;

#[test]
fn instance_of_consul_is_neither_changed_nor_displaced() {
    let registration = Registration::new("db".parse().unwrap(), Host::loopback(), 5432);
    let mut endpoint = registration.clone().into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    endpoint.source = Source::Consul;
    endpoint.metadata.insert(CONSUL_SERVICE.to_owned(), "postgres".to_owned());
    endpoint.metadata.insert(CONSUL_NODE.to_owned(), "db-1".to_owned());
    let (id, owner) = (endpoint.id.clone(), Owner::new(&CommandOrigin::local()));
    let known = Known { endpoint: &endpoint, owner: &owner };
    let concerned = Concerned { known: Some(known), ..Concerned::default() };
    let (ttl_default, now) = (Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    let report = HealthReport::new(HealthStatus::Critical, "");
    for command in [
        Command::Register(Registration { replace: true, ..registration.clone() }),
        Command::Heartbeat(id.clone().into()),
        Command::Health(id.clone().into(), report),
        Command::Deregister(id.clone().into()),
    ] {
        for origin in
            [CommandOrigin::local(), CommandOrigin::broadcast("10.0.0.9".parse().unwrap())]
        {
            let error = decide(&command, &concerned, Terms { origin: &origin, ttl_default, now })
                .unwrap_err();
            let (id, service, node) = (id.clone(), "postgres".into(), "db-1".into());
            assert_eq!(error, RegistryError::RegisteredInConsul { id, service, node });
        }
    }
    // Another instance at its address: both stay.
    let other = Registration { id: Some("other".parse().unwrap()), ..registration };
    let concerned = Concerned { neighbours: vec![known], ..Concerned::default() };
    let terms = Terms { origin: &CommandOrigin::local(), ttl_default, now };
    let decision = decide(&Command::Register(other), &concerned, terms).unwrap();
    let Decision::Put(put) = decision else { panic!("{decision:?}") };
    assert!(put.displaced.is_empty());
}

#[test]
fn health_reason_is_one_line_of_bounded_length() {
    assert_eq!(one_line("refused\n(os error 111)"), "refused (os error 111)");
    let kept = one_line(&"ä".repeat(5000));
    assert_eq!(kept.chars().count(), MAX_REASON);
    assert!(kept.ends_with('…'));
    assert_eq!(one_line(&"a".repeat(MAX_REASON)).len(), MAX_REASON);
}
