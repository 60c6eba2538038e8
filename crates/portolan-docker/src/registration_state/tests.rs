use portolan_core::HealthStatus;

use super::*;

fn instance(number: u16, health: Option<HealthStatus>) -> Arc<Instance> {
    let id = format!("docker-{number}").parse().unwrap();
    let registration = Registration {
        id: Some(id),
        ..Registration::new("web".parse().unwrap(), "127.0.0.1".parse().unwrap(), 8000 + number)
    };
    Arc::new(Instance { registration, health: health.map(|it| HealthReport::new(it, "")) })
}

fn desired(instances: &[Arc<Instance>]) -> Desired {
    let instances = instances.iter().map(|it| (it.registration.id(), Arc::clone(it)));
    Desired { instances: instances.collect(), is_current: true }
}

fn state() -> RegistrationState {
    RegistrationState::new(Incarnation::new(7))
}

fn shown(operations: &[Operation]) -> String {
    let one = |operation: &Operation| {
        let kind = match operation {
            Operation::Register(_) => "register",
            Operation::Deregister(_) => "deregister",
            Operation::Heartbeat(_) => "heartbeat",
            Operation::Health(..) => "health",
        };
        format!("{kind} {}", operation.id().as_str().trim_start_matches("docker-"))
    };
    operations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Plans, and records each operation as done.
fn done(state: &mut RegistrationState, desired: &Desired, heartbeat: bool) -> String {
    let operations = state.plan(desired, heartbeat);
    for operation in &operations {
        assert_eq!(state.record(operation, Ok(()), desired), Next::Wait);
    }
    shown(&operations)
}

fn conflict() -> RegistryClientError {
    let text = || "x".to_owned();
    RegistryClientError::Conflict { url: text(), detail: text(), remedy: text() }
}

fn unreachable() -> RegistryClientError {
    RegistryClientError::Unreachable { url: "x".to_owned(), reason: "x".to_owned() }
}

#[test]
fn only_what_differs_is_sent() {
    let mut state = state();
    let (one, two) = (instance(1, None), instance(2, Some(HealthStatus::Passing)));
    let both = desired(&[one.clone(), two]);
    assert_eq!(done(&mut state, &both, false), "register 1, register 2, health 2");
    assert_eq!(done(&mut state, &both, false), "");
    assert_eq!(done(&mut state, &both, true), "heartbeat 1, heartbeat 2");
    let critical = desired(&[one, instance(2, Some(HealthStatus::Critical))]);
    assert_eq!(done(&mut state, &critical, false), "health 2");
    assert_eq!(done(&mut state, &desired(&[]), false), "deregister 1, deregister 2");
    assert_eq!(done(&mut state, &desired(&[]), true), "");
}

#[test]
fn instance_that_the_registry_has_lost_is_registered_again() {
    let mut state = state();
    let all = desired(&[instance(1, Some(HealthStatus::Passing))]);
    done(&mut state, &all, false);
    let heartbeat = &state.plan(&all, true)[0];
    let lost = RegistryClientError::UnknownService { id: heartbeat.id() };
    assert_eq!(state.record(heartbeat, Err(lost), &all), Next::Again);
    assert_eq!(done(&mut state, &all, false), "register 1, health 1");
}

#[test]
fn instance_of_another_registrant_is_left_to_it_until_it_changes() {
    let mut state = state();
    let all = desired(&[instance(1, None)]);
    let register = &state.plan(&all, false)[0];
    assert_eq!(state.record(register, Err(conflict()), &all), Next::Wait);
    assert_eq!(done(&mut state, &all, true), "");
    assert_eq!(shown(&state.withdrawal()), "");
    let changed = desired(&[instance(1, Some(HealthStatus::Passing))]);
    assert_eq!(done(&mut state, &changed, false), "register 1, health 1");
}

#[test]
fn request_without_an_answer_may_have_registered() {
    let mut state = state();
    let all = desired(&[instance(1, None)]);
    let register = &state.plan(&all, false)[0];
    assert_eq!(state.record(register, Err(unreachable()), &all), Next::Retry);
    assert_eq!(shown(&state.withdrawal()), "deregister 1");
    assert_eq!(shown(&state.plan(&desired(&[]), false)), "deregister 1");
    assert_eq!(done(&mut state, &all, false), "register 1");
}
