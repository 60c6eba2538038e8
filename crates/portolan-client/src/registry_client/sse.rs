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
mod tests;
