use super::*;

fn frame(kind: &str, data: &str) -> Frame {
    Frame { kind: kind.into(), data: data.into() }
}

fn decoded(stream: &str) -> Vec<Frame> {
    Decoder::new(1_000).feed(stream.as_bytes()).unwrap()
}

#[test]
fn event_ends_with_an_empty_line() {
    let stream = "\u{feff}event: registered\nid: 7\ndata: {}\n\ndata: half";
    assert_eq!(decoded(stream), [frame("registered", "{}")]);
}

#[test]
fn every_line_ending_is_accepted() {
    for end in ["\n", "\r", "\r\n"] {
        let stream = ["event:a", "data: 1", "data: 2", "", ":keep-alive", ""].join(end) + end;
        assert_eq!(decoded(&stream), [frame("a", "1\n2")], "{end:?}");
    }
}

#[test]
fn event_without_data_is_ignored() {
    assert_eq!(decoded("event: ping\n\n\n\n:\n\n"), []);
}

#[test]
fn event_beyond_the_limit_is_refused() {
    let mut decoder = Decoder::new(10);
    assert_eq!(decoder.feed(b"data: 1234567890"), Err(TooLong));
    let mut decoder = Decoder::new(20);
    let endless = "data: 12345\n".repeat(10);
    assert_eq!(decoder.feed(endless.as_bytes()), Err(TooLong));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference(
        stream in "(data: [a-z]{0,5}|event: x|:c|\r|\n|\r\n){0,40}",
        cut in 0_usize..100,
    ) {
        let whole = decoded(&stream);
        let (first, second) = stream.as_bytes().split_at(cut.min(stream.len()));
        let mut decoder = Decoder::new(1_000);
        let mut deps = decoder.feed(first).unwrap();
        deps.extend(decoder.feed(second).unwrap());
        proptest::prop_assert_eq!(whole, deps);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..500)) {
        drop(Decoder::new(100).feed(&bytes));
    }
}
