//! The service of `portolan run` while its program runs.

use std::process::ExitStatus;
use std::time::Duration;

use portolan_supervisor::child::Terminal;
use portolan_supervisor::{Service, StopSignal};
use rustix::process::Signal;

use super::job_control::JobControl;
use super::report::Report;
use crate::exit::Failure;
use crate::received_signals::{Received, ReceivedSignals};

/// Runs the service until its program ends. Signals are forwarded as they are received; SIGTERM and SIGINT deregister the
/// service first.
pub(super) async fn wait_for_end(
    mut service: Service,
    signals: &mut ReceivedSignals,
    (grace, job_control): (Duration, JobControl),
    report: &Report,
) -> Result<ExitStatus, Failure> {
    loop {
        let stopped = job_control.stopped(&service);
        let turn = tokio::select! {
            turn = service.wait() => turn,
            () = stopped => {
                job_control.follow(service.child_mut()).await;
                continue;
            }
            received = signals.next() => {
                match action(received, job_control.terminal) {
                    Action::None => {}
                    Action::Forward => service.child_mut().forward(received.signal),
                    Action::Stop => {
                        return stop_service(service, signals, grace, received.signal).await;
                    }
                }
                continue;
            }
        };
        let before = service.port().map(|port| (service.is_awaited(), port));
        let ended = service.handle(turn).await;
        if matches!(ended, Ok(None)) {
            report.print(&service, before);
        }
        if let Some(ended) = ended.transpose() {
            service.finish().await;
            return Ok(ended?);
        }
    }
}

/// What a received signal means.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    None,
    Forward,
    Stop,
}

fn action(received: Received, terminal: Terminal) -> Action {
    match terminal {
        // The program is in the foreground process group, so the terminal has sent it the same signal.
        Terminal::Shared if received.by_terminal => Action::None,
        _ if received.requests_stop() => Action::Stop,
        // Servers such as nginx use this signal for another purpose.
        _ if received.by_terminal && received.signal == Signal::WINCH => Action::None,
        _ => Action::Forward,
    }
}

/// Stops the service. A second request skips the grace period.
async fn stop_service(
    service: Service,
    signals: &mut ReceivedSignals,
    grace: Duration,
    signal: Signal,
) -> Result<ExitStatus, Failure> {
    let hurry = service.skip_grace();
    let stopping = async {
        match signal {
            Signal::INT => service.stop_by(StopSignal::INT, grace).await,
            _ => service.stop(grace).await,
        }
    };
    tokio::pin!(stopping);
    let ended = loop {
        tokio::select! {
            ended = &mut stopping => break ended,
            again = signals.next() => if again.requests_stop() {
                hurry.cancel();
            }
        }
    };
    ended.map_err(|error| {
        Failure::failed(format_args!("cannot get the exit status of the program: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_shares_the_terminal_gets_no_signal_twice() {
        let received = |signal, by_terminal| Received { signal, by_terminal };
        for signal in [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::HUP] {
            assert_eq!(action(received(signal, true), Terminal::Shared), Action::None);
        }
        assert_eq!(action(received(Signal::INT, false), Terminal::Shared), Action::Stop);
        assert_eq!(action(received(Signal::INT, true), Terminal::OwnGroup), Action::Stop);
        assert_eq!(action(received(Signal::WINCH, true), Terminal::OwnGroup), Action::None);
        for signal in [Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH] {
            assert_eq!(action(received(signal, false), Terminal::OwnGroup), Action::Forward);
        }
    }
}
