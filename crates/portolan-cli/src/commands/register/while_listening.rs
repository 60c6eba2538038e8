//! `portolan register --while-listening`: keeps a service registered while a program that something else has started listens on its
//! port, as a sidecar does for another container of its pod.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use portolan_agent::Agent;
use portolan_broadcast::Broadcaster;
use portolan_client::RegistryClient;
use portolan_core::Registration;
use portolan_health::CheckSpec;
use portolan_host_facts::ListenerProbe;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Register;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{output, shutdown};

/// How often the kernel is asked for the listener. It closes the sockets of a process that ends, however it ends, so this is how late an
/// end is noticed at most. A question takes some ten microseconds.
const PERIOD: Duration = Duration::from_millis(20);

/// Keeps the service registered while something listens, until a signal ends the command.
pub(super) async fn follow(register: Register, context: &Context) -> CommandResult {
    let mut signals = shutdown::signals()?;
    let mut follower = Follower::new(&register, context).await?;
    let stop = signals.wait();
    let result = follower.run(&register, context, pin!(stop)).await;
    follower.stop().await;
    result.map(|()| Exit::Done)
}

/// Follows the listener on one port.
struct Follower {
    port: u16,
    probe: ListenerProbe,
    polls: Interval,
    registry: RegistryClient,
    broadcaster: Option<Broadcaster>,
    /// The agent, while something listens.
    agent: Option<Agent>,
}

// === impl Follower ===

impl Follower {
    async fn new(register: &Register, context: &Context) -> Result<Self, Failure> {
        let port = register.endpoint.port();
        if register.endpoint.protocol().as_str() == "udp" {
            return Err(Failure::usage("--while-listening: a program does not listen on a UDP port as on one of TCP")
                .remedy("use `portolan run`, which follows the process, or renew the registration by `portolan heartbeat`"));
        }
        let mut polls = interval(PERIOD);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            port,
            probe: ListenerProbe::default(),
            polls,
            registry: context.registry()?,
            broadcaster: context.broadcaster().await?,
            agent: None,
        })
    }

    /// Returns when it is to stop. Not in the middle of a registration, which nobody would take back.
    async fn run(
        &mut self,
        register: &Register,
        context: &Context,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        if !self.probe.has_listener(self.port) && !context.quiet {
            output::note(format_args!(
                "nothing listens on port {} yet, the service is registered when a program does",
                self.port
            ));
        }
        loop {
            tokio::select! {
                () = self.becomes(true) => {}
                () = &mut stop => return Ok(()),
            }
            let registration = register.endpoint.clone().registration(context).await?;
            self.start(register, registration, context).await?;
            tokio::select! {
                () = self.becomes(false) => {}
                () = &mut stop => return Ok(()),
            }
            self.withdraw(context).await?;
        }
    }

    /// Waits until something listens, or nothing does.
    async fn becomes(&mut self, listening: bool) {
        while self.probe.has_listener(self.port) != listening {
            self.polls.tick().await;
        }
    }

    async fn start(
        &mut self,
        register: &Register,
        registration: Registration,
        context: &Context,
    ) -> Result<(), Failure> {
        let is_checked_by_registry = registration.health_url.is_some();
        let check = register.health.clone().unwrap_or_else(default_check);
        let agent = Agent::builder(registration)
            .registry(self.registry.clone())
            .broadcaster(self.broadcaster.clone())
            .check((!is_checked_by_registry).then_some(check))
            .health(context.settings().health.clone())
            .metrics(context.metrics.clone())
            .start()
            .await?;
        let endpoint = agent.endpoint();
        self.agent = Some(agent);
        if context.json {
            return output::json(&endpoint);
        }
        output::line(format_args!("registered {} at {}", endpoint.id, endpoint.address()))
    }

    /// Deregisters the service.
    async fn withdraw(&mut self, context: &Context) -> Result<(), Failure> {
        let Some(agent) = self.agent.take() else { return Ok(()) };
        let id = agent.id();
        agent.stop().await;
        if !context.quiet {
            output::note(format_args!("nothing listens on port {}, deregistered {id}", self.port));
        }
        Ok(())
    }

    async fn stop(self) {
        if let Some(agent) = self.agent {
            agent.stop().await;
        }
        if let Some(broadcaster) = self.broadcaster {
            broadcaster.stop().await;
        }
    }
}

/// A program that listens and does not accept connections is not healthy.
fn default_check() -> CheckSpec {
    "tcp".parse().unwrap_or_else(|_| CheckSpec::none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_check_connects() {
        assert!(default_check().connects());
    }
}
