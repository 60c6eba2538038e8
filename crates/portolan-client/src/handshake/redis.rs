//! Redis and Valkey: `PING`.

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use super::{Handshake, read};

/// What answers a `PING`: a pong, or a reason that only Redis gives for refusing one.
const ANSWERS: [&[u8]; 6] = [b"+PONG", b"-NOAU", b"-NOPE", b"-LOAD", b"-DENI", b"-MAST"];

pub(super) const HANDSHAKE: Handshake = Handshake {
    name: "Redis",
    shake: |stream, _| {
        async move {
            stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
            let answer = read::<5>(stream).await?;
            Ok(ANSWERS.contains(&answer.as_slice()))
        }
        .boxed()
    },
};
