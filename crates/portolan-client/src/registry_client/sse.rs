//! A decoder of server-sent events (WHATWG HTML, section 9.2) with a bound on the event size.

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The event type; empty if the stream names none.
    pub(super) kind: String,
    /// The data, with lines joined by line feeds.
    pub(super) data: String,
}

/// An event exceeds the size limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Collects bytes until an event is complete.
#[derive(Debug)]
pub(super) struct Decoder {
    limit: usize,
    line: Vec<u8>,
    frame: Frame,
    /// Whether the last byte was a carriage return, which a line feed may complete.
    after_return: bool,
    begun: bool,
}

// === impl Decoder ===

impl Decoder {
    /// Creates a decoder for events of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let (line, frame) = (Vec::new(), Frame::default());
        Self { limit, line, frame, after_return: false, begun: false }
    }

    /// Decodes the next bytes and returns the events that they complete.
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
        // The stream may start with a byte order mark.
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
            // Comments only keep the connection alive; `id` is part of the data too.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests;
