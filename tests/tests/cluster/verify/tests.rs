//! The verification accepts a correct record, and rejects each way in which it can be wrong.

use portolan_etcd::{EtcdEvent, KeyValue};

use super::*;

const TTL: Duration = Duration::from_secs(3);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn change(revision: u64, kind: &'static str, id: &str, millis: u64) -> Change {
    let (id, name) = (id.to_owned(), format!("name-of-{id}"));
    Change { revision, kind, id, name, at: at(millis) }
}

/// An instance that is registered, updated and expires, and one that is deregistered.
fn history() -> History {
    History(vec![
        change(10, "registered", "a", 1_000),
        change(20, "registered", "b", 1_100),
        change(30, "updated", "a", 2_000),
        change(40, "deregistered", "b", 2_500),
        change(50, "expired", "a", 7_100),
    ])
}

fn call(id: &str, kind: CallKind, sent: u64, answer: Answer) -> Call {
    Call { id: id.to_owned(), kind, sent: at(sent), answer }
}

fn recorded_calls() -> Vec<Call> {
    use CallKind::{Deregister, Heartbeat, Register};
    vec![
        call("a", Register, 990, Answer::Accepted(10)),
        call("b", Register, 1_090, Answer::Accepted(20)),
        call("a", Register, 1_990, Answer::Accepted(30)),
        call("b", Deregister, 2_400, Answer::Accepted(0)),
        call("a", Heartbeat, 4_000, Answer::Accepted(0)),
        call("a", Heartbeat, 8_000, Answer::Unknown),
    ]
}

fn check_calls(history: &History, recorded: &[Call]) -> Result<()> {
    calls(history, recorded, TTL)
}

fn rejected(result: Result<()>, reason: &str) {
    let error = format!("{:#}", result.expect_err(reason));
    assert!(error.contains(reason), "{error}");
}

#[test]
fn acknowledged_call_that_is_not_in_the_history_is_lost() {
    check_calls(&history(), &recorded_calls()).unwrap();
    for missing in [0, 2, 3] {
        let mut history = history();
        history.0.remove(missing);
        rejected(check_calls(&history, &recorded_calls()), "lost: ");
    }
}

#[test]
fn instance_that_is_removed_without_a_reason_is_lost() {
    let mut early = history();
    early.0[4].at = at(6_900);
    rejected(check_calls(&early, &recorded_calls()), "although its lease was renewed");

    let mut calls = recorded_calls();
    calls.retain(|call| call.kind != CallKind::Deregister);
    rejected(check_calls(&history(), &calls), "nobody asked");
    // Whether a request took effect to which there was no answer is not known.
    calls.push(call("b", CallKind::Deregister, 2_400, Answer::Failed("timeout".into())));
    check_calls(&history(), &calls).unwrap();
}

#[test]
fn instance_that_is_called_unknown_although_it_is_registered_is_rejected() {
    let mut calls = recorded_calls();
    calls.push(call("b", CallKind::Register, 3_000, Answer::Accepted(60)));
    calls.push(call("b", CallKind::Heartbeat, 3_100, Answer::Unknown));
    let mut history = history();
    history.0.push(change(60, "registered", "b", 3_050));
    rejected(check_calls(&history, &calls), "and it was registered");
}

fn seen(index: usize) -> Seen {
    let Change { revision, kind, id, .. } = history().0.swap_remove(index);
    Seen::Change { revision, kind, id }
}

fn snapshot(revision: u64, instances: &[(&str, u64)]) -> Seen {
    let instances = instances.iter().map(|(id, revision)| ((*id).to_owned(), *revision));
    Seen::Snapshot { revision, instances: instances.collect() }
}

fn check_watch(name: Option<&str>, seen: Vec<Seen>) -> Result<()> {
    watch(&history(), &Watch { name: name.map(str::to_owned), seen })
}

#[test]
fn watcher_that_misses_or_repeats_a_change_is_rejected() {
    let begin = || snapshot(10, &[("a", 10)]);
    check_watch(None, vec![begin(), seen(1), seen(2), seen(3), seen(4)]).unwrap();
    check_watch(Some("name-of-b"), vec![snapshot(10, &[]), seen(1), seen(3)]).unwrap();
    // With a snapshot on the way, as after a compaction.
    check_watch(None, vec![begin(), seen(1), snapshot(40, &[("a", 30)]), seen(4)]).unwrap();

    rejected(check_watch(None, vec![begin(), seen(1), seen(3), seen(4)]), "comes");
    rejected(check_watch(None, vec![begin(), seen(1), seen(1), seen(2)]), "comes");
    rejected(check_watch(None, vec![begin(), seen(2), seen(1), seen(3)]), "comes");
    rejected(check_watch(None, vec![begin(), seen(1), seen(2), seen(3)]), "was missed");
    rejected(check_watch(Some("name-of-b"), vec![snapshot(10, &[]), seen(1), seen(2)]), "comes");
    let expired = Seen::Change { revision: 40, kind: "expired", id: "b".into() };
    rejected(check_watch(None, vec![begin(), seen(1), seen(2), expired]), "comes");
    let extra = Seen::Change { revision: 60, kind: "registered", id: "c".into() };
    let all = vec![begin(), seen(1), seen(2), seen(3), seen(4), extra];
    rejected(check_watch(None, all), "is not in the history");
}

#[test]
fn snapshot_that_is_not_the_state_or_goes_back_is_rejected() {
    let all = [("a", 10), ("b", 20)];
    rejected(check_watch(None, vec![snapshot(30, &all)]), "instead of");
    rejected(check_watch(None, vec![snapshot(20, &all[..1])]), "instead of");
    rejected(
        check_watch(None, vec![snapshot(20, &all), seen(2), snapshot(20, &all)]),
        "after Some",
    );
    rejected(check_watch(None, vec![seen(0)]), "before the first snapshot");
    rejected(check_watch(None, vec![]), "without a snapshot");
}

fn lookup(sent: u64, found: &[(&str, u64)]) -> Lookup {
    let found = found.iter().map(|(id, revision)| ((*id).to_owned(), *revision)).collect();
    let (sent, received) = (at(sent), at(sent + 1));
    Lookup { server: 0, any_server: false, sent, received, found: Ok(found), age: None }
}

fn fault(server: Option<usize>) -> Fault {
    Fault { what: "a fault".into(), server, from: at(3_000), until: at(4_000) }
}

#[test]
fn response_with_an_instance_that_is_gone_for_more_than_a_second_is_rejected() {
    let both = [("a", 30), ("b", 20)];
    fresh(&history(), &[lookup(3_400, &both), lookup(3_600, &both[..1])], &[]).unwrap();
    let late = lookup(3_600, &both);
    rejected(fresh(&history(), std::slice::from_ref(&late), &[]), "it was gone");
    fresh(&history(), std::slice::from_ref(&late), &[fault(None)]).unwrap();
    // A server that says how old its view is excuses itself, and nothing else excuses it.
    let aged = |age| Lookup { age: Some(at(age)), ..late.clone() };
    fresh(&history(), &[aged(200)], &[]).unwrap();
    rejected(fresh(&history(), &[aged(50)], &[fault(None)]), "it was gone");
    let unknown = lookup(1_500, &[("a", 11)]);
    rejected(fresh(&history(), &[unknown], &[]), "was never committed");
    let twice = lookup(1_500, &[("a", 10), ("a", 10)]);
    rejected(fresh(&history(), &[twice], &[]), "twice");
}

#[test]
fn lookup_without_an_answer_is_rejected_unless_the_server_could_not_be_reached() {
    let failed = Lookup { found: Err("refused".into()), ..lookup(3_500, &[]) };
    let any = Lookup { any_server: true, ..lookup(3_700, &[]) };
    let lookups = [failed.clone(), any.clone()];
    answered(&lookups, &[fault(Some(0))]).unwrap();
    rejected(answered(&lookups, &[fault(Some(1))]), "server 0");
    rejected(answered(&lookups, &[fault(None)]), "server 0");
    let failed = Lookup { any_server: true, ..failed };
    rejected(answered(&[failed], &[fault(Some(0))]), "no server answered");
    rejected(answered(&[lookup(3_500, &[])], &[fault(None)]), "no lookup while");
}

#[test]
fn server_that_shows_another_state_is_rejected() {
    let state = history().state_at(30, None);
    agree(&state, &[lookup(0, &[]), lookup(1, &[("b", 20), ("a", 30)])], 1).unwrap();
    rejected(agree(&state, &[lookup(0, &[("a", 30)])], 1), "instead of");
    rejected(agree(&state, &[lookup(0, &[("a", 30), ("b", 20)])], 2), "no answer");
}

fn kv(key: &str, value: &str, mod_revision: i64) -> KeyValue {
    let key = format!("/portolan/v1/{key}").into_bytes();
    KeyValue { key, value: value.into(), mod_revision, ..KeyValue::default() }
}

#[test]
fn history_is_read_from_what_the_members_deliver_and_they_must_agree() {
    let written =
        |change: &str| format!(r#"{{"endpoint": {{"name": "api"}}, "change": "{change}"}}"#);
    let events = [
        EtcdEvent::Put(kv("endpoints/a", &written("registered"), 5)),
        EtcdEvent::Put(kv("endpoints/a", &written("renewed"), 6)),
        EtcdEvent::Put(kv("endpoints/b", &written("registered"), 7)),
        EtcdEvent::Put(kv("deregistered", r#"["a"]"#, 8)),
        EtcdEvent::Deleted(kv("endpoints/a", "", 8)),
        EtcdEvent::Deleted(kv("endpoints/b", "", 9)),
    ];
    let first: Vec<_> = events.iter().map(|event| (at(100), event.clone())).collect();
    let mut second: Vec<_> = events.iter().map(|event| (at(50), event.clone())).collect();
    let History(changes) = History::read(&[first.clone(), second.clone()]).unwrap();
    let kinds: Vec<_> = changes.iter().map(|change| (change.revision, change.kind)).collect();
    let expected =
        [(767, "registered"), (1023, "registered"), (1024, "deregistered"), (1152, "expired")];
    assert_eq!(kinds, expected);
    assert!(changes.iter().all(|change| change.at == at(50) && change.name == "api"));

    second.swap(0, 2);
    assert!(History::read(&[first.clone(), second.clone()]).is_err(), "another order");
    second.swap(0, 2);
    second.pop();
    assert!(History::read(&[first, second]).is_err(), "an event less");
}
