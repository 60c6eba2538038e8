//! The command that stops a program, before its stop signal, as ExecStop= of systemd.service(5).

use std::io;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::Service;
use crate::StopSignal;
use crate::child::{Child, InheritedFds, exit_code};

/// The environment variable with the process id of the program, as in systemd.service(5).
const MAIN_PID: &str = "MAINPID";
/// The grace period for what the command leaves behind.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

impl Service {
    /// Runs the command that stops the program, if there is one, and then waits for the end of the program, both within the limit. If
    /// the program still runs then, or if the command fails, its stop signal is to follow. `attach` gets the output.
    pub async fn run_stop_command(&mut self, limit: Duration, attach: impl FnOnce(&mut Child)) {
        match self.start_stop_command().await {
            None => {}
            Some(Ok(mut command)) => {
                attach(&mut command);
                self.follow_stop_command(command, limit).await;
            }
            Some(Err(error)) => self.report_failure(&error.to_string()),
        }
    }

    async fn start_stop_command(&mut self) -> Option<io::Result<Child>> {
        let mut launch = self.stop_command.take()?;
        // A program that has ended needs no command.
        let pid = self.child.pid()?;
        launch.environment.insert(MAIN_PID.to_owned(), pid.to_string());
        Some(launch.start(&InheritedFds::default()).await)
    }

    async fn follow_stop_command(&mut self, mut command: Child, limit: Duration) {
        let hurry = self.child.skip_grace();
        let both = async {
            let status = command.wait().await?;
            if status.success() {
                self.child.wait().await?;
            }
            io::Result::Ok(status)
        };
        let ended = hurry.run_until_cancelled(timeout(limit, both)).await;
        let leftover_grace = match ended {
            Some(_) => LEFTOVER_GRACE,
            None => Duration::ZERO,
        };
        let of_command = command.stop(StopSignal::TERM, leftover_grace).await;
        match (ended, of_command) {
            // A second request ends the grace period.
            (None, _) => {}
            (Some(Ok(Ok(status))), _) if status.success() => {
                info!(service_name = %self.spec.name, "Program stopped by its command");
            }
            (Some(Ok(Ok(status))), _) => {
                self.report_failure(&format!("exit status {}", exit_code(status)));
            }
            (Some(Ok(Err(error))), _) | (Some(Err(_)), Err(error)) => {
                self.report_failure(&error.to_string());
            }
            (Some(Err(_)), Ok(status)) if status.success() => {
                self.report_failure("the program goes on after it");
            }
            (Some(Err(_)), Ok(_)) => self.report_failure("it did not end in time"),
        }
    }

    fn report_failure(&self, reason: &str) {
        let signal = self.spec.stop_signal();
        warn!(service_name = %self.spec.name, reason, %signal, "Stop command did not stop the program, the signal follows");
    }
}
