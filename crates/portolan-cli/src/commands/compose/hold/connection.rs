//! A connection of `portolan compose` to the lease holder.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::Asked;
use crate::commands::compose::leases::MAX_LINE;

/// Answers the requests of one command until it ends.
pub(super) async fn converse(stream: UnixStream, to: mpsc::Sender<Asked>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let read = (&mut stream).take(MAX_LINE).read_line(&mut line).await;
        if !matches!(read, Ok(1..)) {
            return;
        }
        let Ok(request) = serde_json::from_str(&line) else { return };
        let (answer, answered) = oneshot::channel();
        if to.send((request, answer)).await.is_err() {
            return;
        }
        let Ok(mut answer) = answered.await.map(|it| serde_json::to_vec(&it).unwrap_or_default())
        else {
            return;
        };
        answer.push(b'\n');
        if stream.get_mut().write_all(&answer).await.is_err() {
            return;
        }
    }
}
