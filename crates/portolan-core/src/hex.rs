//! Bytes as lowercase hexadecimal digits: digests, signatures, serial numbers.

use std::fmt::Write as _;

/// Returns the bytes as lowercase hexadecimal digits.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Parses exactly so many bytes; upper-case digits are refused, so that each value has one text.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_text() {
        assert_eq!(encode(&[0x00, 0x7f, 0xff]), "007fff");
        assert_eq!(decode("007fff"), Some([0x00, 0x7f, 0xff]));
        for text in ["", "007f", "007ffff", "007FFF", "+07fff", "007ff€"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
