use portolan_core::{Change, HealthStatus, Host, Registration, Scope, Ttl};

use super::*;

fn endpoint(name: &str, scope: &str, health: HealthStatus) -> Arc<ServiceEndpoint> {
    let mut registration = Registration::new(name.parse().unwrap(), Host::loopback(), 8080);
    registration.scope = scope.parse().unwrap();
    let mut endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
    endpoint.health = health;
    Arc::new(endpoint)
}

fn changed(revision: u64, change: Change) -> Committed {
    Committed::Changed(Arc::new(ServiceEvent { revision: Revision(revision), change }))
}

fn registered(revision: u64, name: &str) -> Committed {
    changed(
        revision,
        Change::Registered { endpoint: endpoint(name, "default", Default::default()) },
    )
}

fn open(capacity: usize) -> View {
    let view = View::new(capacity, Instant::now());
    view.apply(&[Committed::Reset {
        endpoints: Vec::new(),
        revision: Revision(100),
        history: None,
    }]);
    view
}

fn filter(names: &[&str]) -> Filter {
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    Filter { names, scopes: Vec::new() }
}

/// The revisions and kinds that are read, and the revision to continue from.
fn read(view: &View, filter: &Filter, after: u64, limit: usize) -> (Vec<String>, u64) {
    match view.read(filter, Some(Revision(after)), limit) {
        ReadResult::Events(events, next) => {
            let text =
                |event: &Arc<ServiceEvent>| format!("{} {}", event.revision, event.change.kind());
            (events.iter().map(text).collect(), next.unwrap().0)
        }
        ReadResult::Closed => panic!("closed"),
    }
}

#[test]
fn number_of_critical_instances_follows_every_change() {
    let view = open(10);
    let api = |health| endpoint("api", "default", health);
    let critical = api(HealthStatus::Critical);
    let name = || "api".parse().unwrap();
    let steps = [
        (changed(101, Change::Registered { endpoint: api(HealthStatus::Unknown) }), None),
        (changed(102, Change::Health { endpoint: Arc::clone(&critical) }), Some(1)),
        (Committed::Renewed(Arc::clone(&critical)), None),
        (changed(103, Change::Expired { endpoint: Arc::clone(&critical) }), Some(0)),
        (
            Committed::Reset { endpoints: vec![critical], revision: Revision(104), history: None },
            Some(1),
        ),
        (
            Committed::Reset { endpoints: Vec::new(), revision: Revision(105), history: None },
            Some(0),
        ),
    ];
    for (step, expected) in steps {
        let expected: Vec<Unhealthy> = expected.map(|count| (name(), count)).into_iter().collect();
        assert_eq!(view.apply(std::slice::from_ref(&step)), expected, "{step:?}");
    }
}

#[test]
fn lookup_returns_the_revision_at_which_its_services_changed_last() {
    let view = open(10);
    view.apply(&[registered(101, "a"), registered(102, "b"), registered(103, "a")]);
    let find = |names: &[&str]| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let (found, revision) = view.find(&Query { names, ..Query::default() });
        (found.iter().map(|found| found.name.to_string()).collect::<String>(), revision.0)
    };
    assert_eq!(find(&["a"]), ("a".into(), 103));
    assert_eq!(find(&["b"]), ("b".into(), 102));
    assert_eq!(find(&["b", "a", "b"]), ("ab".into(), 103));
    assert_eq!(find(&["unknown"]), (String::new(), 100));
    assert_eq!(find(&[]), ("ab".into(), 103));
}

#[test]
fn watch_resumes_exactly_after_its_revision() {
    let view = open(10);
    view.apply(&[registered(101, "a"), registered(102, "b"), registered(103, "a")]);
    let all = filter(&[]);
    assert_eq!(
        read(&view, &all, 101, 9),
        (vec!["102 registered".into(), "103 registered".into()], 103)
    );
    assert_eq!(read(&view, &all, 100, 1), (vec!["101 registered".into()], 101));
    assert_eq!(read(&view, &filter(&["a"]), 101, 9), (vec!["103 registered".into()], 103));
    assert_eq!(read(&view, &filter(&["b", "a"]), 101, 1), (vec!["102 registered".into()], 102));
    assert_eq!(read(&view, &filter(&["unknown"]), 101, 9), (vec![], 103));
    assert_eq!(read(&view, &all, 103, 9), (vec![], 103));
}

#[test]
fn unknown_revisions_get_a_snapshot() {
    let view = open(2);
    view.apply(&[registered(101, "a"), registered(102, "b"), registered(103, "b")]);
    let snapshot = (vec!["103 snapshot".to_owned()], 103);
    for (filter, after) in [
        (filter(&[]), 100),
        (filter(&["a"]), 100),
        (filter(&["b", "a"]), 99),
        (filter(&["unknown"]), 99),
        (filter(&["b"]), 7),
        (filter(&["b"]), 104),
    ] {
        assert_eq!(read(&view, &filter, after, 9), snapshot, "{filter:?} after {after}");
    }
    // The history of another service does not matter.
    let of_b = vec!["102 registered".to_owned(), "103 registered".to_owned()];
    assert_eq!(read(&view, &filter(&["b"]), 101, 9), (of_b, 103));
}

#[test]
fn changes_of_other_services_do_not_drop_the_history_of_a_watched_service() {
    let view = open(2);
    let filter = filter(&["quiet"]);
    let waiter = Waiter::new(Vec::new());
    view.subscribe(&filter, &waiter);
    (101..200).for_each(|revision| drop(view.apply(&[registered(revision, "busy")])));
    view.apply(&[registered(200, "quiet")]);
    assert_eq!(read(&view, &filter, 100, 9), (vec!["200 registered".into()], 200));
    view.unsubscribe(&filter, &waiter);
}

#[test]
fn services_without_instances_history_and_watches_are_removed() {
    let view = open(1);
    let filter = filter(&["a", "b"]);
    let waiter = Waiter::new(Vec::new());
    view.subscribe(&filter, &waiter);
    let a = endpoint("a", "default", HealthStatus::Unknown);
    view.apply(&[registered(101, "a"), changed(102, Change::Deregistered { endpoint: a })]);
    view.unsubscribe(&filter, &waiter);
    view.apply(&[registered(103, "c")]);
    let state = view.state.read();
    assert_eq!(state.services.keys().map(ServiceName::as_str).collect::<Vec<_>>(), ["c"]);
    assert_eq!(state.endpoints.len(), 1);
}

#[test]
fn snapshot_is_limited_to_the_requested_scopes() {
    let view = open(10);
    let endpoints =
        ["default", "shop", "lab"].map(|scope| endpoint("api", scope, HealthStatus::Unknown));
    view.apply(&[Committed::Reset {
        endpoints: endpoints.to_vec(),
        revision: Revision(200),
        history: None,
    }]);
    let scopes: Vec<Scope> = vec!["shop".parse().unwrap(), Scope::default()];
    for names in [vec![], vec!["api".parse().unwrap()]] {
        let filter = Filter { names, scopes: scopes.clone() };
        let ReadResult::Events(events, _) = view.read(&filter, None, 9) else { panic!("closed") };
        let Change::Snapshot { endpoints, .. } = &events[0].change else { panic!("{events:?}") };
        let found: Vec<_> = endpoints.iter().map(|endpoint| endpoint.scope.as_str()).collect();
        assert_eq!(found, ["default", "shop"]);
    }
}

#[test]
fn nothing_is_read_before_the_first_reset() {
    let view = View::new(10, Instant::now());
    let reading = view.read(&filter(&[]), None, 9);
    assert!(matches!(reading, ReadResult::Events(events, None) if events.is_empty()));
    view.close();
    assert!(matches!(view.read(&filter(&[]), None, 9), ReadResult::Closed));
}
