//! gRPC: the HTTP/2 connection preface, which a server answers with a SETTINGS frame (RFC 9113,
//! section 3.4).

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use super::{Handshake, read};

/// The preface, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

pub(super) const HANDSHAKE: Handshake = Handshake {
    name: "gRPC",
    exchange: |stream, _| {
        async move {
            stream.write_all(PREFACE).await?;
            Ok(is_settings(&read::<9>(stream).await?))
        }
        .boxed()
    },
};

/// Checks the frame header: a length in three bytes that is a multiple of 6, the type, no flags (it
/// is not an acknowledgement), and stream 0.
fn is_settings(head: &[u8]) -> bool {
    match head {
        [0, high, low, SETTINGS, 0, 0, 0, 0, 0] => u16::from_be_bytes([*high, *low]) % 6 == 0,
        _ => false,
    }
}
