//! What resolves an error, as data beside the error's text.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

/// An error that knows what resolves it.
///
/// The error's [`Display`](std::fmt::Display) says what is wrong, the offending value and what is
/// expected. The remedy is separate, so that a command line, a problem document and a log line can
/// each present it in their own form.
pub trait Remedy: Error {
    /// Returns what resolves the error, as an imperative without a full stop at the end; `None` if
    /// the error's text already implies it or nothing can be done.
    fn remedy(&self) -> Option<Cow<'static, str>>;

    /// Returns the error and its remedy in one text, for outputs that have one field only.
    fn with_remedy(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }
}

impl<E: Remedy> Remedy for Arc<E> {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        self.as_ref().remedy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("port {0} is reserved")]
    struct Reserved(u16);

    impl Remedy for Reserved {
        fn remedy(&self) -> Option<Cow<'static, str>> {
            (self.0 != 1).then(|| "remove it from port_allocator.reserved_ports".into())
        }
    }

    #[test]
    fn one_text_has_the_error_and_the_remedy_if_there_is_one() {
        let text = Reserved(8080).with_remedy();
        assert_eq!(text, "port 8080 is reserved; remove it from port_allocator.reserved_ports");
        assert_eq!(Reserved(1).with_remedy(), "port 1 is reserved");
    }
}
