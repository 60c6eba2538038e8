//! Variables in the values of a section, written as in Compose: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${NAME:+other}`,
//! the same without the colon, and `$$` for a dollar sign.
//!
//! `$NAME` without braces is left as it is: it belongs to the shell that a command starts.

use crate::Problem;
use crate::node::{Node, Value};
use crate::path::KeyPath;
use crate::scalar::Scalar;

/// The maximum nesting of variables in defaults, which bounds the recursion.
const MAX_DEPTH: usize = 8;
/// The maximum length of a value in bytes after its variables are replaced.
const MAX_LENGTH: usize = 128 * 1024;

/// Returns the value of a variable; `None` if it is not set.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a value cannot be interpolated, and what resolves it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    message: String,
    remedy: String,
}

/// Replaces the variables in every value below the node, and returns a problem for each value in which that is not possible.
pub(crate) fn interpolate(node: &mut Node, path: &KeyPath, lookup: Lookup<'_>) -> Vec<Problem> {
    match &mut node.value {
        Value::Scalar(scalar) => match value_of(scalar.raw(), lookup, 0) {
            // Its type is that of the text: `port: ${PORT}` is a number.
            Ok(text) if text != scalar.raw() => *scalar = Scalar::Given(text),
            Ok(_) => {}
            Err(Invalid { message, remedy }) => {
                let (origin, path) = (node.origin.clone(), path.to_string());
                return vec![Problem { origin, path, message, remedy: Some(remedy) }];
            }
        },
        Value::List(items) => {
            let items = items.iter_mut().enumerate();
            let problems = items
                .flat_map(|(at, item)| interpolate(item, &path.child(&format!("[{at}]")), lookup));
            return problems.collect();
        }
        Value::Map(entries) => {
            let entries = entries.iter_mut();
            let problems = entries
                .flat_map(|entry| interpolate(&mut entry.node, &path.child(&entry.key), lookup));
            return problems.collect();
        }
    }
    Vec::new()
}

fn value_of(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Invalid> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        value += &rest[..at];
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            value.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let end = closing(after).ok_or_else(|| unclosed(rest))?;
            value += &variable(&after[..end], lookup, depth)?;
            rest = &after[end + 1..];
        } else {
            value.push('$');
            rest = &rest[1..];
        }
        if value.len() > MAX_LENGTH {
            return Err(invalid(
                format!("the value has more than {MAX_LENGTH} bytes"),
                "use shorter variables",
            ));
        }
    }
    Ok(value + rest)
}

/// Returns the position of the brace that closes the expression, past those within it.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

/// Returns the value of an expression, which stood between the braces.
fn variable(expression: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Invalid> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = expression.find(|c| !is_part(c)).unwrap_or(expression.len());
    let (name, operator) = expression.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || depth > MAX_DEPTH {
        return Err(not_a_variable(expression));
    }
    let value = lookup(name);
    let (operator, value) = match operator.strip_prefix(':') {
        Some(operator) => (operator, value.filter(|value| !value.is_empty())),
        None => (operator, value),
    };
    let mut operators = operator.chars();
    match (operators.next(), value) {
        (None, Some(value)) if operator.len() == expression.len() - end => Ok(value),
        (None, None) if operator.len() == expression.len() - end => Err(unset(name)),
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) => value_of(operators.as_str(), lookup, depth + 1),
        (Some('?'), None) => {
            let message = value_of(operators.as_str(), lookup, depth + 1)?;
            let message = if message.is_empty() { "it is required" } else { &message };
            let remedy = format!("set {name} in the environment, or in .env beside the file");
            Err(invalid(format!("the variable {name} is not set: {message}"), &remedy))
        }
        (Some('+'), Some(_)) => value_of(operators.as_str(), lookup, depth + 1),
        (Some('+'), None) => Ok(String::new()),
        _ => Err(not_a_variable(expression)),
    }
}

fn invalid(message: String, remedy: &str) -> Invalid {
    Invalid { message, remedy: remedy.to_owned() }
}

fn unset(name: &str) -> Invalid {
    let remedy = format!(
        "set it in the environment or in .env beside the file, or write ${{{name}:-DEFAULT}}; for a shell, write $${{{name}}}"
    );
    invalid(format!("the variable {name} is not set"), &remedy)
}

fn unclosed(text: &str) -> Invalid {
    let text: String = text.chars().take(40).collect();
    invalid(
        format!("`{text}` has no closing brace"),
        "write ${NAME}, or $${ for a dollar sign and a brace",
    )
}

fn not_a_variable(expression: &str) -> Invalid {
    let text: String = expression.chars().take(40).collect();
    invalid(
        format!("`${{{text}}}` is not a variable"),
        "write ${NAME}, ${NAME:-DEFAULT} or ${NAME:?MESSAGE}; for a shell, write $${…}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<String, Invalid> {
        let lookup = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        value_of(text, &lookup, 0)
    }

    /// The table of the Compose specification.
    #[test]
    fn variables_are_replaced_as_in_compose() {
        for (text, expected) in [
            ("a ${SET} b", "a value b"),
            ("${SET}${SET}", "valuevalue"),
            ("${EMPTY}", ""),
            ("${SET:-x}", "value"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${NONE-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-http://h:1/a}", "http://h:1/a"),
            ("${NONE:-${SET}}", "value"),
            ("${NONE:-${ALSO_NONE:-x}} {port}", "x {port}"),
            ("${SET:?needed}", "value"),
            ("${EMPTY?needed}", ""),
            ("${SET:+other}", "other"),
            ("${EMPTY:+other}", ""),
            ("${EMPTY+other}", "other"),
            ("${NONE+other}", ""),
            ("$$", "$"),
            ("$${SET}", "${SET}"),
            ("$$$${x", "$${x"),
            // For a shell.
            ("echo $SET $1 $?", "echo $SET $1 $?"),
            ("costs 5$", "costs 5$"),
        ] {
            assert_eq!(given(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn texts_and_remedies() {
        let nested = "${N:-".repeat(20) + &"}".repeat(20);
        let texts = [
            "${NONE}",
            "${NONE:?set it to the key}",
            "${NONE:?}",
            "${EMPTY:?x}",
            "${SET",
            "${}",
            "${1}",
            "${a b}",
            "${SET:}",
            "${SET/a/b}",
            "${port:metrics}",
            &nested,
        ];
        let texts = texts.map(|text| {
            let Invalid { message, remedy } = given(text).unwrap_err();
            format!("{text}: {message}\n  remedy: {remedy}")
        });
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn value_has_a_maximum_length() {
        let lookup = |_: &str| Some("x".repeat(1000));
        assert!(value_of(&"${A}".repeat(1000), &lookup, 0).is_err());
    }
}
