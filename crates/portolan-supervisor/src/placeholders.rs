//! Placeholders for ports and sockets in commands and environment variables: `{port}` and `{fd}`,
//! or `{port:NAME}` and `{fd:NAME}` for a named port.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use portolan_core::{PortName, ServiceName};

use crate::CommandLine;
pub(crate) use unknown::unknown_placeholder;

mod unknown;

const PORT: &str = "{port}";
const SOCKET: &str = "{fd}";
/// Prefixes of the placeholders of a named port.
const NAMED_PORT: &str = "{port:";
const NAMED_SOCKET: &str = "{fd:";

/// The parts of the address of a need, in the placeholders `{NEED.url}` and so on.
pub(crate) const ADDRESS_PARTS: [&str; 3] = ["host", "port", "url"];

/// The values of placeholders. Each entry is a whole placeholder and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders(Vec<(String, String)>);

// === impl Placeholders ===

impl Placeholders {
    /// Creates the values of a service with one port, whose socket is not inherited.
    pub fn for_port(port: u16) -> Self {
        let mut places = Self::default();
        places.add(None, port, None);
        places
    }

    /// Adds the values of a port. `socket` is the file descriptor of its socket if the program
    /// inherits it.
    pub fn add(&mut self, name: Option<&PortName>, port: u16, socket: Option<RawFd>) {
        let of_name = name.map(|name| format!(":{name}")).unwrap_or_default();
        self.0.push((format!("{{port{of_name}}}"), port.to_string()));
        self.0.extend(socket.map(|socket| (format!("{{fd{of_name}}}"), socket.to_string())));
    }

    /// Adds a value of another kind, such as of `{replica}`; `name` is what stands between the braces.
    pub fn insert(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((format!("{{{name}}}"), value.into()));
    }

    /// Returns both values.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Returns the text with every placeholder replaced by its value.
    pub fn substitute(&self, text: &str) -> String {
        let fill = |text: String, (place, value): &(String, String)| {
            let mut filled = String::with_capacity(text.len());
            let mut rest = 0;
            for at in places(&text, place) {
                filled += &text[rest..at];
                filled += value;
                rest = at + place.len();
            }
            filled + &text[rest..]
        };
        self.0.iter().fold(text.to_owned(), fill)
    }
}

/// Returns whether the text contains a placeholder for a port or a socket.
pub(crate) fn has_placeholder(text: &str) -> bool {
    [PORT, SOCKET].iter().any(|place| places(text, place).next().is_some())
        || names_in(text).next().is_some()
}

/// Returns whether the command or a variable contains a placeholder for a socket.
pub(crate) fn mentions_socket(
    command: &CommandLine,
    environment: &BTreeMap<String, String>,
) -> bool {
    let mut texts = command.words().iter().chain(environment.values());
    texts.any(|text| {
        places(text, SOCKET).next().is_some() || names_after(NAMED_SOCKET, text).next().is_some()
    })
}

/// Returns the positions of the placeholder in the text, except those that belong to a shell:
/// `${port}`, and `{fd}` in a redirection such as `exec {fd}<file`.
fn places<'a>(text: &'a str, place: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(place).map(|(at, _)| at).filter(|at| !is_left_to_a_shell(text, *at, place))
}

fn is_left_to_a_shell(text: &str, at: usize, place: &str) -> bool {
    text[..at].ends_with('$') || text[at + place.len()..].starts_with(['<', '>'])
}

/// Returns the services in the placeholders for the address of a need, such as `{redis.url}`, with the whole placeholder.
pub(crate) fn needs_in(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let mut found = Vec::new();
    for part in ADDRESS_PARTS {
        let end = format!(".{part}}}");
        for (at, _) in text.match_indices(&end) {
            let Some(start) = text[..at].rfind('{') else { continue };
            let (need, place) = (&text[start + 1..at], &text[start..at + end.len()]);
            let is_ours = places(text, place).any(|at| at == start);
            if is_ours && need.parse::<ServiceName>().is_ok() {
                found.push((need.to_owned(), place.to_owned()));
            }
        }
    }
    found.into_iter()
}

/// Returns the port names in the placeholders of the text.
pub(crate) fn names_in(text: &str) -> impl Iterator<Item = PortName> + '_ {
    [NAMED_PORT, NAMED_SOCKET].into_iter().flat_map(move |start| names_after(start, text))
}

/// Skips what shells and JavaScript write in the same way, such as `${port:-80}` and `{fd:3}`.
fn names_after<'a>(start: &'static str, text: &'a str) -> impl Iterator<Item = PortName> + 'a {
    places(text, start).filter_map(move |at| {
        let (name, _) = text[at + start.len()..].split_once('}')?;
        let is_a_literal = name.parse::<u64>().is_ok();
        name.parse().ok().filter(|_| !is_a_literal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_syntax_is_not_a_placeholder() {
        let mut places = Placeholders::default();
        places.add(None, 8080, Some(3));
        places.add(Some(&"metrics".parse().unwrap()), 9100, None);
        for text in ["port=5; echo ${port}", "echo ${port:metrics}", "exec {fd}<file", "echo ${fd}"]
        {
            assert_eq!(places.substitute(text), text);
            assert!(!has_placeholder(text), "{text}");
        }
        assert_eq!(places.substitute("${port} {port} {port}{fd}"), "${port} 8080 80803");
    }

    #[test]
    fn needs_are_found_in_placeholders() {
        let needs = |text| {
            needs_in(text).map(|(need, place)| format!("{need} {place}")).collect::<Vec<_>>()
        };
        assert_eq!(
            needs("x {redis.url}/0 {my-db.port}"),
            ["my-db {my-db.port}", "redis {redis.url}"]
        );
        assert_eq!(
            needs("${redis.url} {redis.uri} {redis} {a b.url} {.url} .url}"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn placeholders_are_replaced_by_ports_and_sockets() {
        let mut places = Placeholders::default();
        places.add(None, 8080, Some(3));
        places.add(Some(&"metrics".parse().unwrap()), 9100, Some(4));
        let filled =
            places.substitute("{port} {fd} {port:metrics} {fd:metrics} {port} {port:other}");
        assert_eq!(filled, "8080 3 9100 4 8080 {port:other}");
        assert_eq!(Placeholders::for_port(80).substitute("{port} {fd}"), "80 {fd}");
    }

    #[test]
    fn only_port_names_are_found_in_placeholders() {
        let names = |text| names_in(text).map(String::from).collect::<Vec<_>>();
        assert_eq!(names("{port:a}-{fd:b.c} {port:a}"), ["a", "a", "b.c"]);
        assert_eq!(
            names("{port} ${port:-80} ${port:x} {port: x} {fd:3} {port:x"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn socket_placeholder_may_have_a_name() {
        let mentions = |text: &str| mentions_socket(&text.parse().unwrap(), &BTreeMap::new());
        assert!(mentions("x --fd={fd}") && mentions("x {fd:web}") && !mentions("x {port} {fd:3}"));
        assert!(
            has_placeholder("{port:x}") && has_placeholder("a{fd}") && !has_placeholder("{ports}")
        );
    }
}
