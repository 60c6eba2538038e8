//! The end of a service.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Service;
use crate::StopSignal;

impl Service {
    /// Returns a token that ends the grace period of [`Service::stop`] when it is cancelled.
    pub fn skip_grace(&self) -> CancellationToken {
        self.child.skip_grace()
    }

    /// Publishes that the service is about to stop, waits until callers have left, deregisters it, then stops its program, all
    /// within the grace period.
    pub async fn stop(self, grace: Duration) -> io::Result<ExitStatus> {
        let signal = self.spec.stop_signal();
        self.stop_by(signal, grace).await
    }

    /// Does the same with this signal.
    pub async fn stop_by(mut self, signal: StopSignal, grace: Duration) -> io::Result<ExitStatus> {
        let began = Instant::now();
        self.withdraw(grace).await;
        let ended = self.child.stop(signal, grace.saturating_sub(began.elapsed())).await;
        self.report_kill(&ended, began.elapsed());
        // A daemonised descendant may still use the port, so it keeps the lease.
        if let Some(leases) = self.leases.take() {
            leases.leave_to_children();
        }
        ended
    }

    /// Publishes that the service is about to stop, waits until callers have left, within the grace period, and deregisters it.
    pub async fn withdraw(&mut self, grace: Duration) {
        self.drain(grace).await;
        self.deregister().await;
    }

    /// A program that is killed may have lost data.
    fn report_kill(&self, ended: &io::Result<ExitStatus>, after: Duration) {
        use std::os::unix::process::ExitStatusExt as _;
        let is_killed = ended.as_ref().is_ok_and(|status| status.signal() == Some(9));
        if is_killed && self.spec.stop_signal() != StopSignal::KILL {
            warn!(
                service_name = %self.spec.name, ?after,
                remedy = "give it more time with `grace`, or another `stop_signal`",
                "Program did not end in time and was killed"
            );
        }
    }

    /// Waits until callers have chosen other instances, if anything has told them of this one.
    async fn drain(&self, grace: Duration) {
        let (pause, hurry) = (self.spec.drain.min(grace), self.child.skip_grace());
        let drain = async {
            if let Some(agent) = &self.agent
                && agent.drain().await
            {
                sleep(pause).await;
            }
        };
        if !pause.is_zero() {
            hurry.run_until_cancelled(drain).await;
        }
    }

    /// Deregisters a service whose program has exited. Descendants that are left may still use the
    /// port and keep the lease.
    pub async fn finish(mut self) {
        self.deregister().await;
        if let Some(leases) = self.leases.take() {
            leases.leave_to_children();
        }
    }

    /// Does the same, but stops the remaining processes of the program's group within the grace
    /// period. A daemonised descendant survives and keeps the lease.
    pub async fn finish_group(mut self, grace: Duration) {
        self.deregister().await;
        if let Err(error) = self.child.stop(self.spec.stop_signal(), grace).await {
            warn!(service_name = %self.spec.name, %error, "Could not stop the processes that the program left behind");
        }
        self.finish().await;
    }
}
