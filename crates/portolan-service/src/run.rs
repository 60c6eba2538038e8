//! A server that is published while it runs.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::bind::BoundService;
use crate::error::ServiceError;

impl BoundService {
    /// Publishes the service while its server runs. Once `stop` resolves, it withdraws the service, awaits `close`, after which
    /// the server has to accept nothing more, and waits until the server has finished its open requests, for at most
    /// [`grace`](crate::ServiceOptions::grace).
    ///
    /// # Errors
    ///
    /// The registry refuses the service, or the server fails.
    pub async fn run<E: Into<Box<dyn Error + Send + Sync>>>(
        self,
        server: impl Future<Output = Result<(), E>>,
        stop: impl Future<Output = ()>,
        close: impl Future<Output = ()>,
    ) -> Result<(), ServiceError> {
        let grace = self.options.grace;
        let mut server = pin!(server);
        // The server accepts while the service is published, so that the first check passes.
        let published = tokio::select! {
            published = self.publish() => published?,
            ended = &mut server => return ended.map_err(ServiceError::server),
        };
        tokio::select! {
            () = stop => {}
            ended = &mut server => return ended.map_err(ServiceError::server),
        }
        tokio::select! {
            () = published.withdraw() => {}
            ended = &mut server => return ended.map_err(ServiceError::server),
        }
        close.await;
        tokio::select! {
            ended = server => ended.map_err(ServiceError::server),
            () = grace_over(grace) => Ok(()),
        }
    }
}

async fn grace_over(grace: Duration) {
    info!("Closing, open requests finish");
    sleep(grace).await;
    warn!(?grace, "Open requests are cut off");
}
