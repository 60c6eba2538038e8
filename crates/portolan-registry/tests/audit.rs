//! The audit log. In a process of its own: tracing caches for the whole process which events are
//! enabled, and tests without a subscriber would disable them.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, poll};
use parking_lot::Mutex;
use portolan_core::{Host, Registration, Ttl};
use portolan_metrics::Metrics;
use portolan_registry::{CommandOrigin, RegistryConfig, WatchQuery, open};
use serde_json::Value;
use tracing::{Instrument, info_span};
use tracing_subscriber::fmt::MakeWriter;

/// Captures the log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().clone()).expect("logs are text");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("logs are JSON"));
        lines.filter(|line: &Value| line["target"] == "audit").collect()
    }
}

fn brief() -> Registration {
    let name = "api".parse().expect("it is a name");
    let ttl = Some(Ttl::new(Ttl::MIN).expect("it is a TTL"));
    Registration { ttl, ..Registration::new(name, Host::loopback(), 8080) }
}

/// Captures the log of this thread.
fn capture() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn every_change_of_registrations_is_one_line_and_heartbeats_are_none() {
    let (log, _guard) = capture();
    let (task, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let running = tokio::spawn(task.run(std::future::pending()));
    let mut watch = registry.watch(WatchQuery::default());
    assert_eq!(watch.next().await.unwrap().change.kind(), "snapshot");
    for version in ["1", "1", "2"] {
        let service = Registration { version: version.into(), ..brief() };
        registry.register(service, CommandOrigin::local()).await.unwrap();
    }
    registry.heartbeat(&brief().id()).await.unwrap();
    registry.deregister(&brief().id()).await.unwrap();
    registry
        .register(brief(), CommandOrigin::broadcast("10.0.0.99".parse().unwrap()))
        .await
        .unwrap();
    let events: Vec<_> = watch.take(5).collect().await;
    tokio::task::yield_now().await;
    running.abort();

    let lines = log.lines();
    let changes: Vec<_> = lines
        .iter()
        .map(|line| {
            let fields = &line["fields"];
            assert_eq!(fields["service_name"], "api");
            assert_eq!(fields["service_id"], "api@127.0.0.1:8080");
            assert_eq!(fields["port"], 8080);
            assert_eq!(fields["protocol"], "tcp");
            let text = |field: &str| fields[field].as_str().unwrap().to_owned();
            format!("{} {}: {}", text("source"), text("action"), text("message"))
        })
        .collect();
    assert_eq!(
        changes,
        [
            "api register: Service registered",
            "api update: Service updated",
            "api deregister: Service deregistered",
            "broadcast register: Service registered",
            "lease expire: Service expired",
        ]
    );
    let logged: Vec<_> = lines.iter().map(|line| line["fields"]["revision"].clone()).collect();
    let changes: Vec<_> = events.iter().map(|event| Value::from(event.revision.0)).collect();
    assert_eq!(logged, changes, "each line has the revision of its own change");
}

#[tokio::test(start_paused = true)]
async fn request_of_a_caller_that_stopped_waiting_is_logged_in_its_span() {
    let (log, _guard) = capture();
    let (task, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let impatient = async {
        let mut asked = Box::pin(registry.register(brief(), CommandOrigin::local()));
        assert!(poll!(&mut asked).is_pending());
    };
    impatient.instrument(info_span!("request", peer = "192.0.2.9:5000")).await;
    drop(registry);
    // Every handle is dropped, so the task ends once the queue is empty.
    task.run(std::future::pending()).await;

    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["fields"]["action"], "register");
    assert_eq!(lines[0]["span"]["peer"], "192.0.2.9:5000");
}
