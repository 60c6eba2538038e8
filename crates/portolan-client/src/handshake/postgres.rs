//! PostgreSQL: asks whether it would speak TLS, which it answers without a log line or a process
//! that has to authenticate (PostgreSQL documentation, "Message Flow", SSL Session Encryption).

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use super::{Handshake, read};

/// A length of 8 and the number of an SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub(super) const HANDSHAKE: Handshake = Handshake {
    name: "PostgreSQL",
    shake: |stream, _| {
        async move {
            stream.write_all(&SSL_REQUEST).await?;
            // "S" for yes or "N" for no; the server waits for what the client does next.
            Ok(matches!(read::<1>(stream).await?.as_slice(), b"S" | b"N"))
        }
        .boxed()
    },
};
