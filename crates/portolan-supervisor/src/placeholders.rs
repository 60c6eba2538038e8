//! What stands for ports and sockets in commands and variables: `{port}`, `{fd}`, and the same of a
//! named port, `{port:NAME}`, `{fd:NAME}`.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use portolan_core::PortName;

use crate::CommandLine;

const PORT: &str = "{port}";
const SOCKET: &str = "{fd}";
/// What the same begin with where a name follows.
const NAMED_PORT: &str = "{port:";
const NAMED_SOCKET: &str = "{fd:";

/// What stands in the places: each of them whole, with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<(String, String)>);

// === impl Places ===

impl Places {
    /// Those of a service's only, or first, port.
    pub fn of_port(port: u16) -> Self {
        let mut places = Self::default();
        places.add(None, port, None);
        places
    }

    /// Adds those of a port, and of its socket where the program inherits that.
    pub fn add(&mut self, name: Option<&PortName>, port: u16, socket: Option<RawFd>) {
        let of_name = name.map(|name| format!(":{name}")).unwrap_or_default();
        self.0.push((format!("{{port{of_name}}}"), port.to_string()));
        self.0.extend(socket.map(|socket| (format!("{{fd{of_name}}}"), socket.to_string())));
    }

    /// The text with the values in the places.
    pub fn fill(&self, text: &str) -> String {
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

/// Whether a port or a socket stands in the text.
pub(crate) fn is_in(text: &str) -> bool {
    [PORT, SOCKET].iter().any(|place| places(text, place).next().is_some())
        || names_in(text).next().is_some()
}

/// Whether a socket stands in the command or a variable.
pub(crate) fn mentions_socket(
    command: &CommandLine,
    environment: &BTreeMap<String, String>,
) -> bool {
    let mut texts = command.words().iter().chain(environment.values());
    texts.any(|text| {
        places(text, SOCKET).next().is_some() || names_after(NAMED_SOCKET, text).next().is_some()
    })
}

/// Where this stands in the text, and is no other language's: a shell's `${port}`, or the `{fd}` of
/// its `exec {fd}<file`.
fn places<'a>(text: &'a str, place: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_ours = move |at: &usize| {
        let redirects = text[at + place.len()..].starts_with(['<', '>']);
        !text[..*at].ends_with('$') && !redirects
    };
    text.match_indices(place).map(|(at, _)| at).filter(is_ours)
}

/// The names of ports in the text.
pub(crate) fn names_in(text: &str) -> impl Iterator<Item = PortName> + '_ {
    [NAMED_PORT, NAMED_SOCKET].into_iter().flat_map(move |start| names_after(start, text))
}

/// What a shell or JavaScript has for itself, such as `${port:-80}` or `{fd:3}`, is no name.
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
    fn what_is_a_shells_own_is_left_to_it() {
        let mut places = Places::default();
        places.add(None, 8080, Some(3));
        places.add(Some(&"metrics".parse().unwrap()), 9100, None);
        for text in ["port=5; echo ${port}", "echo ${port:metrics}", "exec {fd}<file", "echo ${fd}"]
        {
            assert_eq!(places.fill(text), text);
            assert!(!is_in(text), "{text}");
        }
        assert_eq!(places.fill("${port} {port} {port}{fd}"), "${port} 8080 80803");
    }

    #[test]
    fn ports_and_sockets_go_wherever_they_are_asked_for() {
        let mut places = Places::default();
        places.add(None, 8080, Some(3));
        places.add(Some(&"metrics".parse().unwrap()), 9100, Some(4));
        let filled = places.fill("{port} {fd} {port:metrics} {fd:metrics} {port} {port:other}");
        assert_eq!(filled, "8080 3 9100 4 8080 {port:other}");
        assert_eq!(Places::of_port(80).fill("{port} {fd}"), "80 {fd}");
    }

    #[test]
    fn the_names_are_those_of_ports_and_no_other_languages() {
        let names = |text| names_in(text).map(String::from).collect::<Vec<_>>();
        assert_eq!(names("{port:a}-{fd:b.c} {port:a}"), ["a", "a", "b.c"]);
        assert_eq!(
            names("{port} ${port:-80} ${port:x} {port: x} {fd:3} {port:x"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_command_asks_for_its_socket_with_or_without_a_name() {
        let mentions = |text: &str| mentions_socket(&text.parse().unwrap(), &BTreeMap::new());
        assert!(mentions("x --fd={fd}") && mentions("x {fd:web}") && !mentions("x {port} {fd:3}"));
        assert!(is_in("{port:x}") && is_in("a{fd}") && !is_in("{ports}"));
    }
}
