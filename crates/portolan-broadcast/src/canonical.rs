//! Canonical JSON (RFC 8785): one encoding for every value, so that a signature can be verified with any
//! JSON library.

mod text;

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

pub(crate) use text::{CanonicalText, canonical_text};

/// Returns the canonical encoding of the object, unknown members included.
pub(crate) fn canonical(object: &Map<String, Value>) -> String {
    let mut out = String::with_capacity(512);
    write_object(&mut out, object);
    out
}

// The depth is bounded: the values come from a parser that stops at 128 levels.
fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(out, index);
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(object) => write_object(out, object),
    }
}

fn write_object(out: &mut String, object: &Map<String, Value>) {
    let mut members: Vec<_> = object.iter().collect();
    // Section 3.2.3 sorts by UTF-16 code units, which differs from bytes beyond U+FFFF.
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    out.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        separate(out, index);
        write_string(out, name);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

/// Section 3.2.2.2: the two-letter escapes where there are any, `\u00xx` for other control
/// characters, everything else as it is.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Section 3.2.2.3: every number is a double, written as ECMAScript writes it
/// (`Number::toString`): the fewest digits that read back as the same double.
fn write_number(out: &mut String, number: &Number) {
    let number = number.as_f64().unwrap_or_default();
    if number == 0.0 {
        return out.push('0'); // minus zero too
    }
    if number < 0.0 {
        out.push('-');
    }
    // `{:e}` gives the shortest digits, as `d.ddde±x`.
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    write_digits(out, &digits, exponent.parse::<i32>().unwrap_or_default() + 1);
}

/// Places the decimal point: the value is `0.digits × 10^point`.
fn write_digits(out: &mut String, digits: &str, point: i32) {
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or_default());
    let _ = match point {
        _ if (count..=21).contains(&point) => write!(out, "{digits}{}", zeros(point - count)),
        1..=21 => {
            let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
            write!(out, "{whole}.{fraction}")
        }
        -5..=0 => write!(out, "0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            write!(out, "{first}{dot}{rest}e{:+}", point - 1)
        }
    };
}

#[cfg(test)]
mod tests;
