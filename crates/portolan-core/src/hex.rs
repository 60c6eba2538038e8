//! Bytes as lowercase hexadecimal digits: digests, signatures, serial numbers.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Returns the bytes as lowercase hexadecimal digits.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 0xf)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}

/// Parses exactly so many bytes; upper-case digits are refused, so that each value has one text.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = value(digits[0])? << 4 | value(digits[1])?;
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
