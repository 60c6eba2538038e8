//! Redis and Valkey: `PING`.

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use super::{Handshake, read};

/// The valid answers: a pong, or an error code that is specific to Redis.
const ANSWERS: [&[u8]; 6] = [b"+PONG", b"-NOAU", b"-NOPE", b"-LOAD", b"-DENI", b"-MAST"];

pub(super) const HANDSHAKE: Handshake = Handshake {
    name: "Redis",
    exchange: |stream, _| {
        async move {
            stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
            let answer = read::<5>(stream).await?;
            Ok(ANSWERS.contains(&answer.as_slice()))
        }
        .boxed()
    },
};
