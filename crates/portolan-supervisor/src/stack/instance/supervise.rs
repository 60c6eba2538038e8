//! The life of the program of an instance.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use portolan_agent::Agent;
use portolan_core::{HealthReport, HealthStatus, Remedy as _, ServiceEndpoint, env};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Instance, failed_state};
use crate::child::{Terminal, WindowSize, exit_code};
use crate::placeholders::ADDRESS_PARTS;
use crate::service::Service;
use crate::stack::files::RenderedFiles;
use crate::stack::output::Printers;
use crate::stack::status::InstanceState;

/// The grace period for processes that a program left behind when it exited.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// The time after which a program that does not listen is no longer said to be starting.
const STARTUP_WINDOW: Duration = Duration::from_secs(10);

/// The exit status that stands for a program that has put itself into the background.
const BACKGROUND: u8 = 1;

/// The exit status of a program that SIGKILL ended.
const KILLED: u8 = 128 + 9;

impl Instance {
    pub(super) async fn start_and_supervise(&self, needs: Vec<ServiceEndpoint>) -> InstanceState {
        let mut spec = self.spec.clone();
        for (need, endpoint) in self.needs.iter().zip(&needs) {
            let variables = match env::variables(need, endpoint, "", &self.url_schemes) {
                Ok(variables) => variables,
                Err(error) => return failed_state(error.with_remedy(), 2),
            };
            for ((variable, value), part) in variables.into_iter().zip(ADDRESS_PARTS) {
                spec.placeholders.insert(&format!("{need}.{part}"), value.as_str());
                // Variables set in the file take precedence.
                spec.environment.entry(variable).or_insert(value);
            }
        }
        let files = RenderedFiles::render(
            &self.files,
            &self.folder,
            &self.clients.uncached,
            &self.url_schemes,
        );
        let files = match files.await {
            Ok(files) => files,
            Err(reason) => return failed_state(reason, 1),
        };
        if let Terminal::Own(size) = &mut spec.terminal {
            *size = *self.window.borrow();
        }
        let Some(permit) = self.stop.run_until_cancelled(self.starts.acquire()).await else {
            files.end().await;
            return InstanceState::Exited { code: 0 };
        };
        let started = Service::start(spec, self.deps.clone()).await;
        drop(permit);
        let mut service = match started {
            Ok(service) => service,
            Err(error) => return failed_state(error.with_remedy(), error.exit_code()),
        };
        let to = self.output.clone();
        let mut printers = Printers::new(self.spec.name.clone(), self.number, to);
        printers.attach(service.child_mut());
        let state = self.watch(service, &files, &mut printers).await;
        files.end().await;
        printers.finish().await;
        state
    }

    async fn watch(
        &self,
        mut service: Service,
        files: &RenderedFiles,
        printers: &mut Printers,
    ) -> InstanceState {
        self.publish_started(&mut service);
        let mut window = self.window.clone();
        let overdue = Instant::now() + STARTUP_WINDOW;
        loop {
            let is_starting = self.rows.borrow()[self.index].state == InstanceState::Starting;
            let mut health = service.agent().map(Agent::health);
            if let Some(health) = &mut health {
                let report = health.borrow_and_update().clone();
                self.publish(|row| row.health = report.status);
                if report.status == HealthStatus::Critical && self.restart.replaces_unhealthy() {
                    return self.end_unhealthy(service, printers, &report).await;
                }
            }
            tokio::select! {
                event = service.wait() => match service.handle(event).await {
                    Ok(None) => {
                        // The program listens now, or it was restarted on another port.
                        printers.attach(service.child_mut());
                        self.publish_started(&mut service);
                    }
                    Ok(Some(status)) => {
                        let remedy = service.background_remedy(status);
                        self.finish(service).await;
                        if let Some(remedy) = remedy {
                            let reason = format!("it has put itself into the background: {remedy}");
                            return failed_state(reason, BACKGROUND);
                        }
                        return InstanceState::Exited { code: exit_code(status) };
                    }
                    Err(error) => {
                        self.finish(service).await;
                        return failed_state(error.with_remedy(), error.exit_code());
                    }
                },
                () = self.stop.cancelled() => return self.shut_down(service, printers).await,
                () = changed(&mut health) => {}
                // Before that, a program may not handle the signal yet.
                signal = files.changed(), if !is_starting => service.child_mut().forward(signal.signal()),
                () = sleep_until(overdue), if is_starting => {
                    let other_ports = service.other_ports();
                    self.publish(|row| {
                        (row.state, row.other_ports) = (InstanceState::NotListening, other_ports);
                    });
                }
                size = changed_size(&mut window) => {
                    service.child_mut().pty().iter().for_each(|pty| pty.resize(size));
                }
                () = self.refresh_needs() => {}
            }
        }
    }

    async fn finish(&self, service: Service) {
        service.finish_group(LEFTOVER_GRACE.min(self.grace)).await;
    }

    /// Stops a program whose health check is critical, so that it is started again.
    async fn end_unhealthy(
        &self,
        service: Service,
        printers: &mut Printers,
        report: &HealthReport,
    ) -> InstanceState {
        self.publish(|row| row.state = InstanceState::Stopping);
        _ = self.stop_service(service, printers).await;
        // Meanwhile the whole stack may have been stopped, which is no failure.
        if self.stop.is_cancelled() {
            return InstanceState::Exited { code: 0 };
        }
        failed_state(format!("its health check is critical: {}", report.reason), 1)
    }

    async fn stop_service(
        &self,
        mut service: Service,
        printers: &mut Printers,
    ) -> io::Result<ExitStatus> {
        let hurry = service.skip_grace();
        let stopping = async {
            if self.spec.stop_command.is_some() {
                service.withdraw(self.grace).await;
                service.run_stop_command(self.grace, |command| printers.attach(command)).await;
            }
            service.stop(self.grace).await
        };
        tokio::pin!(stopping);
        tokio::select! {
            ended = &mut stopping => ended,
            () = self.force.cancelled() => {
                hurry.cancel();
                stopping.await
            }
        }
    }

    async fn shut_down(&self, service: Service, printers: &mut Printers) -> InstanceState {
        self.publish(|row| row.state = InstanceState::Stopping);
        match self.stop_service(service, printers).await {
            Ok(status) if exit_code(status) == KILLED => InstanceState::Exited { code: KILLED },
            // Exiting on request is not a failure.
            Ok(_) => InstanceState::Exited { code: 0 },
            Err(error) => failed_state(error.to_string(), 1),
        }
    }

    fn publish_started(&self, service: &mut Service) {
        let pid = service.child_mut().pid();
        let got = service.port();
        // Without a port there is no health check, so the instance is passing while it runs.
        let lives = got.is_none().then_some(HealthStatus::Passing);
        let listens = got.is_none() || !service.is_awaited();
        self.publish(|row| {
            row.state = match listens {
                true => InstanceState::Running,
                false => InstanceState::Starting,
            };
            row.got = got;
            row.pid = pid;
            row.other_ports.clear();
            row.health = lives.unwrap_or(row.health);
        });
    }
}

/// Returns when the health report changes; never if there is no report.
async fn changed(health: &mut Option<watch::Receiver<HealthReport>>) {
    match health {
        Some(health) => match health.changed().await {
            Ok(()) => {}
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Returns the size of the terminal when it changes.
async fn changed_size(window: &mut watch::Receiver<WindowSize>) -> WindowSize {
    match window.changed().await {
        Ok(()) => *window.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}
