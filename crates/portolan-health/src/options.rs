//! The options of a check: what follows a `#` in its text, as in `http:/health#interval=5s&status=200`.
//!
//! A fragment is the part of a URL that is not sent to a server, so that the `health_url` of an endpoint has the options too.

use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use portolan_core::quoted;

/// What cannot be in the value of an option as it is.
const RESERVED: &AsciiSet =
    &CONTROLS.add(b'%').add(b'&').add(b'#').add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// The options of a check that was not parsed completely yet. The parser of its kind takes its own.
#[derive(Debug, Default)]
pub struct CheckOptions {
    given: Vec<CheckOption>,
}

#[derive(Debug)]
struct CheckOption {
    name: String,
    value: String,
    is_known: bool,
}

// === impl CheckOptions ===

impl CheckOptions {
    /// Parses `name=value&name=value` with percent-encoded values.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in text.split('&') {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("the option {} has no value", quoted(pair)));
            };
            if options.given.iter().any(|option| option.name == name) {
                return Err(format!("the option {} is given twice", quoted(name)));
            }
            let Ok(value) = percent_decode_str(value).decode_utf8() else {
                return Err(format!("the option {} is not UTF-8", quoted(name)));
            };
            let (name, value) = (name.to_owned(), value.into_owned());
            options.given.push(CheckOption { name, value, is_known: false });
        }
        Ok(options)
    }

    /// Returns an option as text.
    pub fn text(&mut self, name: &str) -> Option<&str> {
        let option = self.given.iter_mut().find(|option| option.name == name)?;
        option.is_known = true;
        Some(&option.value)
    }

    /// Parses an option.
    ///
    /// # Errors
    ///
    /// Its value is invalid.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| text.parse().map_err(|error| format!("{name}: {error}"));
        self.text(name).map(parse).transpose()
    }

    /// Returns the name of an option that nobody has asked for.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.given.iter().find(|option| !option.is_known).map(|option| option.name.as_str())
    }
}

/// Splits the text of a check where its options begin: at the first `#` that a name and `=` follow.
pub(crate) fn split_options(text: &str) -> (&str, Option<&str>) {
    let begins = |rest: &str| {
        let name = rest.split('=').next().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        name.len() < rest.len() && !name.is_empty() && name.chars().all(is_name)
    };
    let at = text.match_indices('#').map(|(at, _)| at).find(|at| begins(&text[at + 1..]));
    at.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])))
}

/// Appends an option to the text of a check.
pub(crate) fn append_option(text: &mut String, name: &str, value: &str) {
    text.push(if split_options(text).1.is_some() { '&' } else { '#' });
    text.push_str(name);
    text.push('=');
    text.extend(utf8_percent_encode(value, RESERVED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_begin_at_a_number_sign_before_a_name() {
        for (text, split) in [
            ("tcp", ("tcp", None)),
            ("http:/x#status=200", ("http:/x", Some("status=200"))),
            ("command:grep '#' file", ("command:grep '#' file", None)),
            ("command:a '#b' c#interval=1s", ("command:a '#b' c", Some("interval=1s"))),
            ("http:/x#", ("http:/x#", None)),
            ("http:/x#=1", ("http:/x#=1", None)),
        ] {
            assert_eq!(split_options(text), split, "{text}");
        }
    }

    #[test]
    fn appended_options_are_read_again() {
        let mut text = "http:/x".to_owned();
        append_option(&mut text, "body", "50% & #1 é");
        append_option(&mut text, "status", "200");
        let mut options = CheckOptions::parse(split_options(&text).1.unwrap()).unwrap();
        assert_eq!(options.text("body"), Some("50% & #1 é"));
        assert_eq!(options.unknown(), Some("status"));
        assert_eq!(options.parsed::<u16>("status"), Ok(Some(200)));
        assert_eq!(options.unknown(), None);
        assert_eq!(options.parsed::<u16>("port"), Ok(None));
    }

    #[test]
    fn invalid_options_are_refused() {
        for (text, part) in
            [("status", "has no value"), ("a=1&a=2", "given twice"), ("a=%ff", "not UTF-8")]
        {
            let error = CheckOptions::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
