//! Services that live restlessly. Each makes one call at a time, through a client that knows all servers.

use std::sync::Arc;
use std::time::Duration;

use portolan_client::{RegistryClient, RegistryClientConfig, RegistryClientError};
use portolan_core::{HealthReport, HealthStatus, Incarnation, Registration, Ttl};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{NAMES, Phase};
use crate::cluster::record::{Answer, Call, CallKind, Recording};

/// The TTL of all services. In seconds, because etcd counts so.
pub(in crate::cluster) const TTL: Duration = Duration::from_secs(3);
/// The time between two calls: four of them in a TTL.
const INTERVAL: Duration = Duration::from_millis(700);
/// How long a crashed service is down: longer than its TTL and the second in which it is removed.
const CRASHED: Duration = Duration::from_secs(5);

/// A service and its random decisions.
struct Service {
    number: usize,
    client: RegistryClient,
    recording: Arc<Recording>,
    registration: Registration,
    random: u64,
}

/// The name of a service.
pub(super) fn name(number: usize) -> String {
    format!("service-{}", number % NAMES)
}

/// Runs a service until the end.
pub(super) async fn run(
    number: usize,
    urls: String,
    recording: Arc<Recording>,
    phase: watch::Receiver<Phase>,
) {
    let client = RegistryClient::new(RegistryClientConfig::new(urls)).expect("the URLs are valid");
    let host = "10.77.0.254".parse().expect("an address");
    let port = u16::try_from(20_000 + number).expect("a port");
    let mut registration = Registration::new(name(number).parse().expect("a name"), host, port);
    registration.id = Some(format!("instance-{number}").parse().expect("an id"));
    registration.ttl = Some(Ttl::new(TTL).expect("a TTL"));
    let random = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1);
    let mut service = Service { number, client, recording, registration, random };
    service.start_again().await;
    loop {
        sleep(INTERVAL).await;
        let phase = *phase.borrow();
        if phase == Phase::End {
            return;
        }
        service.act(phase == Phase::Change).await;
    }
}

// === impl Service ===

impl Service {
    async fn act(&mut self, may_change: bool) {
        match if may_change { self.next_random() % 100 } else { 0 } {
            0..70 => self.renew().await,
            70..82 => self.register().await,
            82..90 => self.report_health().await,
            90..95 => {
                let (client, id) = (self.client.clone(), self.id());
                self.call(CallKind::Deregister, async move { client.deregister(&id).await }).await;
                self.start_again().await;
            }
            _ => {
                sleep(CRASHED).await;
                self.start_again().await;
            }
        }
    }

    /// Registers as a new run of the program does.
    async fn start_again(&mut self) {
        let incarnation = Incarnation::random();
        self.registration.incarnation = Some(incarnation);
        self.client = self.client.clone().with_incarnation(incarnation);
        self.register().await;
    }

    /// Registers with another version, until that is acknowledged.
    async fn register(&mut self) {
        self.registration.version = self.next_random().to_string();
        loop {
            let sent = self.recording.now();
            let result = self.client.register(&self.registration).await;
            let answer = match &result {
                Ok(response) => Answer::Accepted(response.endpoint.revision.0),
                Err(error) => Answer::Failed(error.to_string()),
            };
            self.record(CallKind::Register, sent, answer);
            if result.is_ok() {
                return;
            }
            sleep(INTERVAL / 4).await;
        }
    }

    async fn renew(&mut self) {
        let (client, id) = (self.client.clone(), self.id());
        let answer = self.call(CallKind::Heartbeat, async move { client.heartbeat(&id).await });
        if answer.await == Answer::Unknown {
            self.register().await;
        }
    }

    async fn report_health(&mut self) {
        let status = [HealthStatus::Passing, HealthStatus::Warning, HealthStatus::Critical]
            [(self.next_random() % 3) as usize];
        let report = HealthReport::new(status, format!("report of {}", self.number));
        let (client, id) = (self.client.clone(), self.id());
        let report = async move { client.update_health(&id, &report).await };
        if self.call(CallKind::Health, report).await == Answer::Unknown {
            self.register().await;
        }
    }

    fn id(&self) -> portolan_core::ServiceId {
        self.registration.id()
    }

    async fn call(
        &self,
        kind: CallKind,
        call: impl Future<Output = Result<(), RegistryClientError>>,
    ) -> Answer {
        let sent = self.recording.now();
        let answer = match call.await {
            Ok(()) => Answer::Accepted(0),
            Err(RegistryClientError::UnknownService { .. }) => Answer::Unknown,
            Err(error) => Answer::Failed(error.to_string()),
        };
        self.record(kind, sent, answer.clone());
        answer
    }

    fn record(&self, kind: CallKind, sent: Duration, answer: Answer) {
        let id = self.id().to_string();
        self.recording.calls.lock().push(Call { id, kind, sent, answer });
    }

    /// The next number of a xorshift generator: each run decides the same, at other moments.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
