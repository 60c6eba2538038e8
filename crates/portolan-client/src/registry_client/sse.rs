//! Takes a stream of server-sent events apart (WHATWG HTML, section 9.2), within a bound.

/// One event, as it stood in the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The event's kind; empty where the stream names none.
    pub(super) kind: String,
    /// Its data, lines joined by line feeds.
    pub(super) data: String,
}

/// More bytes belong to one event than it may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Collects bytes until an event is whole.
#[derive(Debug)]
pub(super) struct Decoder {
    limit: usize,
    line: Vec<u8>,
    frame: Frame,
    /// The last byte was a carriage return, so a line feed belongs to it.
    after_return: bool,
    begun: bool,
}

// === impl Decoder ===

impl Decoder {
    /// A decoder for events of at most so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        let (line, frame) = (Vec::new(), Frame::default());
        Self { limit, line, frame, after_return: false, begun: false }
    }

    /// Takes the next bytes, and gives back the events that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, TooLong> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\r' | b'\n' => frames.extend(self.end_of_line()),
                _ if self.line.len() + self.frame.data.len() >= self.limit => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(frames)
    }

    fn end_of_line(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        // The stream may begin with a byte order mark.
        let mark = (!std::mem::replace(&mut self.begun, true)).then_some('\u{feff}');
        let line = mark.and_then(|mark| line.strip_prefix(mark)).unwrap_or(&line);
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return (!frame.data.is_empty()).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.frame.kind),
            "data" if self.frame.data.is_empty() => value.clone_into(&mut self.frame.data),
            "data" => self.frame.data.extend(["\n", value]),
            // Comments, which have no field, keep the connection alive; `id` stands in the data too.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &str, data: &str) -> Frame {
        Frame { kind: kind.into(), data: data.into() }
    }

    fn decoded(stream: &str) -> Vec<Frame> {
        Decoder::new(1_000).feed(stream.as_bytes()).unwrap()
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        let stream = "\u{feff}event: registered\nid: 7\ndata: {}\n\ndata: half";
        assert_eq!(decoded(stream), [frame("registered", "{}")]);
    }

    #[test]
    fn every_line_end_is_understood() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["event:a", "data: 1", "data: 2", "", ":keep-alive", ""].join(end) + end;
            assert_eq!(decoded(&stream), [frame("a", "1\n2")], "{end:?}");
        }
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(decoded("event: ping\n\n\n\n:\n\n"), []);
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused() {
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
            let mut parts = decoder.feed(first).unwrap();
            parts.extend(decoder.feed(second).unwrap());
            proptest::prop_assert_eq!(whole, parts);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..500)) {
            drop(Decoder::new(100).feed(&bytes));
        }
    }
}
