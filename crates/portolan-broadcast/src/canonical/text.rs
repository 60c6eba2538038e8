//! The canonical encoding of a message by its text, without a tree of values.
//!
//! What is written by Portolan, and by any sender of canonical JSON, is canonical but for the order of members and the signature.
//! It is copied in order. Everything else, such as whitespace, fractions and names with escapes, is left to the tree.

/// How deep values are nested at most; those of a message are 3 levels.
const MAX_DEPTH: u32 = 8;
/// Few objects have more members.
const USUAL_MEMBERS: usize = 16;
/// A double has these many decimal digits in every case.
const EXACT_DIGITS: usize = 15;

/// A message in canonical encoding, without its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CanonicalText<'a> {
    pub(crate) text: String,
    /// Where the member `signature` belongs in the text, followed by a comma.
    pub(crate) signature_at: usize,
    /// The text of the signature, if there is one.
    pub(crate) signature: Option<&'a str>,
    /// The text of `key_id`, if there is one.
    pub(crate) key_id: Option<&'a str>,
}

#[derive(Debug)]
struct Member<'a> {
    name: &'a str,
    value: Value<'a>,
}

#[derive(Debug)]
enum Value<'a> {
    /// A value in which the members of every object are in order.
    Text(&'a str),
    /// The members of any other object, in order.
    Object(Vec<Member<'a>>),
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

/// Returns the canonical encoding of the object; `None` if that takes more than ordering its members.
pub(crate) fn canonical_text(text: &str) -> Option<CanonicalText<'_>> {
    let mut members = ordered_members(text)?;
    let key_id = plain_text(&members, "key_id")?;
    let signature = plain_text(&members, "signature")?;
    members.retain(|member| member.name != "signature");
    let before = members.partition_point(|member| member.name < "signature");
    let mut out = String::with_capacity(text.len() + 80);
    out.push('{');
    write_members(&members[..before], &mut out);
    let signature_at = out.len();
    write_members(&members[before..], &mut out);
    if signature_at == out.len() || out.pop() != Some(',') {
        return None;
    }
    out.push('}');
    Some(CanonicalText { text: out, signature_at, signature, key_id })
}

/// Returns the text of a member, if there is one; `None` if it is anything but a text without escapes.
fn plain_text<'a>(members: &[Member<'a>], name: &str) -> Option<Option<&'a str>> {
    let Some(member) = members.iter().find(|member| member.name == name) else { return Some(None) };
    let Value::Text(value) = member.value else { return None };
    let contents = value.strip_prefix('"')?.strip_suffix('"')?;
    (!contents.contains('\\')).then_some(Some(contents))
}

/// Returns the members of an object in the order of RFC 8785; `None` if a name occurs twice.
fn ordered_members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    let (members, is_ordered) = scanner.object()?;
    if scanner.at != text.len() {
        return None;
    }
    if is_ordered { Some(members) } else { order(members) }
}

/// Puts the members in order; `None` if a name occurs twice.
fn order(mut members: Vec<Member<'_>>) -> Option<Vec<Member<'_>>> {
    members.sort_unstable_by_key(|member| member.name);
    let is_distinct = members.windows(2).all(|pair| pair[0].name != pair[1].name);
    is_distinct.then_some(members)
}

/// Writes the members, each followed by a comma.
fn write_members(members: &[Member<'_>], out: &mut String) {
    for Member { name, value } in members {
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
        match value {
            Value::Text(text) => out.push_str(text),
            Value::Object(members) => {
                out.push('{');
                write_members(members, out);
                // The last comma. An object without members is in order.
                out.pop();
                out.push('}');
            }
        }
        out.push(',');
    }
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    fn value(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        match self.peek()? {
            b'"' => self.string().map(drop)?,
            b'{' => {
                let (members, is_ordered) = self.object()?;
                if !is_ordered {
                    return order(members).map(Value::Object);
                }
            }
            b'[' => self.array()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => self.integer()?,
        }
        Some(Value::Text(&self.text[start..self.at]))
    }

    /// Reads an object, and returns whether the members of every object in it are in order.
    fn object(&mut self) -> Option<(Vec<Member<'a>>, bool)> {
        self.open(b'{')?;
        let mut members: Vec<Member<'_>> = Vec::with_capacity(USUAL_MEMBERS);
        let mut is_ordered = true;
        if self.accept(b'}') {
            self.depth -= 1;
            return Some((members, true));
        }
        loop {
            let name = self.string()?;
            // Beyond ASCII the order of UTF-16 code units differs, and escapes hide the characters.
            if !name.is_ascii() || name.contains('\\') {
                return None;
            }
            self.expect(b':')?;
            let value = self.value()?;
            is_ordered &= matches!(value, Value::Text(_))
                && members.last().is_none_or(|last| last.name < name);
            members.push(Member { name, value });
            if !self.accept(b',') {
                self.expect(b'}')?;
                self.depth -= 1;
                return Some((members, is_ordered));
            }
        }
    }

    /// Reads an array. One with objects that are not in order is left to the tree.
    fn array(&mut self) -> Option<()> {
        self.open(b'[')?;
        if !self.accept(b']') {
            loop {
                let Value::Text(_) = self.value()? else { return None };
                if !self.accept(b',') {
                    self.expect(b']')?;
                    break;
                }
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Reads a string that is encoded as RFC 8785 does, and returns what is between the quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            match self.next()? {
                b'"' => return Some(&self.text[start..self.at - 1]),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r' => Some(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
                self.at += 4;
                let is_control =
                    matches!(digits, [b'0', b'0', b'0' | b'1', b'0'..=b'9' | b'a'..=b'f']);
                let has_letter = matches!(digits, [_, _, b'0', b'8' | b'9' | b'a' | b'c' | b'd']);
                (is_control && !has_letter).then_some(())
            }
            _ => None,
        }
    }

    /// Reads an integer that a double represents exactly, and that is encoded as one.
    fn integer(&mut self) -> Option<()> {
        let is_negative = self.accept(b'-');
        let digits = &self.text.as_bytes()[self.at..];
        let count = digits.iter().take_while(|digit| digit.is_ascii_digit()).count();
        let is_exact = match digits.first()? {
            b'0' => count == 1 && !is_negative,
            _ => (1..=EXACT_DIGITS).contains(&count),
        };
        self.at += count;
        is_exact.then_some(())
    }

    fn literal(&mut self, text: &str) -> Option<()> {
        self.text[self.at..].starts_with(text).then(|| self.at += text.len())
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())?;
        self.expect(bracket)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.accept(byte).then_some(())
    }
}

#[cfg(test)]
mod tests;
