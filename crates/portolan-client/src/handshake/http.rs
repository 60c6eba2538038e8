//! HTTP/1.1: any answer to a `HEAD` request is valid, an error status too.

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use super::{Handshake, read};

pub(super) const HANDSHAKE: Handshake = Handshake {
    name: "HTTP",
    exchange: |stream, peer| {
        async move {
            let request = format!(
                "HEAD / HTTP/1.1\r\nHost: {peer}\r\nUser-Agent: portolan\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            Ok(read::<7>(stream).await? == b"HTTP/1.")
        }
        .boxed()
    },
};
