//! What programs print, without what would disturb a table on the same terminal.

/// Returns the line without control sequences, except those of colours (ECMA-48, SGR). Of a line that is overwritten, as by a progress bar, the last
/// text remains.
pub(crate) fn without_controls(line: &str) -> String {
    let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let (mut plain, mut coloured) = (String::with_capacity(line.len()), false);
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        plain.push_str(&rest[..at]);
        let (sequence, after) = split_sequence(&rest[at..]);
        if is_colour(sequence) {
            plain.push_str(sequence);
            coloured = true;
        }
        rest = after;
    }
    plain.push_str(rest);
    if coloured {
        plain.push_str("\x1b[0m");
    }
    plain
}

fn is_colour(sequence: &str) -> bool {
    let parameters = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    parameters.is_some_and(|it| it.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':'))
}

/// Splits after the control character or sequence at the beginning of the text.
fn split_sequence(text: &str) -> (&str, &str) {
    let end = match text.get(1..2).filter(|_| text.starts_with('\x1b')) {
        Some("[") => text[2..].find(|c: char| ('@'..='~').contains(&c)).map(|at| at + 3),
        // A string such as a title ends with BEL or ST.
        Some("]" | "P" | "X" | "^" | "_") => {
            let bell = text.find('\x07').map(|at| at + 1);
            let terminator = text.find("\x1b\\").map(|at| at + 2);
            bell.into_iter().chain(terminator).min()
        }
        Some(_) => Some(2),
        // A character of several bytes.
        None if text.starts_with('\x1b') => text.chars().nth(1).map(|c| 1 + c.len_utf8()),
        None => text.chars().next().map(char::len_utf8),
    };
    text.split_at(end.unwrap_or(text.len()).min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_remain() {
        for (line, plain) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[2J\x1b[Hcleared", "cleared"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
            ("10%\r50%\r100%", "100%"),
            ("a\x08\x07b\u{9b}c", "abc"),
            ("cut \x1b[12", "cut "),
            ("cut \x1b]0;never ends", "cut "),
            ("\x1b", ""),
            ("\x1bcé", "é"),
            ("\x1bé", ""),
        ] {
            assert_eq!(without_controls(line), plain, "{line:?}");
        }
    }
}
