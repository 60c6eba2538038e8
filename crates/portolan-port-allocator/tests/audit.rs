//! The audit log. This test has its own process, because concurrent tests without a subscriber would
//! disable the log's callsites, which are cached for the whole process.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_port_allocator::Depth;
use serde_json::Value;
use support::{TestEnv, request_for};
use tracing_subscriber::fmt::MakeWriter;

/// The log output.
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
    /// The action, service and port of each audit line since the last call.
    fn take(&self) -> Vec<(String, String, Option<u64>)> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let audited = lines.filter(|line| line["target"] == "audit");
        let fields = audited.map(|line| line["fields"].clone());
        let word = |fields: &Value, name: &str| fields[name].as_str().unwrap().to_owned();
        fields.map(|f| (word(&f, "action"), word(&f, "service_name"), f["port"].as_u64())).collect()
    }
}

#[test]
fn audit_log_has_one_line_per_grant_refusal_reclaim_and_release() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let env = TestEnv::with_ports(2);
    let line = |action: &str, service: &str, index: Option<u16>| {
        let port = index.map(|index| u64::from(env.port(index)));
        (action.to_owned(), service.to_owned(), port)
    };

    // A refusal is a single line although it names every port.
    let (one, other) = (env.allocator(), env.allocator());
    let api = one.request(request_for("api", Depth::Guarded)).unwrap();
    let again = one.request(request_for("api", Depth::Guarded)).unwrap();
    assert_eq!(log.take(), [line("grant", "api", Some(0))], "once for all handles");
    let web = other.request(request_for("web", Depth::Bound)).unwrap();
    assert!(other.request(request_for("db", Depth::Bound)).is_err());
    assert_eq!(log.take(), [line("grant", "web", Some(1)), line("refuse", "db", None)]);

    drop(api);
    assert_eq!(log.take(), [], "another handle remains");
    drop(again);
    let listener = web.into_listener().unwrap();
    assert_eq!(log.take(), [line("release", "api", Some(0)), line("release", "web", Some(1))]);
    drop(listener);

    one.request(request_for("heir", Depth::Claimed)).unwrap().leave_to_children();
    drop(one);
    _ = log.take();
    let next = other.request(request_for("next", Depth::Claimed)).unwrap();
    assert_eq!(next.port(), env.port(0));
    assert_eq!(log.take(), [line("reclaim", "heir", Some(0)), line("grant", "next", Some(0))]);

    next.leave_to_children();
    drop(other);
    let _foreign = TcpListener::bind(("127.0.0.1", env.port(0))).unwrap();
    _ = log.take();
    let last = env.allocator().request(request_for("last", Depth::Claimed)).unwrap();
    assert_eq!(last.port(), env.port(1));
    let reclaimed = [line("reclaim", "next", Some(0)), line("grant", "last", Some(1))];
    assert_eq!(log.take(), reclaimed, "although a foreign process has the port");
}
