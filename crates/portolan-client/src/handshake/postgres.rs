//! PostgreSQL: an SSLRequest, which the server answers without authentication and without a log
//! line (PostgreSQL documentation, "Message Flow", "SSL Session Encryption").

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use super::{Handshake, read};

/// The length 8 and the code of an SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub(super) const HANDSHAKE: Handshake = Handshake {
    name: "PostgreSQL",
    exchange: |stream, _| {
        async move {
            stream.write_all(&SSL_REQUEST).await?;
            // "S" means yes, "N" no; then the server waits for the client.
            Ok(matches!(read::<1>(stream).await?.as_slice(), b"S" | b"N"))
        }
        .boxed()
    },
};
