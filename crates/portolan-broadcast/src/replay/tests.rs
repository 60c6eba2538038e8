use super::*;

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn message_is_new_once_then_a_repeat_then_a_replay() {
    let (mut replays, start) = (Replays::default(), Instant::now());
    assert_eq!(replays.observe("a", 7, start), Novelty::New);
    assert_eq!(replays.observe("a", 7, start), Novelty::Repeat);
    assert_eq!(replays.observe("a", 7, after(start, 3)), Novelty::Replay);
    assert_eq!(replays.observe("b", 7, after(start, 3)), Novelty::New);
}

#[test]
fn reordered_messages_are_new_within_the_window() {
    let (mut replays, start) = (Replays::default(), Instant::now());
    assert_eq!(replays.observe("a", 200, start), Novelty::New);
    assert_eq!(replays.observe("a", 199, start), Novelty::New);
    assert_eq!(replays.observe("a", 73, start), Novelty::New);
    assert_eq!(replays.observe("a", 73, start), Novelty::Repeat);
    assert_eq!(replays.observe("a", 72, start), Novelty::Replay);
}

#[test]
fn messages_far_behind_a_jump_of_the_sequence_are_replays() {
    let (mut replays, start) = (Replays::default(), Instant::now());
    assert_eq!(replays.observe("a", 0, start), Novelty::New);
    assert_eq!(replays.observe("a", u64::MAX, start), Novelty::New);
    assert_eq!(replays.observe("a", u64::MAX, start), Novelty::Repeat);
    assert_eq!(replays.observe("a", 0, start), Novelty::Replay);
    assert_eq!(replays.observe("a", u64::MAX - 1, start), Novelty::New);
}

#[test]
fn messages_without_a_sender_are_distinguished_by_their_contents() {
    let (mut replays, start) = (Replays::default(), Instant::now());
    assert_eq!(replays.observe_anonymous(b"one", start), Novelty::New);
    assert_eq!(replays.observe_anonymous(b"two", start), Novelty::New);
    assert_eq!(replays.observe_anonymous(b"one", after(start, 1)), Novelty::Repeat);
    assert_eq!(replays.observe_anonymous(b"one", after(start, 9)), Novelty::Replay);
}

#[test]
fn number_of_senders_is_bounded_and_active_ones_are_kept() {
    let (mut replays, now) = (Replays::default(), Instant::now());
    for number in 0..50_000_u64 {
        assert_eq!(replays.observe(&format!("{number:x}"), 1, now), Novelty::New);
        replays.observe_anonymous(&number.to_le_bytes(), now);
        let active = replays.observe("active", 1, now);
        assert_eq!(active == Novelty::New, number == 0, "{number}");
    }
    for kept in [replays.senders.young.len(), replays.senders.old.len()] {
        assert!(kept <= REMEMBERED, "{kept}");
    }
    assert!(replays.anonymous.young.len() + replays.anonymous.old.len() <= 2 * REMEMBERED);
}
