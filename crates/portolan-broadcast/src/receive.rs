//! Takes datagrams in and never stops for a bad one.

use std::sync::Arc;
use std::time::Duration;

use portolan_metrics::BroadcastErrorKind;
use tracing::debug;

use crate::station::{Door, Station};
use crate::transport::Receiver;

/// How long to wait after a failed receive, so that a broken socket does not take up a processor.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest such wait; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Takes in what is sent to the channel, for as long as it is polled.
pub(crate) async fn from_channel(
    station: Arc<Station>,
    channel: Box<dyn Receiver>,
    max_datagram: usize,
) {
    receive(&station, &*channel, Door::Channel, max_datagram).await;
}

/// Takes in what is sent to this process's own socket, for as long as it is polled.
pub(crate) async fn from_own_socket(station: Arc<Station>, max_datagram: usize) {
    receive(&station, &*station.socket, Door::Own, max_datagram).await;
}

async fn receive<R: Receiver + ?Sized>(
    station: &Station,
    receiver: &R,
    door: Door,
    max_datagram: usize,
) {
    // One byte more than is taken: a datagram that fills it was too large.
    let mut buffer = vec![0; max_datagram + 1];
    let mut pause = FIRST_PAUSE;
    loop {
        match receiver.receive(&mut buffer).await {
            Ok((size, source)) => {
                pause = FIRST_PAUSE;
                station.take_in(&buffer[..size], source, door);
            }
            Err(error) => {
                station.metrics.broadcast_error(BroadcastErrorKind::Receive);
                debug!(%error, ?door, "cannot receive, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
