//! A scalar value whose type is not known yet.

/// A scalar in its original spelling. Its type depends on the setting: `16.10` is a number for a
/// number and the text `16.10` for a string.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    /// Unquoted in YAML: `5`, `true`, `~`, or empty.
    Plain(String),
    /// A string, whatever it looks like: `"5"`.
    Text(String),
    /// From the environment or a flag, without quotes: like `Plain`, but an empty value and `null` are
    /// strings for a string.
    Given(String),
}

/// The inferred type of a scalar (YAML 1.2, core schema).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Inferred<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

// === impl Scalar ===

impl Scalar {
    pub(crate) fn raw(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Text(text) | Self::Given(text) => text,
        }
    }

    pub(crate) fn inferred(&self) -> Inferred<'_> {
        match self {
            Self::Text(text) => Inferred::Text(text),
            Self::Plain(text) | Self::Given(text) => infer(text),
        }
    }

    /// Whether the scalar is null.
    pub(crate) fn is_null(&self) -> bool {
        match self {
            Self::Given(text) => text.is_empty(),
            other => other.inferred() == Inferred::Null,
        }
    }

    /// Returns the scalar as a string, or `None` if it is null.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Plain(text) if infer(text) == Inferred::Null => None,
            other => Some(other.raw()),
        }
    }
}

/// Infers the type of a plain scalar.
pub(crate) fn infer(text: &str) -> Inferred<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Inferred::Null,
        "true" | "True" | "TRUE" => return Inferred::Bool(true),
        "false" | "False" | "FALSE" => return Inferred::Bool(false),
        _ => {}
    }
    integer(text).or_else(|| float(text)).unwrap_or(Inferred::Text(text))
}

fn integer(text: &str) -> Option<Inferred<'_>> {
    let digits = |digits: &str, radix| {
        // from_str_radix accepts a sign, which is invalid in `0x+5`.
        let plain = digits.chars().all(|c| c.is_digit(radix));
        plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
    };
    let unsigned = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(hex), _) => digits(hex, 16),
        (_, Some(octal)) => digits(octal, 8),
        _ => digits(text.strip_prefix('+').unwrap_or(text), 10),
    };
    let signed = || text.starts_with('-').then(|| text.parse::<i64>().ok()).flatten();
    unsigned.map(Inferred::Unsigned).or_else(|| signed().map(Inferred::Signed))
}

fn float(text: &str) -> Option<Inferred<'_>> {
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    // Rust also parses "inf" and "nan", which are strings in YAML.
    let shaped = text.chars().all(number) && text.chars().any(|c| c.is_ascii_digit());
    let value = shaped.then(|| text.parse::<f64>().ok()).flatten()?;
    value.is_finite().then_some(Inferred::Float(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_yaml_1_2() {
        for (text, value) in [
            ("", Inferred::Null),
            ("~", Inferred::Null),
            ("true", Inferred::Bool(true)),
            ("FALSE", Inferred::Bool(false)),
            ("7000", Inferred::Unsigned(7000)),
            ("+5", Inferred::Unsigned(5)),
            ("-5", Inferred::Signed(-5)),
            ("0x1F", Inferred::Unsigned(31)),
            ("0o17", Inferred::Unsigned(15)),
            ("1.5", Inferred::Float(1.5)),
            ("1e3", Inferred::Float(1000.0)),
        ] {
            assert_eq!(infer(text), value, "{text}");
        }
        for text in ["yes", "on", "5s", "0x", "0x+5", "inf", "nan", "-", ".", "1e999", "12:30"] {
            assert_eq!(infer(text), Inferred::Text(text), "{text}");
        }
    }

    #[test]
    fn given_scalar_may_be_an_empty_string() {
        assert_eq!(Scalar::Given(String::new()).as_text(), Some(""));
        assert_eq!(Scalar::Given("null".into()).as_text(), Some("null"));
        assert_eq!(Scalar::Plain(String::new()).as_text(), None);
        assert!(Scalar::Given(String::new()).is_null());
        assert!(!Scalar::Text(String::new()).is_null());
    }
}
