//! The name of a lookup as its caller gave it. A cached lookup neither parses it nor copies it to the heap.

use std::fmt;

use portolan_core::ServiceName;
use portolan_core::name::InvalidName;

/// The longest text that is kept without memory of its own.
const SHORT: usize = 62;

/// A name as a caller gives it: a text, which is parsed once, or a [`ServiceName`].
pub trait ToServiceName {
    /// Returns the name, or why the text is not a name.
    fn to_service_name(&self) -> Result<ServiceName, InvalidName>;

    /// Returns the text if there is one; a cached lookup needs no more. `None` by default.
    #[inline]
    fn as_text(&self) -> Option<&str> {
        None
    }
}

/// The name of a lookup.
#[derive(Clone)]
pub(crate) struct GivenName(Given);

#[derive(Clone)]
enum Given {
    /// A text that may not be a name.
    Short {
        length: u8,
        bytes: [u8; SHORT],
    },
    Parsed(Result<ServiceName, InvalidName>),
}

// === impl GivenName ===

impl GivenName {
    pub(crate) fn new<N: ToServiceName + ?Sized>(name: &N) -> Self {
        let short = name.as_text().and_then(Given::short);
        Self(short.unwrap_or_else(|| Given::Parsed(name.to_service_name())))
    }

    /// Returns the text; `None` if it is too long to be kept and is not a name.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Given::Short { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).ok()
            }
            Given::Parsed(name) => name.as_ref().ok().map(ServiceName::as_str),
        }
    }

    /// Returns the name, or why the text is not a name.
    pub(crate) fn parse(&self) -> Result<ServiceName, InvalidName> {
        match (&self.0, self.as_text()) {
            (Given::Short { .. }, text) => text.unwrap_or_default().parse(),
            (Given::Parsed(name), _) => name.clone(),
        }
    }
}

impl Given {
    fn short(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self::Short { length: u8::try_from(text.len()).ok()?, bytes })
    }
}

impl fmt::Debug for GivenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parse().fmt(f)
    }
}

// === impl ToServiceName ===

impl ToServiceName for str {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        self.parse()
    }

    #[inline]
    fn as_text(&self) -> Option<&str> {
        Some(self)
    }
}

impl ToServiceName for String {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        self.parse()
    }

    #[inline]
    fn as_text(&self) -> Option<&str> {
        Some(self)
    }
}

impl ToServiceName for ServiceName {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        Ok(self.clone())
    }

    #[inline]
    fn as_text(&self) -> Option<&str> {
        Some(self.as_str())
    }
}

impl<T: ToServiceName + ?Sized> ToServiceName for &T {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        (**self).to_service_name()
    }

    #[inline]
    fn as_text(&self) -> Option<&str> {
        (**self).as_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_as_if_it_had_been_at_once() {
        for text in [
            "api",
            "API.",
            "",
            "a b",
            "é",
            &"a".repeat(SHORT),
            &"a".repeat(SHORT + 1),
            &"a".repeat(999),
        ] {
            let parsed: Result<ServiceName, _> = text.parse();
            assert_eq!(GivenName::new(text).parse(), parsed);
            if let Ok(name) = parsed {
                assert_eq!(GivenName::new(&name).as_text(), Some(name.as_str()));
            }
        }
    }
}
